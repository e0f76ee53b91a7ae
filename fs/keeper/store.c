#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/common/log.h"
#include "store/keys/kek.h"

#define LOCK_PATIENCE_MS 10000
#define LOCK_POLL_MS     20

static int find_user(const char *name, uid_t *ret_uid, gid_t *ret_gid, char *why, size_t why_len)
{
	struct passwd *p = getpwnam(name);
	if (!p) {
		snprintf(why, why_len,
			 "system user %s is missing; run: useradd --system --user-group --no-create-home --shell "
			 "/usr/sbin/nologin %s",
			 name, name);
		return 1;
	}
	if (p->pw_uid == 0) {
		snprintf(why, why_len, "system user %s has uid 0; it must be an unprivileged user of its own", name);
		return 1;
	}
	*ret_uid = p->pw_uid;
	*ret_gid = p->pw_gid;
	return 0;
}

/* Secrets are served without it; which programs then do not run, each says by itself. */
static void warn_of_hooks_user(const char *prefix, const struct keeper_users *u)
{
	char name[USERS_MAX + 8];
	const struct passwd *p;

	snprintf(name, sizeof name, "%s-hooks", prefix);
	p = getpwnam(name);
	if (!p)
		log_warn("system user %s is missing: programs of hooks and rotation policies that name no user do not "
			 "run; run: useradd --system --user-group --no-create-home --shell /usr/sbin/nologin %s",
			 name, name);
	else if (p->pw_uid == 0 || p->pw_uid == u->worker || p->pw_uid == u->keys || p->pw_uid == u->helper)
		log_warn("system user %s must be a user of its own: a program that runs as it could reach into the "
			 "daemon's processes",
			 name);
}

static int find_users(const char *prefix, struct keeper_users *u, char *why, size_t why_len)
{
	char keys[USERS_MAX + 8], helper[USERS_MAX + 8];

	snprintf(keys, sizeof keys, "%s-keys", prefix);
	snprintf(helper, sizeof helper, "%s-helper", prefix);
	int r = find_user(prefix, &u->worker, &u->worker_gid, why, why_len);
	if (!r)
		r = find_user(keys, &u->keys, &u->keys_gid, why, why_len);
	if (!r)
		r = find_user(helper, &u->helper, &u->helper_gid, why, why_len);
	if (!r && (u->worker == u->keys || u->keys == u->helper || u->worker == u->helper)) {
		snprintf(why, why_len,
			 "%s, %s and %s must be three different users: each guards something from the others", prefix,
			 keys, helper);
		return 1;
	}
	if (!r)
		warn_of_hooks_user(prefix, u);
	return r;
}

/* The database is its worker's, whatever that is called: another vault's user must not get at it, nor find out by
 * errors half-way. */
