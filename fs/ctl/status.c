/* The text of .coffer/whoami and status. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>

#include "fs/ctl/ctl.h"
#include "fs/ctl/internal.h"
#include "fs/shared/mount_facts.h"
#include "fs/process/protection.h"
#include "fs/process/sandbox.h"
#include "fs/shared/shared.h"
#include "policy/policy.h"
#include "fs/common/clock.h"
#include "store/keys/keys.h"

static json_t *text_or_null(const char *text)
{
	json_t *o = text && *text ? json_string(text) : NULL;

	/* a cgroup's name need not be UTF-8 */
	return o ? o : json_null();
}

static int render(json_t *object, char **ret_text, size_t *ret_len)
{
	size_t len = 0;
	char *text = object ? ctl_dump(object, JSON_INDENT(2), &len) : NULL, *line;

	json_decref(object);
	if (!text)
		return -ENOMEM;
	line = realloc(text, len + 2);
	if (!line) {
		free(text);
		return -ENOMEM;
	}
	memcpy(line + len, "\n", 2);
	*ret_text = line;
	*ret_len = len + 1;
	return 0;
}

/* ---- whoami ---- */

struct held {
	const struct policy *policy;
	const struct policy_caller *caller;
	int64_t now;
	json_t *roles, *bindings;
};

static int add_held(const struct binding *b, void *arg)
{
	struct held *h = arg;
	const struct role *role;
	const json_t *name;
	size_t i;

	if (h->now < b->from || h->now >= b->until || !principal_match(&b->principal, h->caller))
		return 0;
	role = policy_role(h->policy, b->role);
	if (!role)
		return 0;
	if (json_array_append_new(h->bindings, json_pack("{s:I, s:s, s:s, s:o}", "id", (json_int_t)b->id, "role",
							 role->name, "scope", b->scope, "until", ctl_time(b->until))) <
	    0)
		return -ENOMEM;
	json_array_foreach(h->roles, i, name)
		if (!strcmp(json_string_value(name), role->name))
			return 0;
	return json_array_append_new(h->roles, json_string(role->name)) < 0 ? -ENOMEM : 0;
}

static json_t *groups_of(const struct policy_caller *caller)
{
	json_t *groups = json_array();

	for (size_t i = 0; groups && i < caller->n_groups; i++)
		if (json_array_append_new(groups, json_integer(caller->groups[i])) < 0) {
			json_decref(groups);
			return NULL;
		}
	return groups;
}

json_t *text_whoami_object(const struct ctl_env *env, const struct identity *who)
{
	struct held h = { .caller = &who->policy, .now = time_now(), .roles = json_array(), .bindings = json_array() };
	char neighbour[NEIGHBOUR_TEXT_MAX];
	int r;

	store_rdlock(env->store);
	h.policy = store_policy(env->store);
	r = policy_each_binding(h.policy, add_held, &h);
	store_unlock_tables(env->store);
	if (r < 0) {
		json_decref(h.roles);
		json_decref(h.bindings);
		return NULL;
	}
	neighbour_print(who->neighbour, neighbour);
	return json_pack("{s:I, s:I, s:o, s:I, s:o, s:o, s:b, s:o, s:s, s:o, s:o}", "uid", (json_int_t)who->policy.uid,
			 "gid", (json_int_t)who->policy.gid, "groups", groups_of(&who->policy), "pid",
			 (json_int_t)who->audit.pid, "container", text_or_null(who->audit.container), "unit",
			 text_or_null(who->audit.unit), "host", (int)who->policy.host, "owner",
			 who->owner == OWNER_UNKNOWN ? json_null() : json_integer(who->owner), "neighbour", neighbour,
			 "roles", h.roles, "bindings", h.bindings);
}

int text_whoami(const struct ctl_env *env, const struct identity *who, char **ret_text, size_t *ret_len)
{
	return render(text_whoami_object(env, who), ret_text, ret_len);
}

/* ---- status ---- */

/* By convention a store is /var/lib/coffer/<vault>. */
static const char *vault_name(const struct ctl_env *env)
{
	const char *slash;

	if (env->vault)
		return env->vault;
	if (!env->shared)
		return "";
	slash = strrchr(env->shared->keeper.store, '/');
	return slash ? slash + 1 : env->shared->keeper.store;
}

