
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/policy.h"
#include "store/backup/recipients.h"
#include "store/core/catalog.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/schema.h"
#include "store/core/settings.h"
#include "store/core/transaction_internal.h"
#include "store/grants/grants.h"
#include "store/opening.h"
#include "store/store.h"

static int fill(struct store *s, struct keys *keys, const struct store_settings *settings,
		const struct principal *admins, size_t n_admins)
{
	int r = transaction_begin(s, true);

	if (r < 0)
		return r;
	s->transaction.head = (struct head){
		.next_object = 1, .next_role = ROLE_CUSTOM_FIRST, .next_binding = 1, .has_trail = true
	};
	r = schema_create(s->write, s->schema);
	if (r == 0)
		r = settings_insert(s, settings);
	if (r == 0)
		r = signer_insert(s, keys);
	for (size_t i = 0; i < n_admins && r == 0; i++) {
		struct binding b = { .role = ROLE_ADMINISTRATOR,
				     .principal = admins[i],
				     .scope = "*",
				     .from = INT64_MIN,
				     .until = BINDING_FOREVER };
		uint64_t id;
		r = store_binding_add(s, &b, "made with the vault", NULL, &id);
	}
	return transaction_settle(s, r);
}

static int make_database(struct store *s, struct keys *keys, const struct store_settings *settings,
			 const struct principal *admins, size_t n_admins)
{
	int r = db_open(s->path, &(struct db_options){ .create = true, .durable = true, .cache_kib = 1024 }, &s->write);

	if (r == 0)
		r = db_exec(s->write, "PRAGMA page_size=4096; PRAGMA journal_mode=WAL");
	if (r == 0)
		r = store_derive_row_keys(s, keys, &s->row_keys);
	if (r == 0)
		r = catalog_new(&s->tables.catalog);
	if (r == 0)
		s->tables.policy = policy_ref(s->no_policy);
	return r < 0 ? r : fill(s, keys, settings, admins, n_admins);
}

/* Whatever SQLite left beside the database, and the directory if it is empty then. */
static void remove_database(const char *db_dir, bool made)
{
	static const char *const names[] = { "vault.db", "vault.db-wal", "vault.db-shm", "vault.db-journal" };
	int fd = open(db_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	for (size_t i = 0; i < sizeof names / sizeof names[0] && fd >= 0; i++)
		unlinkat(fd, names[i], 0);
	if (fd >= 0)
		close(fd);
	if (made)
		rmdir(db_dir);
}

static int hand_over(const char *db_dir, uint32_t uid, uint32_t gid)
{
	int fd = open(db_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = 0;

	if (fd < 0)
		return -errno;
	if (fchownat(fd, "vault.db", uid, gid, AT_SYMLINK_NOFOLLOW) < 0 || fchmod(fd, 0700) < 0 ||
	    fchown(fd, uid, gid) < 0 || fsync(fd) < 0)
		r = -errno;
	close(fd);
	return r;
}

int store_create(const char *dir, const struct vaultconf *conf, struct keys *keys,
		 const struct store_settings *settings, const struct principal *admins, size_t n_admins,
		 uint32_t owner_uid, uint32_t owner_gid, char *why, size_t why_len)
{
	struct store *s = NULL;
	char *db_dir = NULL;
	bool made = false, ours = false;
	int r = store_new(dir, conf, schema_current(), 0, &s);

	store_why(why, why_len, "%s", "");
	if (r < 0)
		goto out;
	db_dir = strdup(s->path);
	r = -ENOMEM;
	if (!db_dir)
		goto out;
	*strrchr(db_dir, '/') = '\0';
	made = mkdir(db_dir, 0700) == 0;
	r = made || errno == EEXIST ? 0 : -errno;
	if (r < 0)
		goto out;
	ours = access(s->path, F_OK) < 0;
	r = ours ? make_database(s, keys, settings, admins, n_admins) : -EEXIST;
	if (r < 0)
		goto out;
	store_close(s);
	s = NULL;
	r = hand_over(db_dir, owner_uid, owner_gid);
out:
	if (r == -EEXIST)
		store_why(why, why_len, "there is a store in %s already: choose another directory", dir);
	else if (r < 0)
		store_why(why, why_len, "the store cannot be made in %s: %s", dir, strerror(-r));
	store_close(s);
	if (r < 0 && ours)
		remove_database(db_dir, made);
	free(db_dir);
	return r;
}