static int check_database(int dir, const char *path, const struct options *o, const struct keeper_users *u, char *why,
			  size_t why_len)
{
	struct stat st;

	if (fstatat(dir, "db", &st, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(st.st_mode) || st.st_uid == u->worker)
		return 0; /* one that is not there is the worker's to report */
	snprintf(why, why_len,
		 "%s/db belongs to uid %u, not to user %s; name the vault's users with -o users=NAME, or give it to "
		 "this one: chown -R %s: %s/db",
		 path, (unsigned)st.st_uid, o->users, o->users, path);
	return 1;
}

/* Is the store to be seen at a mount point? Its source is "coffer:STORE" (fs/keeper/mount.c). */
static bool is_mounted(const char *path)
{
	FILE *f = setmntent("/proc/self/mounts", "r");
	struct mntent *m;
	bool found = false;

	while (f && !found && (m = getmntent(f)))
		found = !strncmp(m->mnt_fsname, "coffer:", 7) && !strcmp(m->mnt_fsname + 7, path);
	if (f)
		endmntent(f);
	return found;
}

/* umount(8) is back before the daemon has written its last records: who mounts again at once waits for it. One that is
 * mounted is not waited for. */
static int lock_patiently(int fd, int dir, const char *path)
{
	int r = flock(fd, LOCK_EX | LOCK_NB);
	bool ends = false;

	/* one may serve what is still open of a mount that is gone, or what is left of it elsewhere */
	if (r && errno == EWOULDBLOCK) {
		ends = handover_yield(dir);
		r = flock(fd, LOCK_EX | LOCK_NB);
	}
	for (int waited = 0; r && errno == EWOULDBLOCK && waited < LOCK_PATIENCE_MS && (ends || !is_mounted(path));
	     waited += LOCK_POLL_MS) {
		poll(NULL, 0, LOCK_POLL_MS);
		r = flock(fd, LOCK_EX | LOCK_NB);
	}
	return r;
}

/* One daemon a store: the lock is the keeper's, and goes with it. */
static int take_lock(int dir, int *ret_lock, const char *path, char *why, size_t why_len)
{
	int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		snprintf(why, why_len, "%s/lock: %s", path, strerror(errno));
		return 1;
	}
	if (lock_patiently(fd, dir, path)) {
		char pid[16] = "?";
		ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
		if (n > 0)
			pid[strcspn(pid, "\n")] = '\0';
		snprintf(why, why_len, "%s is served already, by process %s; one daemon a store", path, pid);
		close(fd);
		return 5;
	}
	*ret_lock = fd;
	return 0;
}

void keeper_store_sign(const struct keeper_store *s)
{
	char text[16];
	int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
	if (ftruncate(s->lock, 0) || pwrite(s->lock, text, (size_t)n, 0) != n) {
		/* the number is a courtesy to the next one who tries; the lock is what counts */
	}
}

/* Where the key file lies: the store says, or who started us does. "": the key is in no file. */
static int find_kek(const struct keeper_store *s, const struct options *o, char ret_path[PATH_MAX], char *why,
		    size_t why_len)
{
	const char *given = o->kek[0] ? o->kek : s->conf.kek, *credentials = getenv("CREDENTIALS_DIRECTORY");
	const char *path = kek_file(given);

	ret_path[0] = '\0';
	if (!kek_file(s->conf.kek)) {
		if (!o->kek[0])
			return 0;
		snprintf(why, why_len, "the vault's key is %s, and no file: -o kek=%s does not fit", s->conf.kek,
			 o->kek);
		return 7;
	}
	if (path) {
		snprintf(ret_path, PATH_MAX, "%s", path);
		return 0;
	}
	if (!credentials || credentials[0] != '/') {
		snprintf(why, why_len,
			 "-o kek=%s: there is no $CREDENTIALS_DIRECTORY; have systemd set it, with "
			 "LoadCredential=%s:PATH in the unit",
			 given, given + 11);
		return 7;
	}
	if (snprintf(ret_path, PATH_MAX, "%s/%s", credentials, given + 11) < PATH_MAX)
		return 0;
	snprintf(why, why_len, "-o kek=%s: the path of $CREDENTIALS_DIRECTORY is too long", given);
	return 7;
}

static int open_kek(struct keeper_store *s, const struct options *o, char *why, size_t why_len)
{
	char path[PATH_MAX];
	struct stat st;
	int r = find_kek(s, o, path, why, why_len);

	if (r || !path[0])
		return r;
	/* a FIFO in its place must not hold us */
	s->kek = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (s->kek < 0) {
		snprintf(why, why_len,
			 "key file %s: %s; bring it back from where you keep its copy: without it nothing can be "
			 "decrypted",
			 path, strerror(errno));
		return 7;
	}
	if (fstat(s->kek, &st) || !S_ISREG(st.st_mode)) {
		snprintf(why, why_len,
			 "key file %s is not a regular file; bring the vault's own key back from its copy", path);
		return 7;
	}
	if (st.st_uid != 0 || (st.st_mode & 077)) {
		snprintf(why, why_len,
			 "key file %s can be read by others; run: chown root:root %s && chmod 600 %s, and think about "
			 "who has read it",
			 path, path, path);
		return 7;
	}
	return 0;
}