static json_t *pid(const _Atomic int32_t *p)
{
	int32_t v = atomic_load(p);

	return v ? json_integer(v) : json_null();
}

static json_t *processes(struct shared *shared)
{
	struct shared_keeper *k;

	if (!shared)
		return json_object();
	k = &shared->keeper;
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "keeper", pid(&k->keeper), "worker", pid(&k->worker),
			 "standby", pid(&k->standby), "keyholder", pid(&k->keyholder), "resolver", pid(&k->resolver),
			 "bell", pid(&k->bell), "runner", pid(&k->runner));
}

/* What the keeper had to do, and what it last found amiss. */
static json_t *supervision(struct shared *shared)
{
	char trouble[sizeof shared->keeper.trouble];
	struct shared_keeper *k;
	int64_t at;

	if (!shared)
		return json_object();
	k = &shared->keeper;
	at = atomic_load(&k->trouble_at);
	memcpy(trouble, k->trouble, sizeof trouble);
	trouble[sizeof trouble - 1] = '\0';
	return json_pack("{s:I, s:I, s:I, s:o, s:o}", "watchdog_kills", (json_int_t)atomic_load(&k->watchdog_kills),
			 "requests_given_up", (json_int_t)atomic_load(&k->deaths_of_request), "upgrades",
			 (json_int_t)atomic_load(&k->upgrades), "trouble", text_or_null(at ? trouble : NULL),
			 "trouble_at", at ? ctl_time(at) : json_null());
}

/* Two can be sealed: the store, whose key the worker has, and the key holder, whose KEK a passphrase gave it. One that
 * dies loses that, and the worker then serves what it has in its caches. In each case `coffer unseal` is what helps:
 * the vault counts as sealed. */
struct sealing {
	bool answers, sealed;
	const char *serving;
	struct keys_state kek;
};

static struct sealing sealing_of(const struct ctl_env *env)
{
	const bool store = store_sealed(env->store);
	struct sealing s = { 0 };

	s.answers = env->keys && keys_state(env->keys, &s.kek) == 0;
	const bool kek = s.answers && s.kek.sealed;
	s.sealed = store || kek;
	s.serving = store ? "nothing" : kek ? "cached" : "all";
	return s;
}

bool ctl_is_sealed(const struct ctl_env *env) { return sealing_of(env).sealed; }

/* null while the key holder does not answer: the rest is worth more than the wait for an error. */
static json_t *kek(const struct ctl_env *env, const struct sealing *s)
{
	char id[2 * KEK_ID_LEN + 1] = "";

	if (!s->answers)
		return json_null();
	for (size_t i = 0; i < KEK_ID_LEN && !s->kek.sealed; i++)
		snprintf(id + 2 * i, 3, "%02x", s->kek.kek_id[i]);
	return json_pack("{s:s, s:o, s:o, s:b, s:I, s:s}", "provider", s->kek.provider, "id", text_or_null(id), "from",
			 text_or_null(env->shared ? env->shared->keeper.options.kek : NULL), "sealed",
			 (int)s->kek.sealed, "unwraps", (json_int_t)s->kek.unwraps, "memory",
			 secmem_name(s->kek.memory));
}

static json_t *audit_object(const struct ctl_env *env)
{
	char heaviest[NEIGHBOUR_TEXT_MAX] = "";
	struct audit_state s;

	audit_state(env->audit, &s);
	if (s.heaviest_percent)
		neighbour_print(s.heaviest, heaviest);
	return json_pack("{s:I, s:s, s:I, s:I, s:i, s:b, s:b, s:b, s:I, s:I, s:b, s:I, s:o, s:I}", "seq",
			 (json_int_t)s.seq, "head", s.head, "segments", (json_int_t)s.segments, "bytes",
			 (json_int_t)s.bytes, "headroom_percent", (int)s.headroom_percent, "failing", s.failing != 0,
			 "append_only", (int)s.append_only, "tampered", (int)s.tampered, "oldest", (json_int_t)s.oldest,
			 "cap", (json_int_t)s.cap, "at_cap", (int)s.at_cap, "refused", (json_int_t)s.refused,
			 "heaviest", text_or_null(heaviest), "heaviest_percent", (json_int_t)s.heaviest_percent);
}

