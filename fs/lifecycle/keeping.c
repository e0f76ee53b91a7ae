#include "fs/lifecycle/keeping.h"

#include <stdio.h>

#include "fs/serve/changed.h"
#include "fs/serve/decide.h"
#include "fs/shared/test_hook.h"
#include "fs/common/timefmt.h"
#include "store/core/tables.h"
#include "store/core/transaction.h"
#include "store/lifecycle/events.h"
#include "store/lifecycle/history.h"
#include "store/objects/objects.h"

int64_t keeping_due(const struct store *s, const struct catalog_secret *c)
{
	uint32_t one;
	int64_t next;

	return store_history_goes(s, c, &one, 1, &next, NULL) > 0 ? INT64_MIN : next;
}

/* What goes, copied so that no lock is held while it does. */
struct going {
	char name[NAME_LEN_MAX + 1], detail[EVENT_DETAIL_MAX];
	uint32_t versions[KEEPING_AT_ONCE];
	size_t n;
};

static void describe(const struct history *h, char *ret, size_t len)
{
	char span[SPAN_TEXT_MAX] = "";

	if (h->span)
		time_print_span(h->span, span);
	if (!h->versions)
		snprintf(ret, len, "history rule %llu on %s keeps %s", (unsigned long long)h->id, h->scope, span);
	else
		snprintf(ret, len, "history rule %llu on %s keeps %u version%s%s%s", (unsigned long long)h->id,
			 h->scope, h->versions, h->versions == 1 ? "" : "s", h->span ? " and " : "", span);
}

static void look(struct vault *v, uint32_t secret, struct going *ret)
{
	const struct catalog_secret *c;
	struct history rule;
	int64_t next;

	store_rdlock(v->store);
	c = store_get(v->store, secret);
	ret->n = store_history_goes(v->store, c, ret->versions, KEEPING_AT_ONCE, &next, &rule);
	if (ret->n) {
		vault_copy_name(ret->name, sizeof ret->name, c->name);
		describe(&rule, ret->detail, sizeof ret->detail);
	}
	store_unlock_tables(v->store);
}

static int record(struct vault *v, const struct going *g, uint32_t version, int error)
{
	const struct audit_event e = { .operation = AUDIT_SECRET_DESTROY,
				       .result = error ? AUDIT_ERROR : AUDIT_ALLOW,
				       .error = error,
				       .secret = g->name,
				       .version = version,
				       .detail = g->detail,
				       .privileged = true };
	return audit_append(v->audit, &e, NULL);
}

static int destroy(struct vault *v, uint32_t secret, const struct going *g)
{
	int r = 0;

	for (size_t i = 0; i < g->n && r == 0; i++) {
		const struct event e = { .kind = EVENT_VERSION_DESTROYED,
					 .secret = secret,
					 .version = g->versions[i],
					 .name = g->name,
					 .detail = g->detail };
		r = store_version_destroy(v->store, secret, g->versions[i]);
		if (r == 0)
			r = store_event_add(v->store, &e);
		if (r == 0)
			r = record(v, g, g->versions[i], 0);
		TEST_POINT("keeping", g->versions[i]);
	}
	return r;
}

int keeping_act(struct vault *v, uint32_t secret)
{
	struct going g = { .n = 0 };
	int r;

	look(v, secret, &g);
	if (!g.n)
		return 0;
	r = store_begin(v->store);
	if (r < 0)
		return r;
	look(v, secret, &g); /* as it is now that nobody else can change it */
	r = destroy(v, secret, &g);
	if (r < 0 || !g.n) {
		store_rollback(v->store);
		return r;
	}
	r = vault_commit(v);
	if (r == 0)
		vault_changed(v, RINGS_NONE);
	for (size_t i = 0; i < g.n && r < 0; i++)
		record(v, &g, g.versions[i], -r);
	return r;
}
