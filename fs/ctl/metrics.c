/* The text of .coffer/metrics: the text format of Prometheus, version 0.0.4. No label but build_info's and the kind of
 * memory: names of secrets and users are unbounded, and not for scrapers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/ctl/ctl.h"
#include "fs/ctl/internal.h"
#include "fs/shared/shared.h"
#include "store/audit/audit.h"
#include "store/backup/recipients.h"
#include "store/core/tables.h"
#include "store/crypto/secbuf.h"

/* What metrics are taken from, as of one moment. */
struct sample {
	const struct ctl_env *env;
	struct shared *shared; /* NULL: there is none */
	struct store_counts counts;
	struct audit_state log;
	bool sealed, drilled;
	struct drill drill;
	size_t locked_used, locked;
};

static void take(const struct ctl_env *env, struct sample *ret)
{
	*ret = (struct sample){ .env = env, .shared = env->shared, .sealed = ctl_is_sealed(env) };
	store_rdlock(env->store);
	store_counts(env->store, &ret->counts);
	store_unlock_tables(env->store);
	audit_state(env->audit, &ret->log);
	ret->drilled = store_drill(env->store, &ret->drill) == 0;
	secmem_usage(&ret->locked_used, &ret->locked);
}

/* Is there such a value, and what is it? */
#define GET(name, there, value)                                       \
	static bool get_##name(const struct sample *s, uint64_t *ret) \
	{                                                             \
		if (there)                                            \
			*ret = (uint64_t)(value);                     \
		return there;                                         \
	}

GET(opens, s->shared != NULL, atomic_load(&s->shared->opens))
GET(denials, s->shared != NULL, atomic_load(&s->shared->denials))
GET(reads, s->shared != NULL, atomic_load(&s->shared->reads))
GET(bell_lost, s->shared != NULL, atomic_load(&s->shared->bell_lost))
GET(restarts, s->shared != NULL, atomic_load(&s->shared->keeper.restarts))
GET(watchdog_kills, s->shared != NULL, atomic_load(&s->shared->keeper.watchdog_kills))
GET(given_up, s->shared != NULL, atomic_load(&s->shared->keeper.deaths_of_request))
GET(started, s->shared != NULL, s->shared->keeper.started / 1000000000)
GET(secrets, true, s->counts.secrets)
GET(deleted, true, s->counts.deleted)
GET(versions, true, s->counts.versions)
GET(bindings, true, s->counts.bindings)
GET(roles, true, s->counts.roles)
GET(sealed, true, s->sealed)
GET(epoch, true, store_epoch(s->env->store))
GET(drill, s->drilled, s->drill.at / 1000000000)
GET(audit_seq, true, s->log.seq)
GET(audit_segments, true, s->log.segments)
GET(audit_bytes, true, s->log.bytes)
GET(audit_tampered, true, s->log.tampered)
GET(audit_at_cap, true, s->log.at_cap)
GET(audit_refused, true, s->log.refused)
GET(audit_failing, true, s->log.failing != 0)
GET(audit_headroom, true, s->log.headroom_percent)
GET(locked_used, true, s->locked_used)
GET(locked, true, s->locked)
GET(open_files, s->env->handles != NULL, handle_count(s->env->handles))

static bool get_one(const struct sample *s, uint64_t *ret)
{
	(void)s;
	*ret = 1;
	return true;
}

#define COUNTER(id, says, from)                                                           \
	{                                                                                 \
		.name = "coffer_" #id, .type = "counter", .help = says, .get = get_##from \
	}
#define GAUGE(id, says, from)                                                           \
	{                                                                               \
		.name = "coffer_" #id, .type = "gauge", .help = says, .get = get_##from \
	}

static const struct metric {
	const char *name, *type, *help;
	bool (*get)(const struct sample *s, uint64_t *ret);
	bool percent; /* the value is one, and a ratio is shown */
	const char *label;
} metrics[] = {
	COUNTER(opens_total, "Opens of files, allowed or not.", opens),
	COUNTER(denials_total, "Accesses that the policy denied.", denials),
	COUNTER(reads_total, "Reads that were answered.", reads),
	COUNTER(bell_lost_total, "Notifications that watchers missed because the bell's queue was full.", bell_lost),
	COUNTER(worker_restarts_total, "Workers that died and were replaced.", restarts),
	COUNTER(watchdog_kills_total, "Processes of the daemon that were stuck or stopped, and ended by the keeper.",
		watchdog_kills),
	COUNTER(requests_given_up_total, "Requests that two workers died on.", given_up),
	GAUGE(start_time_seconds, "When the daemon started, in seconds since the epoch.", started),
	GAUGE(secrets, "Secrets that are not deleted.", secrets),
	GAUGE(deleted_secrets, "Soft-deleted secrets.", deleted),
	GAUGE(versions, "Versions of secrets.", versions),
	GAUGE(bindings, "Role bindings.", bindings),
	GAUGE(roles, "Custom roles.", roles),
	GAUGE(sealed, "1 while the vault, or its key holder, is sealed.", sealed),
	COUNTER(epoch, "Committed changes since the vault was made.", epoch),
	GAUGE(backup_drill_timestamp_seconds, "When a backup was last restored into a scratch vault and found good.",
	      drill),
	COUNTER(audit_seq, "Number of the next audit record.", audit_seq),
	GAUGE(audit_segments, "Segments of the audit log that are kept.", audit_segments),
	GAUGE(audit_bytes, "Bytes of the audit log that are kept.", audit_bytes),
	GAUGE(audit_tampered, "1 while a record of the audit log says that somebody removed, cut or put in a segment.",
	      audit_tampered),
	GAUGE(audit_at_cap, "1 while the audit log has no room for whoever has used up a share of it.", audit_at_cap),
	COUNTER(audit_refused_total,
		"Accesses refused since the daemon started to callers that had used up their share of the audit log.",
		audit_refused),
	GAUGE(audit_failing, "1 while the audit log cannot be written: opens fail.", audit_failing),
	{ .name = "coffer_audit_headroom_ratio",
	  .type = "gauge",
	  .help = "Share of the audit log's file system that is free.",
	  .get = get_audit_headroom,
	  .percent = true },
	GAUGE(locked_memory_used_bytes, "Locked memory in use.", locked_used),
	GAUGE(locked_memory_bytes, "Locked memory in all.", locked),
	GAUGE(open_files, "Open files on the mount.", open_files),
	{ .name = "coffer_build_info",
	  .type = "gauge",
	  .help = "The version of the daemon.",
	  .get = get_one,
	  .label = "{version=\"" COFFER_VERSION "\"}" },
};

static void print(FILE *f, const struct metric *m, uint64_t value)
{
	const unsigned long long whole = m->percent ? value / 100 : value;

	fprintf(f, "# HELP %s %s\n# TYPE %s %s\n%s%s %llu", m->name, m->help, m->name, m->type, m->name,
		m->label ? m->label : "", whole);
	if (m->percent)
		fprintf(f, ".%02u", (unsigned)(value % 100));
	fputc('\n', f);
}

int text_metrics(const struct ctl_env *env, char **ret_text, size_t *ret_len)
{
	char *text = NULL;
	size_t len = 0;
	struct sample s;
	uint64_t value;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return -ENOMEM;
	take(env, &s);
	for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
		if (metrics[i].get(&s, &value))
			print(f, &metrics[i], value);
	const bool failed = ferror(f);
	if (fclose(f) != 0 || failed) {
		free(text);
		return -ENOMEM;
	}
	*ret_text = text;
	*ret_len = len;
	return 0;
}
