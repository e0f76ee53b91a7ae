/* coffer init: makes a vault, or nothing. Every step notes what it made; a failure takes it back in reverse, and
 * touches nothing that was there. A key file that is named and there is used, and stays whatever happens. vault.conf
 * comes last: a directory without it is not a store, so a machine that dies half-way leaves no half vault. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/cli/common/cli.h"
#include "fs/cli/common/container.h"
#include "fs/cli/common/input.h"
#include "fs/cli/common/janitor.h"
#include "fs/cli/common/names.h"
#include "fs/cli/common/store_access.h"
#include "fs/cli/common/users.h"
#include "store/audit/audit.h"
#include "store/crypto/aead.h"
#include "store/keys/envelope.h"
#include "store/keys/keys.h"
#include "store/store.h"
#include "fs/cli/commands/commands.h"

#define RETENTION_MIN 7 /* days */
#define RETENTION_MAX 90
#define ADMINS_MAX    16
#define WHY_MAX       512
#define UNDO_MAX      16

struct init {
	char dir[PATH_MAX], kek_uri[KEK_URI_MAX], verify_path[PATH_MAX];
	struct vaultconf conf;
	struct store_settings settings;
	struct principal admins[ADMINS_MAX];
	size_t n_admins;
	uid_t worker_uid;
	gid_t worker_gid;
	const char *users; /* NULL: the usual ones */
	bool kek_there;    /* the key file was there before us: it is used, and never removed */
	enum kek_alg kek_alg;
	struct kek *kek;
	struct keys *keys;
	char *undo[UNDO_MAX]; /* what was made, in order */
	size_t n_undo;
};

static void made(struct init *i, const char *path)
{
	if (i->n_undo < UNDO_MAX)
		i->undo[i->n_undo++] = strdup(path);
}

static void undo(struct init *i, bool failed)
{
	while (i->n_undo > 0) {
		char *path = i->undo[--i->n_undo];

		if (path && failed)
			remove_tree(path);
		free(path);
	}
}

/* ---- what was asked for ---- */

static int read_retention(const char *given, uint32_t *ret_days)
{
	char *end;
	long days;

	if (!given)
		return EXIT_DONE;
	errno = 0;
	days = strtol(given, &end, 10);
	if (errno || *end || !isdigit((unsigned char)*given) || days < RETENTION_MIN || days > RETENTION_MAX)
		return fail(EXIT_USAGE,
			    "--retention %s: the days that deleted secrets are kept are %d to %d, and cannot be "
			    "changed later",
			    given, RETENTION_MIN, RETENTION_MAX);
	*ret_days = (uint32_t)days;
	return EXIT_DONE;
}

