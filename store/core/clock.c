/* The time that has passed, as nobody can set it.
 *
 * The wall clock is whoever's who may set it: a day ahead, and a protected secret could be purged a day early. So a
 * retention is counted on a clock of the vault's own, which goes by the machine's uptime (CLOCK_BOOTTIME: it includes
 * sleep, and cannot be set). Its row says what was counted when the machine had been up for how long, in which boot;
 * within that boot the difference is added, also for the time without a daemon. In another boot (or on another machine)
 * counting goes on from the moment at which this process opened the store: for how long the machine was off nothing
 * vouches but the wall clock, and doubt means that deleted secrets are kept longer. The row is a member of the set: an
 * older one cannot be put in its place, and it never goes. */
#include "store/core/clock.h"

#include <errno.h>
#include <string.h>

#include "store/core/catalog.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/core/rules_table.h"
#include "store/core/transaction_internal.h"

#define KEEP_NS (600 * (int64_t)NS_PER_S)
/* Uptime is steered as the wall clock is, but for its leaps: what lies below is no leap. */
#define LEAP_NS (60 * (int64_t)NS_PER_S)

int64_t clock_counted(const struct store *s)
{
	const struct clock_row *row = &s->tables.clock;
	int64_t now = s->uptime(), from;

	if (!s->counts)
		return row->counted;
	from = row->there && memcmp(row->boot, s->boot, BOOT_ID_LEN) == 0 ? row->uptime : s->opened;
	return now > from ? row->counted + (now - from) : row->counted;
}

int clock_write(struct store *s, int64_t *ret_counted)
{
	int64_t counted = clock_counted(s);
	struct change change = row_new(ROW_CLOCK, 1);
	struct query q;
	int r = row_out(s, ROW_CLOCK, 1, &change);

	if (r < 0 && r != -ENOENT)
		return r;
	if (r == -ENOENT && s->tables.clock.there)
		return -EBADMSG;
	q = db_query(s->write, "INSERT OR REPLACE INTO clock(id, counted, boot, uptime, mac) VALUES(1, ?, ?, ?, x'')");
	query_int(&q, counted);
	query_blob(&q, s->boot, BOOT_ID_LEN);
	query_int(&q, s->counts ? s->uptime() : 0);
	r = query_run(&q);
	if (r < 0)
		return transaction_fail(s, r);
	r = row_in(s, &change);
	if (r == 0 && ret_counted)
		*ret_counted = counted;
	return r;
}

static bool history_counts(const struct rules *rules)
{
	for (size_t i = 0; i < rules->n_histories; i++)
		if (rules->histories[i].span)
			return true;
	return false;
}

/* Only while something waits for its purge, or versions for their time. */
static bool worth_keeping(const struct store *s)
{
	struct store_counts counts = { 0 };

	catalog_counts(s->tables.catalog, &counts);
	return s->counts && s->tables.clock.there && (counts.deleted > 0 || history_counts(s->tables.rules)) &&
	       clock_counted(s) - s->tables.clock.counted >= KEEP_NS;
}

static int write_clock(struct store *s, void *arg)
{
	(void)arg;
	return clock_write(s, NULL);
}

int clock_keep(struct store *s) { return worth_keeping(s) ? transaction_run(s, write_clock, NULL) : 0; }

int64_t store_purge_left(const struct store *s, const struct catalog_secret *c)
{
	return c->purge_at - clock_counted(s);
}

int64_t store_purge_date(const struct store *s, const struct catalog_secret *c)
{
	int64_t date = c->changed + RETENTION_NS(&s->tables.settings);
	int64_t leap = store_now(s) + store_purge_left(s, c) - date;

	if (leap > -LEAP_NS && leap < LEAP_NS)
		return date;
	/* The wall clock was set, or the machine was off: the date as this wall clock will show it, in whole minutes,
	 * so that it stands still. */
	return (date + leap + LEAP_NS - 1) / LEAP_NS * LEAP_NS;
}
