#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/cli/common/cli.h"
#include "fs/cli/common/client.h"
#include "fs/cli/common/harmless.h"
#include "fs/cli/common/names.h"
#include "fs/cli/common/output.h"
#include "fs/cli/common/store_access.h"
#include "fs/caller/subuid.h"
#include "fs/common/timefmt.h"
#include "policy/policy.h"
#include "store/audit/audit.h"
#include "store/core/acts.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/store.h"
#include "fs/cli/commands/commands.h"

#define WHY_MAX     512
#define BREAK_GLASS "break-glass"

static void report_finding(const char *line, void *arg)
{
	size_t *findings = arg;
	char *copy = strdup(line);

	(*findings)++;
	if (copy) {
		make_harmless(copy);
		puts(copy);
	}
	free(copy);
}

int cmd_fsck(struct cli *c, const struct args *a)
{
	struct offline o = { 0 };
	struct store_counts counts;
	size_t findings = 0;
	int status = offline_need_root("fsck STORE"), r;

	(void)c;
	if (status == EXIT_DONE)
		status = offline_find(a->operands[0], &o);
	if (status == EXIT_DONE)
		status = offline_open(&o, args_value(a, "kek"));
	if (status)
		goto out;
	r = store_fsck(o.store, o.keys, args_has(a, "deep"), report_finding, &findings);
	if (r == -EBADMSG) {
		status = fail(EXIT_INTEGRITY,
			      "%s: %zu finding%s; stop the daemon, keep a copy of the store, and bring back a good one",
			      o.dir, findings, findings == 1 ? "" : "s");
		goto out;
	}
	if (r < 0) {
		status = fail(exit_for_errno(r), "%s could not be checked: %s", o.dir, strerror(-r));
		goto out;
	}
	/* What the daemon does when it starts must work too. */
	status = offline_unlock(&o);
	if (status)
		goto out;
	store_counts(o.store, &counts);
	printf("%s: clean; %u secrets, %u versions, %u bindings, %u roles%s\n", o.dir, counts.secrets, counts.versions,
	       counts.bindings, counts.roles, args_has(a, "deep") ? ", every value opened" : "");
out:
	offline_close(&o);
	return status;
}

/* ---- audit verify ---- */

/* What the running daemon says of the log, asked before the log is read: one that was cut or put back since is found.
 * NULL: no daemon that tells. */
static json_t *daemons_word(const char *store)
{
	json_t *request = NULL, *answer = NULL, *audit = NULL;
	struct mount m;

	if (mount_find_store(store, &m) < 0)
		return NULL;
	request = json_pack("{s:s}", "op", "status");
	if (request && client_exchange(m.path, request, false, NULL, 0, &answer) == 0)
		audit = json_incref(json_object_get(answer, "audit"));
	json_decref(answer);
	json_decref(request);
	return audit;
}

static int verify_log(const struct offline *o, const char *key, struct audit_verify_report *ret_report, char *why,
		      size_t why_len)
{
	json_t *audit = daemons_word(o->dir);
	const char *head = json_string_value(json_object_get(audit, "head"));
	int r;

	if (head)
		r = audit_verify_against(o->dir, key, (uint64_t)json_integer_value(json_object_get(audit, "seq")), head,
					 ret_report, why, why_len);
	else
		r = audit_verify(o->dir, key, ret_report, why, why_len);
	json_decref(audit);
	return r;
}