/* Passphrases reach the key holder here, never through the mount: the directory entry is root's alone. */
static int listen_unseal(struct keeper_store *s, const char *path, char *why, size_t why_len)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	snprintf(addr.sun_path, sizeof addr.sun_path, "/proc/self/fd/%d/unseal.sock", s->dir);
	unlinkat(s->dir, "unseal.sock", 0);
	s->unseal = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t old = umask(0177);
	int r = s->unseal < 0 || bind(s->unseal, (struct sockaddr *)&addr, sizeof addr) || listen(s->unseal, 4);
	umask(old);
	if (r)
		snprintf(why, why_len, "%s/unseal.sock: %s", path, strerror(errno));
	return r ? 1 : 0;
}

int keeper_store_check_owner(int dir, const char *path, char *why, size_t why_len)
{
	struct stat st;
	if (fstat(dir, &st) || st.st_uid != 0 || (st.st_mode & 022)) {
		snprintf(why, why_len,
			 "%s must be root's and not writable by others; run: chown root:root %s && chmod 755 %s", path,
			 path, path);
		return 1;
	}
	return 0;
}

static int open_audit(struct keeper_store *s, const char *path, char *why, size_t why_len)
{
	s->audit_dir = openat(s->dir, "audit", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (s->audit_dir >= 0)
		s->audit_head = openat(s->audit_dir, "head", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (s->audit_dir < 0 || s->audit_head < 0) {
		snprintf(why, why_len,
			 "%s/audit: %s; nothing is served without a log: bring it back, or look at it with coffer "
			 "audit verify %s",
			 path, strerror(errno), path);
		return 6;
	}
	return 0;
}

int keeper_store_open(const struct options *options, struct keeper_store *ret_store, char *why, size_t why_len)
{
	const char *path = options->store;
	struct keeper_store s = {
		-1, -1, -1, -1, -1, -1, { { 0 }, { 0 }, { 0 }, { 0 }, { 0 }, 0 }, { 0, 0, 0, 0, 0, 0 }
	};
	int r = 1;

	if (geteuid() != 0) {
		snprintf(why, why_len, "cofferd needs root to mount and to start its processes under their own users");
		goto out;
	}
	s.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s.dir < 0) {
		snprintf(why, why_len, "store %s: %s; coffer init %s makes one", path, strerror(errno), path);
		goto out;
	}
	int e = vaultconf_read(s.dir, &s.conf, why, why_len);
	if (e == -ENOENT)
		snprintf(why, why_len, "%s is not a store (no vault.conf); coffer init makes one: coffer init %s", path,
			 path);
	if (e) {
		r = e == -EINVAL ? 6 : e == -ENOENT ? 4 : 1;
		goto out;
	}
	r = keeper_store_check_owner(s.dir, path, why, why_len);
	if (!r)
		r = find_users(options->users, &s.users, why, why_len);
	if (!r)
		r = check_database(s.dir, path, options, &s.users, why, why_len);
	if (!r)
		r = take_lock(s.dir, &s.lock, path, why, why_len);
	if (!r)
		keeper_store_sign(&s);
	if (!r)
		r = open_audit(&s, path, why, why_len);
	if (!r)
		r = open_kek(&s, options, why, why_len);
	if (!r)
		r = listen_unseal(&s, path, why, why_len);
	if (r)
		goto out;
	*ret_store = s;
	return 0;
out:
	keeper_store_close(&s);
	return r;
}

void keeper_store_close(struct keeper_store *s)
{
	if (s->unseal >= 0)
		unlinkat(s->dir, "unseal.sock", 0);
	const int fds[] = { s->unseal, s->kek, s->audit_head, s->audit_dir, s->dir, s->lock };
	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}