/* Absolute, without a slash at the end, through an existing parent. */
static int read_dir(const char *given, char ret_dir[PATH_MAX])
{
	char copy[PATH_MAX], here[PATH_MAX], *parent;
	const char *name;
	char *slash;
	size_t len;

	if ((size_t)snprintf(copy, sizeof(copy), "%s", given) >= sizeof(copy))
		return fail(EXIT_USAGE, "the store's path is too long");
	for (len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
		copy[len - 1] = '\0';
	slash = strrchr(copy, '/');
	name = slash ? slash + 1 : copy;
	if (slash)
		*slash = '\0';
	parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
	/* /var/lib/coffer may be made on the way, one level. */
	if (!parent && errno == ENOENT && slash)
		return snprintf(ret_dir, PATH_MAX, "%s/%s", copy, name) < PATH_MAX && copy[0] == '/'
			       ? EXIT_DONE
			       : fail(EXIT_USAGE, "there is no directory %s; make it, or give an absolute path", copy);
	if (!parent && given[0] != '/' && !getcwd(here, sizeof(here)))
		return fail(EXIT_USAGE, "%s: the current directory is gone; give the whole path", given);
	if (!parent)
		return fail(EXIT_USAGE, "%s: %s", copy, strerror(errno));
	len = (size_t)snprintf(ret_dir, PATH_MAX, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name);
	free(parent);
	return len < PATH_MAX ? EXIT_DONE : fail(EXIT_USAGE, "the store's path is too long");
}

static int read_name(const char *dir, char ret_name[VAULT_NAME_MAX])
{
	const char *name = vault_name_of(dir);

	if (!vault_name_valid(name))
		return fail(EXIT_USAGE,
			    "\"%s\" cannot be a vault's name (the last part of STORE): 1 to %d of a-z 0-9 - and not a "
			    "dash first",
			    name, VAULT_NAME_MAX - 1);
	snprintf(ret_name, VAULT_NAME_MAX, "%s", name);
	return EXIT_DONE;
}

static int read_admins(const struct args *a, struct init *i)
{
	char text[PRINCIPAL_TEXT_MAX], self[64];
	const char *given;
	int status;

	for (size_t k = 0; (given = args_nth(a, "admin", k)); k++) {
		if (i->n_admins == ADMINS_MAX)
			return fail(EXIT_USAGE, "more than %d administrators; grant the rest when the vault is mounted",
				    ADMINS_MAX);
		status = principal_argument(given, &i->admins[i->n_admins], text);
		if (status)
			return status;
		i->n_admins++;
	}
	if (i->n_admins > 0)
		return EXIT_DONE;
	/* A daemon in a container cannot tell the host from others, and who works in a mount namespace of his own is
	 * not host: nobody here would match. */
	if (in_container())
		return fail(EXIT_USAGE,
			    "in a container, or a mount namespace of its own, nobody counts as host; say who "
			    "administers the vault: --admin user:%u",
			    (unsigned)getuid());
	snprintf(self, sizeof(self), "user:%u,host", (unsigned)getuid());
	status = principal_argument(self, &i->admins[0], text);
	i->n_admins = status == EXIT_DONE;
	return status;
}

static bool is_small(const char *name) { return !name || !name[strcspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")]; }

static const char *make_small(const char *name, char ret[USER_MAX])
{
	snprintf(ret, USER_MAX, "%s", name);
	for (char *p = ret; *p; p++)
		*p = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
	return ret;
}

static int find_users(const char *given, struct init *i)
{
	const char *prefix = given ? given : USER_WORKER;
	char users[USERS][USER_MAX + 8], hooks[USER_MAX + 8], small[USER_MAX], missing[512] = "";
	const struct passwd *pw;

	if (!*prefix || strlen(prefix) >= USER_MAX)
		return fail(EXIT_USAGE, "--users %s: a user's name of 1 to %d bytes is wanted", prefix, USER_MAX - 1);
	if (!is_small(given) && !getpwnam(given))
		prefix = make_small(given, small);
	offline_users(prefix, users);
	for (size_t k = 0; k < USERS; k++) {
		size_t len = strlen(missing);

		if (!getpwnam(users[k]))
			snprintf(missing + len, sizeof(missing) - len, "%s" USERADD " %s", len ? " && " : "", users[k]);
	}
	offline_hooks_user(prefix, hooks);
	if (*missing && !getpwnam(hooks)) {
		size_t len = strlen(missing);
		snprintf(missing + len, sizeof(missing) - len, " && " USERADD " %s", hooks);
	}
	if (*missing)
		return is_small(given) ? fail(EXIT_ERROR, "system users are missing; make them with: %s", missing)
				       : fail(EXIT_ERROR,
					      "system users are missing, and useradd takes no capital letters; give "
					      "--users %s, and make them with: %s",
					      prefix, missing);
	if (given && strcmp(prefix, given) != 0)
		return fail(EXIT_ERROR, "there is no user %s; give --users %s, whose users are there", given, prefix);
	if (!getpwnam(hooks))
		note("there is no user %s: programs of hooks and rotation policies then need --user; make it "
		     "with: " USERADD " %s",
		     hooks, hooks);
	pw = getpwnam(prefix);
	if (!pw || pw->pw_uid == 0)
		return fail(EXIT_ERROR,
			    "user %s must be there, and must not be root: callers' requests are worked on under it",
			    prefix);
	i->worker_uid = pw->pw_uid;
	i->worker_gid = pw->pw_gid;
	i->users = given;
	return EXIT_DONE;
}

static bool is_empty_dir(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	bool empty = d != NULL;

	while (d && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			empty = false;
	if (d)
		closedir(d);
	return empty;
}

/* Before anything is said of keys: there will be none. */
static int check_no_vault(const struct init *i)
{
	char conf[PATH_MAX + 16];
	struct stat st;

	snprintf(conf, sizeof(conf), "%s/vault.conf", i->dir);
	if (lstat(conf, &st) == 0)
		return fail(EXIT_CONFLICT, "%s is a vault already; nothing was changed. Mount it with: cofferd %s %s",
			    i->dir, i->dir, MOUNT_DEFAULT);
	return EXIT_DONE;
}

static int check_place(struct init *i)
{
	struct stat st;

	if (lstat(i->dir, &st) == 0 && !S_ISDIR(st.st_mode))
		return fail(EXIT_CONFLICT, "%s is there and is not a directory; nothing was changed", i->dir);
	if (lstat(i->dir, &st) == 0 && !is_empty_dir(i->dir))
		return fail(EXIT_CONFLICT, "%s is not empty; nothing was changed, choose another directory", i->dir);
	/* cofferd would not serve it */
	if (lstat(i->dir, &st) == 0 && (st.st_uid != 0 || (st.st_mode & 022)))
		return fail(EXIT_ERROR,
			    "%s must be root's, and not writable by others; nothing was changed; run: chown root:root "
			    "%s && chmod 755 %s",
			    i->dir, i->dir, i->dir);
	if (offline_check_ways("the store", i->dir) || offline_check_ways("the verify key", i->verify_path))
		return EXIT_ERROR;
	const char *path = kek_file(i->kek_uri);
	if (path && offline_check_ways("the key", path))
		return EXIT_ERROR;
	i->kek_there = path && lstat(path, &st) == 0;
	return EXIT_DONE;
}

static bool is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* Vaults may have one name, their stores lying in different directories: the keys of the second are called as its id
 * is, too. A key that lies in the usual place by chance may be the last one that opens an old store: it is named on
 * purpose, or not used. What the keys are called is said before anything is made. */
static int name_keys(struct init *i, bool named)
{
	char usual[PATH_MAX];
	const bool own_kek = !named && is_there(kek_file(i->kek_uri));

	offline_key_path(&i->conf, BY_NAME, "verify", usual);
	if (!own_kek && !is_there(usual)) {
		memcpy(i->verify_path, usual, sizeof(i->verify_path));
		return EXIT_DONE;
	}
	if (!named) {
		char path[PATH_MAX];
		offline_key_path(&i->conf, BY_NAME_AND_ID, "kek", path);
		note("%s is there already, and stays as it is: it is another vault's, or was; to use it for this one, "
		     "too: --kek %s",
		     own_kek ? kek_file(i->kek_uri) : usual, i->kek_uri);
		snprintf(i->kek_uri, sizeof(i->kek_uri), "file:%.*s", KEK_URI_MAX - 6, path);
		memcpy(i->conf.kek, i->kek_uri, sizeof(i->conf.kek));
		note("the key of this vault will be %s", path);
	}
	offline_key_path(&i->conf, BY_NAME_AND_ID, "verify", i->verify_path);
	note("the verify key of its log will be %s", i->verify_path);
	return EXIT_DONE;
}

static int read_kek(const struct args *a, struct init *i)
{
	const char *given = args_value(a, "kek");
	size_t len = strlen(i->dir), n;

	if (random_bytes(i->conf.id, sizeof(i->conf.id)) < 0)
		return fail(EXIT_ERROR, "the kernel gives no random bytes");
	snprintf(i->conf.kek, sizeof(i->conf.kek), "file:" ETC_DIR "/%s.kek", i->conf.name);
	n = (size_t)snprintf(i->kek_uri, sizeof(i->kek_uri), "%s", given ? given : i->conf.kek);
	if (n >= sizeof(i->kek_uri))
		return fail(EXIT_USAGE, "--kek is longer than %d bytes", KEK_URI_MAX - 1);
	if (!kek_uri_valid(i->kek_uri))
		return fail(EXIT_USAGE,
			    "--kek has a control character, or is not UTF-8; choose another name for the key");
	if (!kek_ops_for(i->kek_uri))
		return fail(EXIT_USAGE, "no key provider for \"%s\"; there are: %s", i->kek_uri, kek_schemes());
	const char *path = kek_file(i->kek_uri);
	if (path) {
		if (path[0] != '/')
			return fail(EXIT_USAGE,
				    "--kek %s: the path must be absolute, as the daemon will look for it there",
				    i->kek_uri);
		/* Whoever copies the store would carry the key with it. */
		if (strncmp(path, i->dir, len) == 0 && path[len] == '/')
			return fail(EXIT_USAGE, "the key must not lie inside the store that it protects; name another "
						"place with --kek file:PATH");
	}
	memcpy(i->conf.kek, i->kek_uri, sizeof(i->conf.kek));
	return name_keys(i, given != NULL);
}

/* ---- making it ---- */

static int make_dir(struct init *i, const char *path, mode_t mode)
{
	if (mkdir(path, mode) == 0) {
		made(i, path);
		return chmod(path, mode) == 0
			       ? EXIT_DONE
			       : fail(EXIT_ERROR, "cannot set the mode of %s: %s", path, strerror(errno));
	}
	return errno == EEXIST ? EXIT_DONE
			       : fail(EXIT_ERROR, "cannot make the directory %s: %s", path, strerror(errno));
}

static int make_parent(struct init *i, const char *path, mode_t mode)
{
	char parent[PATH_MAX], *slash;

	snprintf(parent, sizeof(parent), "%s", path);
	slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return EXIT_DONE;
	*slash = '\0';
	return make_dir(i, parent, mode);
}

/* The store lies in the directory of the key, or below it. */
static bool lies_beside(const struct init *i)
{
	const char *path = kek_file(i->kek_uri), *slash = strrchr(path, '/');
	const size_t len = slash ? (size_t)(slash - path) + 1 : 0;

	return len > 1 && strncmp(i->dir, path, len) == 0;
}

/* The daemon's users have no rights of root's: each directory above the store that is there must let them through. */
static int check_passage(const struct init *i)
{
	char upto[PATH_MAX];
	struct stat st;

	for (const char *slash = i->dir; (slash = strchr(slash, '/')); slash++) {
		snprintf(upto, sizeof(upto), "%.*s", slash == i->dir ? 1 : (int)(slash - i->dir), i->dir);
		if (stat(upto, &st) < 0)
			break;
		const mode_t needed = st.st_uid == i->worker_uid   ? S_IXUSR
				      : st.st_gid == i->worker_gid ? S_IXGRP
								   : S_IXOTH;
		if (!(st.st_mode & needed))
			return fail(EXIT_CONFLICT,
				    "the daemon's user (uid %u) cannot pass the directory %s, in which the store would "
				    "lie: chmod o+x %s, or choose another place",
				    i->worker_uid, upto, upto);
	}
	return EXIT_DONE;
}

static int make_kek(struct init *i, const struct secbuf *passphrase)
{
	struct kek_source source = { .uri = i->kek_uri, .fd = -1 };
	char why[WHY_MAX] = "";
	int status = EXIT_DONE, r;

	if (passphrase) {
		source.passphrase = secbuf_cdata(passphrase);
		source.passphrase_len = secbuf_len(passphrase);
	}
	/* one that the store lies in, too, must let the daemon's users through */
	const char *path = kek_file(i->kek_uri);
	if (path)
		status = make_parent(i, path, lies_beside(i) ? 0711 : 0700);
	if (status == EXIT_DONE) {
		r = kek_create(&source, i->conf.kek_params, &i->kek, why, sizeof(why));
		if (r < 0)
			status = fail(exit_for_errno(r), "the vault's key could not be made: %s",
				      *why ? why : strerror(-r));
		else if (path)
			made(i, path);
	}
	return status;
}

/* A key that somebody brings, such as one of RSA. It must pass all that the daemon will ask of it. */
static int take_kek(struct init *i)
{
	struct kek_source source = { .uri = i->kek_uri, .fd = -1 };
	char why[WHY_MAX] = "";
	int r = kek_open(&source, &i->kek, why, sizeof(why));

	return r == 0 ? EXIT_DONE
		      : fail(EXIT_CONFLICT,
			     "%s; it was there before and cannot be this vault's key: put it right, or name a file "
			     "that is not there yet and gets a new key",
			     *why ? why : strerror(-r));
}

static int make_vault_key(struct init *i)
{
	struct wrap_context ctx = { .type = WRAP_VAULT_KEY };
	uint8_t *key = secmem_alloc(KEY_LEN);
	int r = -ENOMEM;

	if (!key)
		goto out;
	memcpy(ctx.vault, i->conf.id, sizeof(ctx.vault));
	i->kek_alg = kek_alg(i->kek);
	r = keys_new_local(i->kek, &i->keys);
	if (r < 0)
		goto out;
	i->kek = NULL;
	r = keys_wrap_new(i->keys, &ctx, key, i->conf.vault_record, &i->conf.vault_record_len);
out:
	secmem_free(key, KEY_LEN);
	return r == 0 ? EXIT_DONE : fail(EXIT_ERROR, "the vault's key does not work: %s", strerror(-r));
}

static int make_store(struct init *i)
{
	char why[WHY_MAX] = "", path[PATH_MAX + 16];
	int status, r, fd;

	status = make_parent(i, i->dir, 0755);
	if (status == EXIT_DONE)
		status = make_dir(i, i->dir, 0755);
	if (status)
		return status;
	snprintf(path, sizeof(path), "%s/db", i->dir);
	made(i, path);
	r = store_create(i->dir, &i->conf, i->keys, &i->settings, i->admins, i->n_admins, i->worker_uid, i->worker_gid,
			 why, sizeof(why));
	if (r < 0)
		return fail(exit_for_errno(r), "the store could not be made: %s", *why ? why : strerror(-r));
	snprintf(path, sizeof(path), "%s/audit", i->dir);
	made(i, path);
	status = make_parent(i, i->verify_path, 0700);
	if (status)
		return status;
	r = audit_create(i->dir, i->verify_path, i->conf.name, i->worker_gid, why, sizeof(why));
	if (r != -EEXIST)
		made(i, i->verify_path);
	if (r < 0)
		return fail(exit_for_errno(r), "the audit log could not be made: %s", *why ? why : strerror(-r));
	fd = open(i->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/vault.conf", i->dir);
	made(i, path);
	r = fd < 0 ? -errno : vaultconf_write(fd, &i->conf);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (fd >= 0)
		close(fd);
	return r == 0 ? EXIT_DONE : fail(EXIT_ERROR, "%s/vault.conf could not be written: %s", i->dir, strerror(-r));
}

static void say_what_next(const struct init *i)
{
	char text[PRINCIPAL_TEXT_MAX];

	printf("vault %s made in %s\n", i->conf.name, i->dir);
	for (size_t k = 0; k < i->n_admins; k++) {
		principal_print(&i->admins[k], text);
		printf("administrator: %s\n", text);
	}
	const char *path = kek_file(i->kek_uri);
	if (path) {
		printf("key: %s\n", path);
		if (i->kek_there)
			printf("  It was there and is used as it is, for %s; none was made.\n",
			       i->kek_alg == KEK_ALG_AES_KW ? "AES-256 key wrap" : "RSA-OAEP-256");
		printf("  Lose this file, lose everything. Keep a copy off this machine.\n");
	} else
		printf("key: %s\n  Lose it, lose everything.\n", i->kek_uri);
	printf("verify key of the audit log: %s\n  Move it off this machine: whoever has it could forge the log.\n",
	       i->verify_path);
	printf("next: cofferd %s %s%s%s\n", i->dir, MOUNT_DEFAULT, i->users ? " -o users=" : "",
	       i->users ? i->users : "");
}

static int gather(const struct args *a, struct init *i)
{
	int status;

	i->settings = (struct store_settings){ .retention_days = RETENTION_MAX,
					       .purge_protection = args_has(a, "purge-protection"),
					       .value_max = VALUE_MAX };
	status = read_retention(args_value(a, "retention"), &i->settings.retention_days);
	if (status == EXIT_DONE)
		status = read_dir(a->operands[0], i->dir);
	if (status == EXIT_DONE && strlen(i->dir) > STORE_PATH_MAX)
		status = fail(EXIT_USAGE,
			      "the store's path is longer than the %d bytes that can be mounted; choose a shorter one",
			      STORE_PATH_MAX);
	if (status == EXIT_DONE)
		status = check_no_vault(i);
	if (status == EXIT_DONE)
		status = read_name(i->dir, i->conf.name);
	if (status == EXIT_DONE)
		status = read_kek(a, i);
	if (status == EXIT_DONE)
		status = read_admins(a, i);
	if (status == EXIT_DONE)
		status = find_users(args_value(a, "users"), i);
	if (status == EXIT_DONE)
		status = check_place(i);
	return status;
}

int cmd_init(struct cli *c, const struct args *a)
{
	struct init *i = calloc(1, sizeof(*i));
	struct secbuf *passphrase = NULL;
	sigset_t signals, old;
	int status = offline_need_root("init STORE");

	(void)c;
	if (!i)
		return fail(EXIT_ERROR, "not enough memory");
	umask(022);
	if (status == EXIT_DONE)
		status = gather(a, i);
	if (status == EXIT_DONE && i->settings.purge_protection)
		status = confirm(a, PURGE_PROTECTION_ASKED);
	if (status == EXIT_DONE)
		status = input_prepare(1);
	if (status == EXIT_DONE && crypto_init() < 0)
		status = fail(EXIT_ERROR,
			      "OpenSSL lacks an algorithm that the vault needs (AES-256-GCM, AES-KW, SHA-256)");
	if (status == EXIT_DONE && kek_asks(i->kek_uri) == KEK_ASKS_PASSPHRASE)
		status = input_passphrase("New passphrase of the vault: ", true, &passphrase);
	if (status)
		goto out;
	/* From the first thing made to the last, so that nobody's Ctrl-C leaves a key without its vault. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGQUIT);
	sigprocmask(SIG_BLOCK, &signals, &old);
	status = check_passage(i);
	if (status == EXIT_DONE)
		status = i->kek_there ? take_kek(i) : make_kek(i, passphrase);
	if (status == EXIT_DONE)
		status = make_vault_key(i);
	if (status == EXIT_DONE)
		status = make_store(i);
	keys_free(i->keys);
	kek_close(i->kek);
	undo(i, status != EXIT_DONE);
	if (status == EXIT_DONE)
		say_what_next(i);
	sigprocmask(SIG_SETMASK, &old, NULL);
out:
	secbuf_free(passphrase);
	free(i);
	return status;
}