int cmd_audit_verify(struct cli *c, const struct args *a)
{
	struct audit_verify_report report = { 0 };
	const char *given = args_value(a, "verify-key"), *key = given;
	char why[WHY_MAX] = "", path[PATH_MAX];
	struct offline o;
	int status = offline_need_root("audit verify STORE"), r;

	(void)c;
	if (status == EXIT_DONE)
		status = offline_find(a->operands[0], &o);
	if (status)
		return status;
	if (!key)
		key = o.verify_path;
	if (access(key, R_OK) < 0)
		return fail(EXIT_NOT_FOUND,
			    "cannot read the verify key %s: %s; bring back the copy that was moved away, and name it "
			    "with --verify-key",
			    key, strerror(errno));
	r = verify_log(&o, key, &report, why, sizeof(why));
	if (r == -EINVAL)
		return fail(EXIT_USAGE, "%s; name the key that init wrote with --verify-key", why);
	if (r == -EBADMSG && !given && offline_verify_doubtful(&o, path))
		return fail(EXIT_INTEGRITY,
			    "the audit log of %s does not go with the verify key %s: %s; that key may be another "
			    "vault's of this name: if this one's was called %s, name the copy that was moved away with "
			    "--verify-key; else keep a copy of %s/audit before anything else",
			    o.conf.name, key, why, path, o.dir);
	if (r == -EBADMSG)
		return fail(
			EXIT_INTEGRITY,
			"the audit log of %s was altered or damaged: %s; keep a copy of %s/audit before anything else",
			o.conf.name, why, o.dir);
	if (r < 0)
		return fail(exit_for_errno(r), "the audit log of %s could not be verified: %s", o.conf.name,
			    *why ? why : strerror(-r));
	printf("%s: %" PRIu64 " record%s in %" PRIu64 " segment%s, %" PRIu64 " to %" PRIu64
	       ", all as they were written",
	       o.conf.name, report.records, report.records == 1 ? "" : "s", report.segments,
	       report.segments == 1 ? "" : "s", report.first_seq, report.last_seq);
	if (report.torn > 0)
		printf("; %" PRIu64 " torn by crashes, each named by the next record", report.torn);
	putchar('\n');
	if (*why)
		note("%s", why);
	return EXIT_DONE;
}

/* ---- break-glass ---- */

static int64_t login_uid(void)
{
	char text[24] = "";
	int fd = open("/proc/self/loginuid", O_RDONLY | O_CLOEXEC);
	unsigned long n;

	if (fd >= 0) {
		ssize_t len = read(fd, text, sizeof(text) - 1);

		(void)len;
		close(fd);
	}
	n = strtoul(text, NULL, 10);
	return *text && n != UINT32_MAX ? (int64_t)n : -1;
}

/* ---- blocks that stand in the way ---- */

#define GROUPS_MAX  256
#define CLEARED_MAX 64

/* The principal as a caller on this machine: its groups are looked up, for a block may mean it by one of them. */
struct rescued {
	struct policy_caller caller;
	uint32_t groups[PRINCIPAL_CONDITIONS + 2 * GROUPS_MAX];
	uint64_t blocks[CLEARED_MAX];
	size_t n_blocks;
};

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* An account's groups are added to those that are there. */
static void add_groups_of(struct rescued *r, uint32_t uid)
{
	const struct passwd *pw = getpwuid(uid);
	gid_t groups[GROUPS_MAX];
	int n = GROUPS_MAX;

	if (pw && getgrouplist(pw->pw_name, pw->pw_gid, groups, &n) >= 0)
		for (int i = 0; i < n; i++)
			r->groups[r->caller.n_groups++] = groups[i];
}

