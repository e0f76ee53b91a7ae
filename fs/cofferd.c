/* cofferd: picks the role. Without --role it is the keeper. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/helpers/bell.h"
#include "fs/common/inherited.h"
#include "fs/keeper/keeper.h"
#include "fs/common/log.h"
#include "fs/process/options.h"
#include "fs/caller/resolver.h"
#include "fs/process/role.h"
#include "fs/helpers/runner.h"
#include "fs/process/sandbox.h"
#include "fs/worker/worker.h"
#include "store/keys/kek.h"
#include "store/keys/keyholder.h"
#include "store/keys/vaultconf.h"

#define KEYHOLDER_ARENA (1u << 20)

/* Which file it is that the keeper opened: its name is for messages only. */
static void name_key_file(int fd, char uri[KEK_URI_MAX])
{
	char link[32], path[KEK_URI_MAX - 5];

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = fd < 0 ? -1 : readlink(link, path, sizeof path - 1);
	if (n > 0 && path[0] == '/')
		snprintf(uri, KEK_URI_MAX, "file:%.*s", (int)n, path);
}

static int run_keyholder(const struct role_args *args)
{
	static struct vaultconf conf;
	char why[256] = "";
	const int clients[] = { role_fd(args, "client0"), role_fd(args, "client1") };

	int r = role_harden();
	if (!r)
		r = secmem_init(KEYHOLDER_ARENA, SECMEM_AUTO);
	if (!r)
		r = crypto_init();
	if (!r)
		r = vaultconf_read(role_fd(args, "store"), &conf, why, sizeof why);
	name_key_file(role_fd(args, "kek"), conf.kek);
	if (!r)
		r = role_confine(args, -1);
	if (!r)
		r = sandbox_enter(SANDBOX_KEYHOLDER, NULL, 0, args->require_sandbox);
	if (r) {
		log_error("%s", why[0] ? why : strerror(-r));
		return 1;
	}
	struct keyholder_config config = {
		.source = { .uri = conf.kek, .params = conf.kek_params, .fd = role_fd(args, "kek") },
		.clients = clients,
		.n_clients = 2,
		.unseal_fd = role_fd(args, "unseal"),
		.announce = true,
		.check_context = { .type = WRAP_VAULT_KEY },
		.check_record = conf.vault_record,
		.check_len = conf.vault_record_len,
	};
	memcpy(config.check_context.vault, conf.id, sizeof conf.id);
	return keyholder_run(&config);
}