static json_t *memory_object(void)
{
	size_t used, total;

	secmem_usage(&used, &total);
	return json_pack("{s:s, s:I, s:I}", "kind", secmem_kind_name(), "used", (json_int_t)used, "total",
			 (json_int_t)total);
}

/* ---- status: what holds for each process ---- */

static json_t *capability_names(uint64_t capabilities)
{
	json_t *names = json_array();

	for (int cap = 0; names && cap < 64; cap++) {
		char *name = capabilities >> cap & 1 ? cap_to_name(cap) : NULL;
		if (name)
			json_array_append_new(names, json_string(name));
		cap_free(name);
	}
	return names;
}

/* null: it is not running, or has just died. Landlock cannot be seen from outside: a role enters its domain or does not
 * start, wherever the kernel has Landlock. */
static json_t *protection_object(const struct ctl_env *env, const _Atomic int32_t *pid, bool has_domain)
{
	const int32_t p = atomic_load(pid);
	struct protection seen;

	if (!p || protection_look(env->proc_fd, p, &seen))
		return json_null();
	return json_pack("{s:I, s:b, s:b, s:b, s:o}", "uid", (json_int_t)seen.uid, "seccomp", (int)seen.seccomp,
			 "landlock", (int)(has_domain && env->cell->landlock > 0), "no_new_privs",
			 (int)seen.no_new_privs, "capabilities", capability_names(seen.capabilities));
}

static json_t *sandbox_object(const struct ctl_env *env)
{
	if (!env->shared || !env->cell)
		return json_null();
	const struct shared_keeper *k = &env->shared->keeper;
	const int landlock = env->cell->landlock;
	return json_pack(
		"{s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "landlock_abi",
		landlock > 0 ? json_integer(landlock) : json_null(), "landlock_missing",
		landlock > 0 ? json_null()
			     : json_string(landlock == -EOPNOTSUPP ? "not switched on at boot" : "not in this kernel"),
		"required", (int)k->options.require_sandbox, "keeper", protection_object(env, &k->keeper, false),
		"worker", protection_object(env, &k->worker, true), "standby",
		protection_object(env, &k->standby, true), "keyholder", protection_object(env, &k->keyholder, true),
		"resolver", protection_object(env, &k->resolver, false), "bell", protection_object(env, &k->bell, true),
		"runner", protection_object(env, &k->runner, false));
}

/* ---- status: watchers and the mount ---- */

/* How it is with the bell: what it keeps open, what it could not do yet, and since when. */
static json_t *bell_object(struct shared *shared)
{
	if (!shared)
		return json_object();
	const int64_t since = atomic_load(&shared->holds.since);
	return json_pack("{s:I, s:I, s:o, s:I}", "held", (json_int_t)atomic_load(&shared->holds.n), "waiting",
			 (json_int_t)atomic_load(&shared->holds.waiting), "since",
			 since ? ctl_time(since) : json_null(), "lost", (json_int_t)atomic_load(&shared->bell_lost));
}

static json_t *lacks_array(const struct shared *shared)
{
	json_t *all = json_array();
	struct mount_lack lack;

	for (size_t at = 0; all && shared && mount_lacks(&shared->init, &at, &lack);)
		json_array_append_new(all, json_pack("{s:s, s:s, s:s}", "name", lack.name, "why", lack.why, "how",
						     lack.how));
	return all;
}

static json_t *settings_object(const struct store_settings *s, uint32_t near_days, const struct history *whole)
{
	char span[SPAN_TEXT_MAX];
	json_t *settings = json_pack("{s:I, s:b, s:b, s:I, s:I}", "retention_days", (json_int_t)s->retention_days,
				     "purge_protection", (int)s->purge_protection, "enforce_validity",
				     (int)s->enforce_validity, "value_max", (json_int_t)s->value_max,
				     "near_expiry_days", (json_int_t)near_days);

	/* where the whole vault has a rule of its own */
	if (whole->versions)
		json_object_set_new(settings, "keep_versions", json_integer(whole->versions));
	if (whole->span) {
		time_print_span(whole->span, span);
		json_object_set_new(settings, "keep_for", json_string(span));
	}
	return settings;
}