/* Whoever is let in by a subordinate uid is blocked with its user. */
static void find_owner(struct rescued *r)
{
	const int etc = open("/etc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct subuids *subuids;
	uint32_t first;

	if (subuids_new(etc, &subuids) == 0) {
		subuids_follow(subuids);
		if (subuids_owner(subuids, r->caller.uid, &r->caller.owner, &first) && r->caller.owner != SUBUID_ROOT)
			r->caller.account = POLICY_ACCOUNT_KNOWN;
		subuids_free(subuids);
	}
	if (etc >= 0)
		close(etc);
	if (r->caller.account == POLICY_ACCOUNT_KNOWN && r->caller.owner != SUBUID_UNKNOWN)
		add_groups_of(r, r->caller.owner);
}

static void rescued_fill(struct rescued *r, const struct principal *principal)
{
	*r = (struct rescued){ .caller = { .uid = UINT32_MAX, .gid = UINT32_MAX, .groups = r->groups, .host = true } };
	for (size_t i = 0; i < principal->n; i++) {
		if (principal->conditions[i].kind == PRINCIPAL_USER)
			r->caller.uid = principal->conditions[i].id;
		else if (principal->conditions[i].kind == PRINCIPAL_GROUP)
			r->groups[r->caller.n_groups++] = principal->conditions[i].id;
	}
	if (r->caller.uid != UINT32_MAX) {
		add_groups_of(r, r->caller.uid);
		find_owner(r);
	}
	qsort(r->groups, r->caller.n_groups, sizeof(r->groups[0]), by_number);
}

static int match_block(const struct block *b, void *arg)
{
	struct rescued *r = arg;

	if (block_speaks_of(b, &r->caller) && r->n_blocks < CLEARED_MAX)
		r->blocks[r->n_blocks++] = b->id;
	return 0;
}

/* An administrator whom a block denies everything would be none. In the transaction. */
static int clear_blocks(struct store *s, struct rescued *r)
{
	int error = 0;

	store_rdlock(s);
	policy_each_block(store_policy(s), match_block, r);
	store_unlock_tables(s);
	for (size_t i = 0; i < r->n_blocks && error == 0; i++)
		error = store_block_remove(s, r->blocks[i]);
	return error;
}

/* Who did it and what; the owner of the log writes it down as soon as it sees it. */
static char *describe_act(uint64_t binding, const char *principal, unsigned uid, int64_t loginuid,
			  const struct rescued *rescued)
{
	char now[TIME_TEXT_MAX], *text;
	json_t *act;

	time_print(time_now(), now);
	act = json_pack("{s:s, s:s, s:I, s:s, s:s, s:I, s:I}", "operation", "BreakGlass", "time", now, "binding",
			(json_int_t)binding, "principal", principal, "role", "administrator", "uid", (json_int_t)uid,
			"loginuid", (json_int_t)loginuid);
	for (size_t i = 0; act && i < rescued->n_blocks; i++) {
		if (!json_object_get(act, "unblocked"))
			json_object_set_new(act, "unblocked", json_array());
		json_array_append_new(json_object_get(act, "unblocked"), json_integer((json_int_t)rescued->blocks[i]));
	}
	text = act ? json_dumps(act, JSON_COMPACT) : NULL;
	json_decref(act);
	return text;
}

static int add_administrator(struct store *s, const struct principal *principal, const char *text, unsigned uid,
			     int64_t loginuid, struct rescued *rescued, uint64_t *ret_id)
{
	struct binding b = { .role = ROLE_ADMINISTRATOR,
			     .principal = *principal,
			     .scope = "*",
			     .from = INT64_MIN,
			     .until = BINDING_FOREVER };
	char *act = NULL;
	uint64_t id;
	int r;

	r = store_begin_privileged(s);
	if (r < 0)
		return r;
	r = store_binding_add(s, &b, BREAK_GLASS, BREAK_GLASS, &id);
	if (r < 0)
		goto out;
	r = clear_blocks(s, rescued);
	if (r < 0)
		goto out;
	r = -ENOMEM;
	act = describe_act(id, text, uid, loginuid, rescued);
	if (!act)
		goto out;
	r = store_pending_act_add(s, act);
	if (r < 0)
		goto out;
	r = store_commit(s);
	if (r == 0)
		*ret_id = id;
	free(act);
	return r;
out:
	free(act);
	store_rollback(s);
	return r;
}

int cmd_break_glass(struct cli *c, const struct args *a)
{
	char principal[PRINCIPAL_TEXT_MAX];
	struct principal parsed;
	struct rescued rescued;
	struct offline o = { 0 };
	unsigned uid = getuid(); /* before the worker's is taken on */
	int64_t loginuid = login_uid();
	uint64_t id = 0;
	struct mount m;
	int status = offline_need_root("break-glass STORE PRINCIPAL"), r;

	(void)c;
	if (status == EXIT_DONE)
		status = principal_argument(a->operands[1], &parsed, principal);
	if (status == EXIT_DONE)
		status = offline_find(a->operands[0], &o);
	if (status == EXIT_DONE)
		status = offline_open(&o, args_value(a, "kek"));
	if (status == EXIT_DONE)
		status = offline_unlock(&o);
	if (status)
		goto out;
	rescued_fill(&rescued, &parsed);
	r = add_administrator(o.store, &parsed, principal, uid, loginuid, &rescued, &id);
	if (r < 0) {
		status = fail(exit_for_errno(r), "%s: the administrator could not be added: %s; nothing was changed",
			      o.dir, strerror(-r));
		goto out;
	}
	printf("binding %" PRIu64 ": administrator to %s on *\n", id, principal);
	for (size_t i = 0; i < rescued.n_blocks; i++)
		printf("block %" PRIu64 " lifted: it denied %s everything\n", rescued.blocks[i], principal);
	if (mount_find_store(o.dir, &m) == 0)
		note("the daemon at %s takes it up within a second and records it in the audit log as BreakGlass",
		     m.path);
	else
		note("it is recorded in the audit log as BreakGlass when the daemon next starts; revoke it when it is "
		     "no longer needed: coffer revoke %" PRIu64,
		     id);
out:
	offline_close(&o);
	return status;
}
