#include "fs/cli/common/store_access.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/cli/common/input.h"
#include "fs/cli/common/offline_keys.h"
#include "fs/cli/common/users.h"
#include "store/crypto/aead.h"
#include "store/crypto/bytes.h"
#include "store/keys/index.h"
#include "store/keys/kek.h"
#include "store/keys/keys.h"
#include "store/store.h"

#define WHY_MAX 512

int offline_need_root(const char *command)
{
	if (geteuid() == 0)
		return EXIT_DONE;
	return fail(EXIT_DENIED, "%s works on the store itself and is for root: sudo coffer %s", command, command);
}

#define ID_SHOWN 4 /* bytes of a vault's id in a file's name */

void offline_key_path(const struct vaultconf *conf, enum offline_naming naming, const char *suffix,
		      char ret_path[PATH_MAX])
{
	const char *path = kek_file(conf->kek), *slash = path ? strrchr(path, '/') : NULL;
	char id[2 * ID_SHOWN + 1] = "";

	if (naming == BY_NAME_AND_ID)
		hex_print(conf->id, ID_SHOWN, id);
	snprintf(ret_path, PATH_MAX, "%.*s/%s%s%s.%s", slash ? (int)(slash - path) : (int)strlen(ETC_DIR),
		 slash ? path : ETC_DIR, conf->name, *id ? "-" : "", id, suffix);
}

void offline_verify_path(const struct vaultconf *conf, char ret_path[PATH_MAX])
{
	const char *path = kek_file(conf->kek);
	char kek[PATH_MAX];

	/* one that init has named so; or one that is there */
	offline_key_path(conf, BY_NAME_AND_ID, "kek", kek);
	offline_key_path(conf, BY_NAME_AND_ID, "verify", ret_path);
	if ((!path || strcmp(path, kek) != 0) && access(ret_path, F_OK) < 0)
		offline_key_path(conf, BY_NAME, "verify", ret_path);
}

bool offline_verify_doubtful(const struct offline *o, char ret_path[PATH_MAX])
{
	offline_key_path(&o->conf, BY_NAME_AND_ID, "verify", ret_path);
	return strcmp(ret_path, o->verify_path) != 0;
}

/* In a directory with the sticky bit nobody takes away or renames what is root's. */
static bool is_weak(const char *dir)
{
	struct stat st;

	return lstat(dir, &st) == 0 &&
	       (st.st_uid != 0 || (!S_ISLNK(st.st_mode) && (st.st_mode & 022) && !(st.st_mode & S_ISVTX)));
}

static bool weak_way(const char *path, char *ret)
{
	for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
		snprintf(ret, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
		if (is_weak(ret))
			return true;
	}
	return false;
}

/* As it is written, and where links lead to. */
bool offline_weak_way(const char *path, char *ret)
{
	char up[PATH_MAX], real[PATH_MAX + 1], *slash;

	if (weak_way(path, ret))
		return true;
	snprintf(up, sizeof(up), "%s", path);
	while ((slash = strrchr(up, '/')) && slash != up) {
		*slash = '\0';
		if (realpath(up, real))
			return weak_way(strcat(real, "/"), ret);
	}
	return false;
}

int offline_check_ways(const char *what, const char *path)
{
	char weak[PATH_MAX];
	struct stat st;

	if (!offline_weak_way(path, weak) || lstat(weak, &st) < 0)
		return EXIT_DONE;
	return fail(EXIT_ERROR,
		    "%s would lie below %s, which uid %u%s can change: another could be put in its place; choose a "
		    "place where each directory is root's alone (by custom /var/lib/coffer for stores, " ETC_DIR
		    " for keys)",
		    what, weak, (unsigned)st.st_uid, st.st_mode & 022 ? " and others" : "");
}

