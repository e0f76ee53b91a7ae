/* What was destroyed must not stay behind in the file.
 *
 * PRAGMA secure_delete overwrites rows and pages that are deleted with zeros, but the zeros are first written to the
 * write-ahead log, behind frames in which the content still stands. A checkpoint that truncates moves the zeros into
 * the database and empties the log. It needs a moment in which nobody reads an older state: readers of this process are
 * kept out by their mutex, for others it is tried again. */

#include "store/core/scrub.h"

#include <errno.h>

#include "store/core/database.h"
#include "store/core/db.h"

int scrub(struct store *s)
{
	struct query q;
	int64_t busy = 1;
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	/* Writers wait for us, so we wait for nobody. */
	sqlite3_busy_timeout(db_handle(s->write), 0);
	q = db_query(s->write, "PRAGMA wal_checkpoint(TRUNCATE)");
	r = query_step(&q);
	if (r > 0)
		busy = column_int(&q, 0);
	query_end(&q);
	sqlite3_busy_timeout(db_handle(s->write), DB_BUSY_MS);
	pthread_mutex_unlock(&s->read_mutex);
	if (r < 0 && r != -ETIMEDOUT)
		return r;
	if (r <= 0 || busy)
		return -EAGAIN;
	atomic_store(&s->unscrubbed, false);
	return 0;
}

int store_scrub(struct store *s)
{
	int r;

	if (!atomic_load(&s->unscrubbed))
		return 0;
	r = store_lock_writer_soon(s);
	if (r < 0)
		return -EAGAIN;
	r = scrub(s);
	pthread_mutex_unlock(&s->write_mutex);
	return r;
}
