/* Following what another process committed. */
#include "store/core/follow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/core/catalog.h"
#include "store/core/db.h"
#include "store/core/idset.h"
#include "store/core/row_change.h"
#include "store/core/step.h"

/* Every secret may have changed: told of all of them. */
static int followed_add_all(struct store *s)
{
	const struct catalog_secret *c;
	int r = 0;

	for (int deleted = 0; deleted < 2; deleted++)
		for (uint32_t id = 0; r == 0 && (c = catalog_next(s->tables.catalog, id, deleted)); id = c->id)
			r = idset_put(&s->followed, c->id);
	return r;
}

static int follow_reload(struct store *s, struct db *db)
{
	struct step step;
	int r = step_reload(s, db, &step);

	if (r < 0)
		return r;
	step_apply(s, &step, NULL);
	return followed_add_all(s);
}

/* As they are selected below. */
enum { CHANGES_ID, CHANGES_KIND, CHANGES_ROW, CHANGES_OLD_MAC, CHANGES_NEW_MAC };

/* The listed changes after epoch, moving head's hash and count along. -ESTALE: they are not all there. */
static int read_changes(struct store *s, struct db *db, struct head *head, struct change **ret_changes, size_t *ret_n)
{
	struct query q = db_query(db, "SELECT id, kind, row, old_mac, new_mac FROM changes WHERE id >= ? ORDER BY id");
	struct change *changes = NULL;
	uint64_t epoch = s->tables.head.epoch;
	size_t n = 0, capacity = 0, len[2];
	int r;

	query_int(&q, (int64_t)((epoch + 1) << CHANGE_BITS));
	while ((r = query_step(&q)) > 0) {
		uint64_t at = (uint64_t)column_int(&q, CHANGES_ID) >> CHANGE_BITS;
		int64_t kind = column_int(&q, CHANGES_KIND);
		const void *mac[2] = { column_blob(&q, CHANGES_OLD_MAC, &len[0]),
				       column_blob(&q, CHANGES_NEW_MAC, &len[1]) };

		r = -ESTALE;
		if ((at != epoch && at != epoch + 1) || !row_is_member(kind) || n == CHANGES_LISTED * 16)
			break;
		epoch = at;
		r = -EBADMSG;
		if ((mac[0] && len[0] != DIGEST_LEN) || (mac[1] && len[1] != DIGEST_LEN))
			break;
		if (n == capacity) {
			capacity = capacity ? 2 * capacity : 64;
			struct change *grown = realloc(changes, capacity * sizeof *grown);
			r = -ENOMEM;
			if (!grown)
				break;
			changes = grown;
		}
		struct change *c = &changes[n];
		*c = (struct change){ .kind = (uint8_t)kind,
				      .row = column_int(&q, CHANGES_ROW),
				      .order = (uint32_t)n,
				      .before = mac[0],
				      .after = mac[1] };
		n++;
		if (mac[0])
			memcpy(c->old_mac, mac[0], DIGEST_LEN);
		if (mac[1])
			memcpy(c->new_mac, mac[1], DIGEST_LEN);
		r = mac[0] ? set_remove(s->row_keys, c->old_mac, &head->hash) : 0;
		if (r == 0 && mac[1])
			r = set_add(s->row_keys, c->new_mac, &head->hash);
		if (r < 0)
			break;
		head->members += (mac[1] != NULL) - (mac[0] != NULL);
	}
	query_end(&q);
	if (r == 0 && epoch != head->epoch)
		r = -ESTALE;
	if (r < 0) {
		free(changes);
		return r;
	}
	*ret_changes = changes;
	*ret_n = n;
	return 0;
}

int follow_apply(struct store *s, struct db *db)
{
	struct change *changes = NULL;
	struct step step = { 0 };
	struct head head, stored;
	uint8_t stored_mac[DIGEST_LEN], mac[DIGEST_LEN];
	size_t n = 0;
	int r = head_read(db, s->row_keys, &stored, stored_mac);

	if (r < 0)
		return r;
	if (!s->row_keys)
		return stored.epoch == s->tables.head.epoch ? 0 : follow_reload(s, db);
	if (stored.epoch < s->tables.head.epoch || !stored.has_trail || stored.serial < s->tables.head.serial)
		return -EBADMSG; /* an older store was put in this one's place */
	head = stored;
	head.members = s->tables.head.members;
	head.hash = s->tables.head.hash;
	r = read_changes(s, db, &head, &changes, &n);
	if (r == -ESTALE)
		return follow_reload(s, db);
	if (r < 0)
		return r;
	r = head_mac(s->row_keys, s->vault, &head, mac);
	if (r == 0 && (head.members != stored.members || secret_cmp(mac, stored_mac, DIGEST_LEN) != 0))
		r = -EBADMSG;
	if (r == 0 && n > 0)
		r = step_prepare(s, db, changes, n, &step);
	for (size_t i = 0; i < n && r == 0; i++)
		r = change_touch(&s->followed, &changes[i]);
	if (r == 0 && n > 0)
		step_apply(s, &step, &head);
	else
		step_discard(s, &step);
	free(changes);
	return r;
}

static int list_changed(struct db *db, uint64_t epoch, uint64_t head, struct idset **changed)
{
	struct query q = db_query(db, "SELECT id, kind, row FROM changes WHERE id >= ? ORDER BY id");
	uint64_t at = epoch;
	int r = 0;

	query_int(&q, (int64_t)((epoch + 1) << CHANGE_BITS));
	while (r == 0 && (r = query_step(&q)) > 0) {
		const uint64_t next = (uint64_t)column_int(&q, CHANGES_ID) >> CHANGE_BITS;
		const uint32_t id = change_secret(column_int(&q, CHANGES_KIND), column_int(&q, CHANGES_ROW));
		r = next > at + 1 || column_int(&q, CHANGES_KIND) == ROW_EVERYTHING ? -ESTALE : 0;
		at = next;
		if (r == 0 && id)
			r = idset_put(changed, id);
	}
	query_end(&q);
	return r == 0 && at < head ? -ESTALE : r;
}

/* The live secrets whose newest version was made after epoch. */
static int list_newer(struct store *s, uint64_t epoch, struct idset **changed)
{
	const struct catalog_secret *c;
	int r = 0;

	store_rdlock(s);
	for (uint32_t id = 0; r == 0 && (c = store_next(s, id, false)); id = c->id)
		if (c->n_versions > 0 && c->versions[c->n_versions - 1].epoch > epoch)
			r = idset_put(changed, c->id);
	store_unlock_tables(s);
	return r;
}

int store_changed_since(struct store *s, uint64_t epoch, void (*fn)(uint32_t secret, void *arg), void *arg)
{
	struct idset *changed = NULL;
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = list_changed(s->read, epoch, atomic_load(&s->epoch), &changed);
	pthread_mutex_unlock(&s->read_mutex);
	if (r == -ESTALE)
		r = list_newer(s, epoch, &changed);
	for (uint32_t id = 0; r == 0 && (id = idset_next(changed, id));)
		fn(id, arg);
	idset_free(changed);
	return r;
}
