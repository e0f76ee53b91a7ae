#include "fs/cli/common/offline_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/cli/common/input.h"
#include "fs/cli/common/users.h"
#include "fs/process/sandbox.h"
#include "store/crypto/aead.h"
#include "store/keys/kek_provider.h"
#include "store/keys/keyholder.h"
#include "store/keys/keys.h"

#define WHY_MAX  512
#define ARENA    (1u << 20)
#define NO_LIMIT 1000000000u /* unwraps: who asks is root, and has the KEK anyway */
#define READY    "k"

/* ---- the child ---- */

/* The key file is opened while we may; it is read in the cell. One that is not root's, or not there, the provider
 * words. */
static int open_key_file(const char *uri)
{
	const char *path = kek_file(uri);
	struct stat st;
	int fd = path && path[0] == '/' ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -1;

	if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_uid != 0)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int open_kek(const struct kek_source *source, struct kek **ret_kek)
{
	char why[WHY_MAX] = "";
	int r = kek_open(source, ret_kek, why, sizeof(why));

	if (r == -ENOENT || r == -EINVAL)
		return fail(EXIT_UNAVAILABLE, "%s; bring it back from its copy, or name where it is with --kek", why);
	if (r < 0)
		return fail(EXIT_UNAVAILABLE, "the vault's key: %s", *why ? why : strerror(-r));
	return EXIT_DONE;
}

static int enter_cell(const struct role_args *args)
{
	int r = role_confine(args, -1);

	if (r == 0)
		r = sandbox_enter(SANDBOX_KEYHOLDER, NULL, 0, false);
	return r == 0 ? EXIT_DONE : fail(EXIT_ERROR, "the key holder cannot give up root: %s", strerror(-r));
}

/* Everything that needs root, then the cell, then the key. A key that cannot be opened as it should is reported before:
 * nothing comes of it. */
static int take_key(const struct role_args *args, struct kek_source *source, struct secbuf **ret_passphrase,
		    struct kek **ret_kek)
{
	const struct kek_ops *ops = kek_ops_for(source->uri);
	int status = EXIT_DONE;

	if (!ops)
		return fail(EXIT_USAGE, "no key provider for \"%s\"; there are: %s", source->uri, kek_schemes());
	if (ops->asks == KEK_ASKS_PASSPHRASE) {
		status = input_passphrase("Passphrase: ", false, ret_passphrase);
		if (status)
			return status;
		source->passphrase = secbuf_cdata(*ret_passphrase);
		source->passphrase_len = secbuf_len(*ret_passphrase);
	} else {
		source->fd = open_key_file(source->uri);
	}
	if (ops->asks == KEK_ASKS_NOTHING && source->fd < 0)
		status = open_kek(source, ret_kek);
	if (status == EXIT_DONE)
		status = enter_cell(args);
	if (status == EXIT_DONE && !*ret_kek)
		status = open_kek(source, ret_kek);
	return status;
}

static int serve(const struct role_args *args, struct kek *kek, const char *uri)
{
	const int clients[] = { role_fd(args, "client0") };
	const struct keyholder_config config = {
		.source = { .uri = uri, .fd = -1 },
		.kek = kek,
		.clients = clients,
		.n_clients = 1,
		.unseal_fd = -1,
		.unwraps_per_second = NO_LIMIT,
		.unwrap_burst = NO_LIMIT,
	};
	int ready = role_fd(args, "ready");

	if (write(ready, READY, 1) != 1) {
		kek_close(kek);
		return EXIT_ERROR;
	}
	close(ready);
	return keyholder_run(&config) == 0 ? EXIT_DONE : EXIT_ERROR;
}

int offline_keys_role(const struct role_args *args)
{
	static struct vaultconf conf;
	char uri[KEK_URI_MAX] = "", why[WHY_MAX] = "";
	struct kek_source source = { .uri = uri, .params = conf.kek_params, .fd = -1 };
	struct secbuf *passphrase = NULL;
	struct kek *kek = NULL;
	int status = EXIT_DONE, r;

	if (!args->role || strcmp(args->role, "keyholder") != 0 || geteuid() != 0 || role_fd(args, "uri") < 0)
		return fail(EXIT_USAGE, "--role is for the command's own use");
	r = role_harden();
	if (r == 0)
		r = secmem_init(ARENA, SECMEM_AUTO);
	if (r == 0)
		r = crypto_init();
	if (r == 0 && read(role_fd(args, "uri"), uri, sizeof(uri) - 1) <= 0)
		r = -EIO;
	if (r == 0)
		r = vaultconf_read(role_fd(args, "store"), &conf, why, sizeof(why));
	if (r < 0)
		return fail(EXIT_ERROR, "the key holder cannot start: %s", *why ? why : strerror(-r));
	status = take_key(args, &source, &passphrase, &kek);
	secbuf_free(passphrase);
	return status == EXIT_DONE ? serve(args, kek, uri) : status;
}