static int run_resolver(const struct role_args *args)
{
	const int clients[] = { role_fd(args, "client0"), role_fd(args, "client1") };
	const int etc = open("/etc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = role_harden();
	if (!r)
		r = role_confine(args, CAP_SYS_PTRACE);
	if (!r)
		r = sandbox_enter(SANDBOX_RESOLVER, NULL, 0, args->require_sandbox);
	if (r) {
		log_error("giving up root: %s", strerror(-r));
		return 1;
	}
	return resolver_run(role_fd(args, "proc"), etc, clients, 2);
}

static int run_bell(const struct role_args *args)
{
	const int clients[] = { role_fd(args, "client0"), role_fd(args, "client1") };
	const struct sandbox_place mount = { role_fd(args, "root"), SANDBOX_TIDY };
	bell_catch_signal();
	int r = role_harden();
	if (!r)
		r = role_confine(args, -1);
	if (!r)
		r = sandbox_enter(SANDBOX_BELL, &mount, 1, args->require_sandbox);
	if (r) {
		log_error("giving up root: %s", strerror(-r));
		return 1;
	}
	return bell_run(role_fd(args, "root"), clients, 2);
}

/* What it may do it needs to become the user of a program, and to end what that left; programs have none of it. */
static int run_runner(const struct role_args *args)
{
	static const int caps[] = { CAP_SETUID, CAP_SETGID, CAP_KILL };
	const int clients[] = { role_fd(args, "client0"), role_fd(args, "client1") };
	inherited_oom_as_others();
	int r = role_harden();
	if (!r)
		r = role_confine_with(args, caps, sizeof caps / sizeof *caps);
	if (r) {
		log_error("giving up root: %s", strerror(-r));
		return 1;
	}
	return runner_run(clients, 2, role_fd(args, "store"));
}

/* One test read through the mount, before anybody else can see it. */
static int run_probe(const struct role_args *args)
{
	char buf[64];
	const struct sandbox_place mount = { role_fd(args, "root"), SANDBOX_READ };
	if (role_harden() || role_confine(args, -1) || sandbox_enter(SANDBOX_PROBE, &mount, 1, args->require_sandbox))
		return 1;
	int fd = openat(role_fd(args, "root"), ".coffer/whoami", O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, buf, sizeof buf) > 0 ? 0 : 1;
}

/* May the keeper become this binary? */
static int run_check(const struct role_args *args)
{
	return role_harden() || role_confine(args, -1) ? 1 : keeper_can_resume(role_fd(args, "state"));
}

static int run_role(const struct role_args *args)
{
	static const struct {
		const char *name;
		int (*run)(const struct role_args *args);
	} roles[] = {
		{ "worker", worker_run }, { "keyholder", run_keyholder }, { "resolver", run_resolver },
		{ "bell", run_bell },     { "runner", run_runner },       { "probe", run_probe },
		{ "check", run_check },
	};
	for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
		if (!strcmp(args->role, roles[i].name)) {
			log_open(roles[i].name, args->log_stderr);
			return roles[i].run(args);
		}
	fprintf(stderr, "cofferd: --role is for the daemon's own use\n");
	return 2;
}

/* Somebody is there to ask for the passphrase: the command does it, on the terminal and over the key holder's socket.
 * Returns if there is nothing to ask, or nobody, or no command. */
static void ask_for_passphrase(const struct options *options)
{
	static struct vaultconf conf;
	char why[256], self[PATH_MAX], beside[PATH_MAX + 32];
	int dir = open(options->store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ask = dir >= 0 && !vaultconf_read(dir, &conf, why, sizeof why) &&
		   kek_asks(conf.kek) == KEK_ASKS_PASSPHRASE && isatty(STDIN_FILENO);

	if (dir >= 0)
		close(dir);
	if (!ask)
		return;
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	char *slash = n > 0 ? memrchr(self, '/', (size_t)n) : NULL;
	static const char *const places[] = { "coffer", "../bin/coffer" };
	for (size_t k = 0; slash && k < 2; k++) {
		snprintf(beside, sizeof beside, "%.*s/%s", (int)(slash - self), self, places[k]);
		execl(beside, "coffer", "-m", options->mount, "unseal", (char *)NULL);
	}
	execlp("coffer", "coffer", "-m", options->mount, "unseal", (char *)NULL);
	fprintf(stderr, "cofferd: the vault is sealed; coffer unseal opens it\n");
}

/* Reads the keeper's word: a digit, the exit status, and a line. */
static int wait_for_word(int fd)
{
	char text[1024];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof text - 1 && (n = read(fd, text + len, sizeof text - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	if (len == 0) {
		fprintf(stderr, "cofferd: the daemon died before it could say why; cofferd -f shows more\n");
		return 1;
	}
	if (text[0] != '0')
		fprintf(stderr, "cofferd: %s\n", text + 1);
	return text[0] - '0';
}

/* Goes to the background: the keeper runs in a child in a session of its own, and this process waits for its word. */
static int run_in_background(const struct options *options)
{
	int report[2];

	if (pipe2(report, O_CLOEXEC)) {
		perror("cofferd: pipe");
		return 1;
	}
	pid_t pid = fork();
	if (pid < 0) {
		perror("cofferd: fork");
		return 1;
	}
	if (pid == 0) {
		close(report[0]);
		setsid();
		int null = open("/dev/null", O_RDWR);
		for (int fd = 0; fd < 3 && null >= 0; fd++)
			dup2(null, fd);
		if (null > 2)
			close(null);
		_exit(keeper_run(options, report[1]));
	}
	close(report[1]);
	int status = wait_for_word(report[0]);
	if (status == 0)
		ask_for_passphrase(options);
	return status;
}

/* In the foreground the keeper is this process; a child waits beside it to ask, where there is a terminal. */
static int run_in_foreground(const struct options *options)
{
	int report[2];

	if (!isatty(STDIN_FILENO) || pipe2(report, O_CLOEXEC))
		return keeper_run(options, -1);
	pid_t pid = fork();
	if (pid == 0) {
		char word = '1';
		close(report[1]);
		if (read(report[0], &word, 1) == 1 && word == '0')
			ask_for_passphrase(options);
		_exit(0);
	}
	close(report[0]);
	return keeper_run(options, report[1]);
}

/* What the daemon inherits and is not for it: a limit, a directory that it would keep busy, or that is gone. Paths are
 * absolute by now. */
static int settle(void)
{
	char why[512] = "";
	int r = geteuid() == 0 ? inherited_limits(why, sizeof why) : 0; /* who is not root is told so */

	if (why[0])
		fprintf(stderr, "cofferd: %s%s\n", r < 0 ? "" : "warning: ", why);
	if (r < 0)
		return r;
	inherited_oom_protect();
	if (!chdir("/"))
		return 0;
	perror("cofferd: the root directory");
	return -EIO;
}

int main(int argc, char **argv)
{
	static struct options options;
	struct role_args args;
	bool is_role;
	char why[512] = "";

	inherited_descriptors();
	if (role_args_parse(argc, argv, &args, &is_role)) {
		fprintf(stderr, "cofferd: --role is for the daemon's own use\n");
		return 2;
	}
	if (is_role)
		return run_role(&args);
	if (argc == 2 && !strncmp(argv[1], "--resume=", 9)) /* of ourselves, see fs/keeper/upgrade.c */
		return keeper_resume(atoi(argv[1] + 9));
	inherited_signals(false);
	int r = options_parse(argc, argv, &options, why, sizeof why);
	if (r) {
		fprintf(stderr, "cofferd: %s\n", why[0] ? why : strerror(-r));
		return r == -EINVAL ? 2 : r == -ENOENT ? 4 : 1;
	}
	if (options.help || options.version) {
		fputs(options.help ? options_usage : "cofferd " COFFER_VERSION "\n", stdout);
		return 0;
	}
	if (options.pretend)
		return 0;
	if (settle())
		return 1;
	if (options.remount) {
		if (!keeper_remount(&options, why, sizeof why))
			return 0;
		fprintf(stderr, "cofferd: %s\n", why);
		return 1;
	}
	return options.foreground ? run_in_foreground(&options) : run_in_background(&options);
}