int offline_find(const char *given, struct offline *ret)
{
	char why[WHY_MAX] = "";
	int fd, r;

	*ret = (struct offline){ .index = -1 };
	if (!realpath(given, ret->dir))
		return fail(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_ERROR,
			    "%s: %s; give the store's directory, such as /var/lib/coffer/default", given,
			    errno == ENOENT ? "there is no such directory" : strerror(errno));
	if (strlen(ret->dir) > STORE_PATH_OFFLINE_MAX)
		return fail(EXIT_USAGE,
			    "the path of this store is longer than %d bytes; give a shorter one: mkdir /mnt/store && "
			    "mount --bind . /mnt/store, in the store's directory",
			    STORE_PATH_OFFLINE_MAX);
	fd = open(ret->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(exit_for_errno(errno), "%s: %s; give the store's directory", given, strerror(errno));
	r = vaultconf_read(fd, &ret->conf, why, sizeof(why));
	close(fd);
	if (r == -ENOENT)
		return fail(EXIT_NOT_FOUND, "%s is not a store (no vault.conf); make one with: coffer init %s", given,
			    given);
	if (r < 0)
		return fail(r == -EINVAL ? EXIT_INTEGRITY : exit_for_errno(r), "%s/vault.conf: %s", ret->dir,
			    *why ? why : strerror(-r));
	offline_verify_path(&ret->conf, ret->verify_path);
	return EXIT_DONE;
}

/* Whose the database is, its directory says: each vault may have a user of its own. */
static int database_owner(const char *dir, struct stat *ret)
{
	char db[PATH_MAX + 8];

	snprintf(db, sizeof(db), "%s/db", dir);
	if (lstat(db, ret) < 0)
		return fail(exit_for_errno(errno), "%s: %s", db, strerror(errno));
	if (!S_ISDIR(ret->st_mode) || ret->st_uid == 0)
		return fail(EXIT_INTEGRITY,
			    "%s must be a directory of the vault's own user; give it back: chown -R " USER_WORKER
			    ": %s",
			    db, db);
	return EXIT_DONE;
}

/* SQLite's files get the owner that the daemon expects, and a hostile database meets an ordinary user's rights. Other
 * processes of that user must not look into this one: a change of user may have let them. */
static int become_worker(const char *dir, const struct stat *owner)
{
	if (setgroups(0, NULL) < 0 || setresgid(owner->st_gid, owner->st_gid, owner->st_gid) < 0 ||
	    setresuid(owner->st_uid, owner->st_uid, owner->st_uid) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return fail(EXIT_ERROR, "cannot become uid %u, whose %s/db is: %s", (unsigned)owner->st_uid, dir,
			    strerror(errno));
	return EXIT_DONE;
}

static int open_store(struct offline *o)
{
	struct store_config config = { .dir = o->dir, .conf = &o->conf };
	char why[WHY_MAX] = "";
	int r;

	r = store_open(&config, &o->store, why, sizeof(why));
	return r == 0 ? EXIT_DONE : fail(exit_for_errno(r), "%s: %s", o->dir, *why ? why : strerror(-r));
}

int offline_unlock(struct offline *o)
{
	char why[WHY_MAX] = "";
	int r = store_unlock(o->store, o->keys, why, sizeof(why));

	return r == 0 ? EXIT_DONE : fail(exit_for_errno(r), "%s: %s", o->dir, *why ? why : strerror(-r));
}

/* A key that is somebody else's must not look like a damaged store. */
static int check_key(struct offline *o)
{
	struct wrap_context ctx = { .type = WRAP_VAULT_KEY };
	uint8_t *key = secmem_alloc(KEY_LEN);
	int r = -ENOMEM;

	memcpy(ctx.vault, o->conf.id, sizeof(ctx.vault));
	if (key)
		r = keys_unwrap(o->keys, &ctx, o->conf.vault_record, o->conf.vault_record_len, key);
	secmem_free(key, KEY_LEN);
	if (r == -EBADMSG || r == -ENOKEY)
		return fail(EXIT_DENIED,
			    "that key does not open %s: it is another vault's, or the passphrase is wrong; name the "
			    "right one with --kek",
			    o->dir);
	if (r < 0)
		return fail(EXIT_UNAVAILABLE, "the vault's key does not answer: %s", strerror(-r));
	return EXIT_DONE;
}

static int hold_index(struct offline *o)
{
	int dir = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = dir < 0 ? -errno : index_hold(dir, &o->index);

	if (dir >= 0)
		close(dir);
	return r == 0 ? EXIT_DONE : fail(exit_for_errno(r), "%s/lock: %s", o->dir, strerror(-r));
}

int offline_open(struct offline *o, const char *kek_uri)
{
	struct stat owner;
	int status = input_prepare(2);

	if (status == EXIT_DONE && crypto_init() < 0)
		status = fail(EXIT_ERROR,
			      "OpenSSL lacks an algorithm that the vault needs (AES-256-GCM, AES-KW, SHA-256)");
	if (status == EXIT_DONE)
		status = database_owner(o->dir, &owner);
	if (status == EXIT_DONE)
		status = offline_keys_start(o, kek_uri ? kek_uri : o->conf.kek, owner.st_uid);
	if (status == EXIT_DONE)
		status = hold_index(o);
	if (status == EXIT_DONE)
		status = become_worker(o->dir, &owner);
	if (status == EXIT_DONE)
		status = check_key(o);
	if (status == EXIT_DONE)
		status = open_store(o);
	return status;
}

void offline_close(struct offline *o)
{
	store_close(o->store);
	o->store = NULL;
	if (o->index >= 0)
		close(o->index);
	o->index = -1;
	offline_keys_end(o);
}
