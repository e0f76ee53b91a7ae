#include "fs/serve/entries.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fs/common/clock.h"
#include "fs/ctl/ctl.h"
#include "store/audit/audit.h"
#include "store/core/tables.h"
#include "store/lifecycle/events.h"
#include "store/objects/stages.h"

/* Above the end of any request: within its size the kernel has several write to a file at a time
 * (FOPEN_PARALLEL_DIRECT_WRITES). No blocks go with it. */
#define CTL_SIZE (32 << 20)
_Static_assert(CTL_SIZE > STAGE_SET_MAX + CTL_LINE_MAX, "no request reaches the end");

/* The same time as long as nothing is added: tar and others look again when they have read a file. */
static int64_t grown_since(struct grown *g, uint64_t size)
{
	if (atomic_load(&g->size) != size || !atomic_load(&g->since)) {
		atomic_store(&g->since, clock_wall());
		atomic_store(&g->size, size);
	}
	return atomic_load(&g->since);
}

static void measure_audit(struct vault *v, struct entry_shown *shown)
{
	uint32_t base = 0;

	if (audit_first_segment(v->audit, &base) || audit_size(v->audit, base, &shown->size))
		shown->size = 0;
	shown->changed = grown_since(&v->grown[GROWN_AUDIT], shown->size);
}

static void measure_events(struct vault *v, struct entry_shown *shown)
{
	uint64_t first, end;

	store_events_range(v->store, &first, &end);
	shown->size = end - first;
	shown->changed = grown_since(&v->grown[GROWN_EVENTS], end);
}

static void measure_deleted(struct vault *v, struct entry_shown *shown) { shown->changed = vault_names_time(v); }

static int render_whoami(struct vault *v, const struct identity *who, char **ret_text, size_t *ret_len)
{
	return text_whoami(&v->ctl, who, ret_text, ret_len);
}

static int render_status(struct vault *v, const struct identity *who, char **ret_text, size_t *ret_len)
{
	(void)who;
	return text_status(&v->ctl, ret_text, ret_len);
}

static int render_metrics(struct vault *v, const struct identity *who, char **ret_text, size_t *ret_len)
{
	(void)who;
	return text_metrics(&v->ctl, ret_text, ret_len);
}

#ifdef COFFER_TEST_HOOKS
/* A view that a number and a row have brought. */
static int render_test(struct vault *v, const struct identity *who, char **ret_text, size_t *ret_len)
{
	(void)v;
	(void)who;
	*ret_text = strdup("a view\n");
	*ret_len = *ret_text ? strlen(*ret_text) : 0;
	return *ret_text ? 0 : -ENOMEM;
}
#endif

const struct entry entries[] = {
	[OWN_DIR] = { .name = "", .directory = true, .mode = 0755 },
	/* each request is judged by itself; so that one can be made, anybody may open */
	[OWN_CTL] = { .name = "ctl", .held = true, .mode = 0666, .kind = HANDLE_CTL, .size = CTL_SIZE },
	[OWN_WHOAMI] = { .name = "whoami",
			 .held = true,
			 .mode = 0444,
			 .kind = HANDLE_TEXT,
			 .size = MADE_SIZE,
			 .render = render_whoami },
	[OWN_STATUS] = { .name = "status",
			 .held = true,
			 .mode = 0444,
			 .needs = true,
			 .action = ACTION_VAULT_STATUS,
			 .sealed = true,
			 .operation = AUDIT_VAULT_STATUS,
			 .kind = HANDLE_TEXT,
			 .size = MADE_SIZE,
			 .render = render_status },
	[OWN_METRICS] = { .name = "metrics",
			  .held = true,
			  .mode = 0444,
			  .needs = true,
			  .action = ACTION_VAULT_METRICS,
			  .operation = AUDIT_VAULT_METRICS,
			  .kind = HANDLE_TEXT,
			  .size = MADE_SIZE,
			  .render = render_metrics },
	[OWN_AUDIT] = { .name = "audit",
			.held = true,
			.mode = 0444,
			.needs = true,
			.action = ACTION_AUDIT_READ,
			.operation = AUDIT_AUDIT_READ,
			.kind = HANDLE_AUDIT,
			.measure = measure_audit },
	[OWN_DELETED] = { .name = "deleted", .directory = true, .mode = 0755, .measure = measure_deleted },
	[OWN_AT] = { .name = "at", .directory = true, .mode = 0755 },
	/* names of all secrets, and who has rights on them: as much as the log tells */
	[OWN_EVENTS] = { .name = "events",
			 .held = true,
			 .mode = 0444,
			 .needs = true,
			 .action = ACTION_AUDIT_READ,
			 .operation = AUDIT_EVENTS_READ,
			 .kind = HANDLE_EVENTS,
			 .measure = measure_events },
	/* whoever lists a directory holds its lock for as long as it likes: this one is not listed */
	[OWN_REQUESTS] = { .name = "requests", .directory = true, .hidden = true, .mode = 0711 },
#ifdef COFFER_TEST_HOOKS
	[OWN_TEST] = { .name = "test",
		       .mode = 0444,
		       .needs = true,
		       .action = ACTION_VAULT_METRICS,
		       .operation = AUDIT_VAULT_METRICS,
		       .kind = HANDLE_TEXT,
		       .size = MADE_SIZE,
		       .render = render_test },
#endif
};
_Static_assert(sizeof entries / sizeof *entries == OWN_END, "a row for each number");

const struct entry *entry_of(const struct inode *i)
{
	return i->type == INODE_OWN && i->low < OWN_END && entries[i->low].name ? &entries[i->low] : NULL;
}

bool entry_may_open(struct vault *v, const struct call *call, const struct entry *e)
{
	const struct identity *who = call ? call_trusted(call) : NULL;

	if (!who || !e->needs)
		return who != NULL;
	if (e->sealed && who->uid == 0 && store_sealed(v->store))
		return true;
	return policy_actions(store_policy(v->store), &who->policy, NULL, clock_wall()) & ACTION_BIT(e->action);
}