/* ---- the parent ---- */

/* The user that guards the keys of this vault, beside its worker's. No other will do: nobody is whoever has no user of
 * its own, and another vault's may be anybody's. */
static int keys_user(uid_t worker, struct role_args *args)
{
	char names[USERS][USER_MAX + 8];
	const struct passwd *pw = getpwuid(worker);

	offline_users(pw ? pw->pw_name : USER_WORKER, names);
	pw = getpwnam(names[1]);
	if (!pw)
		return fail(EXIT_ERROR,
			    "there is no user %s, as whom the vault's key is held; make it with: " USERADD " %s",
			    names[1], names[1]);
	if (pw->pw_uid == 0 || pw->pw_uid == worker)
		return fail(EXIT_ERROR, "user %s has uid %u, which is %s; it must be a user of its own", names[1],
			    (unsigned)pw->pw_uid,
			    pw->pw_uid == 0 ? "root's" : "also the uid that the vault's database belongs to");
	args->uid = pw->pw_uid;
	args->gid = pw->pw_gid;
	return EXIT_DONE;
}

/* Until it has the key, which a person may have to type the passphrase for. */
static int wait_until_ready(pid_t pid, int ready)
{
	char word;
	ssize_t n;
	int status = 0;

	do
		n = read(ready, &word, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return EXIT_DONE;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) != EXIT_DONE && WEXITSTATUS(status) < 127)
		return WEXITSTATUS(status); /* it has said why */
	return fail(EXIT_ERROR,
		    "the key holder died before it had the key (status %d); try again, and look at the kernel's log if "
		    "it dies again",
		    status);
}

static int spawn(struct offline *o, struct role_args *args, const char *uri, int uri_end, int ready)
{
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int r = self < 0 ? -errno : role_spawn(self, args, &o->holder);

	if (self >= 0)
		close(self);
	for (size_t i = 0; i < args->n_fds; i++)
		close(args->fds[i].fd);
	if (r == 0 && write(uri_end, uri, strlen(uri)) != (ssize_t)strlen(uri))
		r = -EIO;
	close(uri_end);
	if (r < 0)
		return fail(EXIT_ERROR, "cannot start a key holder: %s", strerror(-r));
	r = wait_until_ready(o->holder, ready);
	if (r != EXIT_DONE)
		o->holder = 0;
	return r;
}

int offline_keys_start(struct offline *o, const char *uri, uid_t worker)
{
	struct role_args args = { .role = "keyholder" };
	int client[2] = { -1, -1 }, uri_pipe[2] = { -1, -1 }, ready[2] = { -1, -1 }, dir, status;

	if (strlen(uri) >= KEK_URI_MAX)
		return fail(EXIT_USAGE, "the key's URI is longer than %d bytes", KEK_URI_MAX - 1);
	status = keys_user(worker, &args);
	if (status != EXIT_DONE)
		return status;
	dir = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, client) < 0 ||
	    pipe2(uri_pipe, O_CLOEXEC) < 0 || pipe2(ready, O_CLOEXEC) < 0)
		/* the process ends with it */
		return fail(EXIT_ERROR, "cannot start a key holder: %s", strerror(errno));
	args.fds[args.n_fds++] = (struct role_fd){ "store", dir };
	args.fds[args.n_fds++] = (struct role_fd){ "client0", client[1] };
	args.fds[args.n_fds++] = (struct role_fd){ "uri", uri_pipe[0] };
	args.fds[args.n_fds++] = (struct role_fd){ "ready", ready[1] };
	status = spawn(o, &args, uri, uri_pipe[1], ready[0]);
	close(ready[0]);
	if (status == EXIT_DONE && keys_new_socket(client[0], &o->keys) < 0)
		status = fail(EXIT_ERROR, "not enough memory");
	if (status != EXIT_DONE)
		close(client[0]);
	return status;
}

void offline_keys_end(struct offline *o)
{
	keys_free(o->keys); /* closes the socket: the holder has no client left */
	o->keys = NULL;
	while (o->holder > 0 && waitpid(o->holder, NULL, 0) < 0 && errno == EINTR)
		;
	o->holder = 0;
}
