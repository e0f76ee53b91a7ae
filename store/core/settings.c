
#include "store/core/settings.h"

#include <errno.h>

#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/keys/envelope.h"

static bool settings_valid(const struct store_settings *p)
{
	return p->retention_days >= 7 && p->retention_days <= 90 && p->value_max >= 1 && p->value_max <= VALUE_MAX;
}

int settings_insert(struct store *s, const struct store_settings *settings)
{
	struct change change = row_new(ROW_SETTINGS, 1);
	struct query q;
	int r;

	if (!settings_valid(settings))
		return -EINVAL;
	q = db_query(s->write, "INSERT INTO settings(id, vault, name, retention_days, purge_protection, "
			       "enforce_validity, value_max, mac)"
			       " VALUES(1, ?, ?, ?, ?, ?, ?, x'')");
	query_blob(&q, s->vault, sizeof s->vault);
	query_text(&q, s->name);
	query_int(&q, settings->retention_days);
	query_int(&q, settings->purge_protection);
	query_int(&q, settings->enforce_validity);
	query_int(&q, settings->value_max);
	r = query_run(&q);
	return r < 0 ? r : row_in(s, &change);
}

int store_settings_put(struct store *s, const struct store_settings *settings)
{
	struct change change;
	struct query q;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (!settings_valid(settings))
		return -EINVAL;
	/* Once on never off, and retention is fixed when the vault is made: else who may change settings could purge at
	 * will. */
	if ((s->transaction.settings.purge_protection && !settings->purge_protection) ||
	    s->transaction.settings.retention_days != settings->retention_days)
		return -EPERM;
	r = row_out(s, ROW_SETTINGS, 1, &change);
	if (r < 0)
		return r;
	q = db_query(s->write,
		     "UPDATE settings SET purge_protection = ?, enforce_validity = ?, value_max = ? WHERE id = 1");
	query_int(&q, settings->purge_protection);
	query_int(&q, settings->enforce_validity);
	query_int(&q, settings->value_max);
	r = query_run(&q);
	if (r < 0)
		return transaction_fail(s, r);
	r = row_in(s, &change);
	if (r == 0)
		s->transaction.settings = *settings;
	return r;
}