/* The fingerprint of the vault's signing key; null while sealed, and until an older vault makes its first backup. */
static json_t *signer(const struct ctl_env *env)
{
	uint8_t public[CURVE_LEN], fingerprint[DIGEST_LEN];
	char text[2 * DIGEST_LEN + 1];

	if (store_signer(env->store, public) < 0 || signer_fingerprint(public, fingerprint) < 0)
		return json_null();
	for (size_t i = 0; i < DIGEST_LEN; i++)
		snprintf(text + 2 * i, 3, "%02x", fingerprint[i]);
	return json_string(text);
}

/* The last backup that was restored into a scratch vault and found good. */
static json_t *drill(const struct ctl_env *env)
{
	struct drill d;

	if (store_drill(env->store, &d) < 0)
		return json_null();
	return json_pack("{s:o, s:o, s:I, s:I}", "at", ctl_time(d.at), "backup", ctl_time(d.backup_created), "secrets",
			 (json_int_t)d.secrets, "versions", (json_int_t)d.versions);
}

/* Policies and hooks of an older coffer, whose programs are not run any more. */
static size_t rules_as_nobody(const struct ctl_env *env)
{
	const struct rules *rules;
	size_t n = 0;

	store_rdlock(env->store);
	rules = store_rules(env->store);
	for (size_t i = 0; rules && i < rules->n_rotations; i++)
		n += rules->rotations[i].command[0] && rules->rotations[i].user == HOOK_USER_NOBODY;
	for (size_t i = 0; rules && i < rules->n_hooks; i++)
		n += rules->hooks[i].user == HOOK_USER_NOBODY;
	store_unlock_tables(env->store);
	return n;
}

json_t *text_status_object(const struct ctl_env *env)
{
	struct shared *shared = env->shared;
	const bool sealed = store_sealed(env->store);
	const struct sealing sealing = sealing_of(env);
	struct store_counts counts;
	struct store_settings settings = { 0 };
	struct history whole = { 0 };
	uint32_t near_days = 0;
	int64_t now = time_now(), since = shared ? shared->keeper.started : 0;

	store_rdlock(env->store);
	store_counts(env->store, &counts);
	if (!sealed && store_settings(env->store))
		settings = *store_settings(env->store);
	if (!sealed)
		near_days = store_rules(env->store)->near_days;
	for (size_t i = 0; !sealed && i < store_rules(env->store)->n_histories; i++)
		if (!strcmp(store_rules(env->store)->histories[i].scope, "*"))
			whole = store_rules(env->store)->histories[i];
	store_unlock_tables(env->store);

	json_t *status = json_pack(
		"{s:o, s:o, s:o, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:o, "
		"s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"bell", bell_object(shared), "mount_lacks", lacks_array(shared), "vault", text_or_null(vault_name(env)),
		"version", COFFER_VERSION, "sealed", (int)sealing.sealed, "serving", sealing.serving, "epoch",
		(json_int_t)store_epoch(env->store), "secrets", (json_int_t)counts.secrets, "deleted",
		(json_int_t)counts.deleted, "versions", (json_int_t)counts.versions, "bindings",
		(json_int_t)counts.bindings, "blocks", (json_int_t)counts.blocks, "roles", (json_int_t)counts.roles,
		"mount", text_or_null(shared ? shared->keeper.mount : NULL), "store",
		text_or_null(shared ? shared->keeper.store : NULL), "kek", kek(env, &sealing), "audit",
		audit_object(env), "processes", processes(shared), "restarts",
		(json_int_t)(shared ? atomic_load(&shared->keeper.restarts) : 0), "supervision", supervision(shared),
		"signer", signer(env), "drill", drill(env), "memory", memory_object(), "sandbox", sandbox_object(env),
		"settings", sealed ? json_null() : settings_object(&settings, near_days, &whole), "started",
		since ? ctl_time(since) : json_null(), "uptime",
		since ? json_integer((now - since) / 1000000000) : json_null());
	json_t *as_nobody = sealed ? json_null() : json_integer((json_int_t)rules_as_nobody(env));

	if (json_object_set_new(status, "programs_as_nobody", as_nobody) < 0 ||
	    json_object_set_new(status, "read_only", json_boolean(shared && atomic_load(&shared->keeper.read_only))) <
		    0) {
		json_decref(status);
		return NULL;
	}
	return status;
}

int text_status(const struct ctl_env *env, char **ret_text, size_t *ret_len)
{
	return render(text_status_object(env), ret_text, ret_len);
}
