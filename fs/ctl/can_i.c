/* The question what a caller may do, and what stands in the way. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/hindrance.h"
#include "fs/ctl/internal.h"
#include "policy/condition.h"
#include "policy/policy.h"
#include "store/audit/audit.h"
#include "fs/common/clock.h"

#define NEIGHBOUR_UNKNOWN UINT64_MAX /* who has written nothing */

/* ---- who is asked about ---- */

/* As many groups as a process can have would not fit a binding's principal, so conditions are read one by one. */
static int parse_as(const char *text, struct supposed_caller *who)
{
	char *copy = strdup(text), *rest = copy, *part;
	struct principal p;
	int r = copy ? 0 : -ENOMEM;

	supposed_begin(who);
	while (r == 0 && (part = strsep(&rest, ","))) {
		r = principal_parse(part, NULL, NULL, &p) < 0 ? -EINVAL : 0;
		if (r == 0)
			r = supposed_add(who, &p.conditions[0]);
	}
	free(copy);
	if (r == 0)
		supposed_end(who);
	return r;
}

/* Somebody who runs as a subordinate uid is blocked with its user. Of its groups those are asked about that are named.
 */
static void find_owner(const struct ctl *c, struct policy_caller *caller)
{
	bool in_range = false;

	if (!c->env->callers || caller->uid == UINT32_MAX)
		return;
	caller->owner = neighbours_owner(callers_neighbours(c->env->callers), caller->uid, &in_range);
	if (in_range && caller->owner != caller->uid)
		caller->account = POLICY_ACCOUNT_KNOWN;
}

/* Is there nothing in `other` that the caller is not? Then the question is about oneself. */
static bool is_oneself(const struct policy_caller *self, const struct policy_caller *other)
{
	if (other->uid != self->uid || (other->host && !self->host))
		return false;
	for (size_t i = 0; i < other->n_groups; i++) {
		bool own = other->groups[i] == self->gid;
		for (size_t k = 0; k < self->n_groups && !own; k++)
			own = other->groups[i] == self->groups[k];
		if (!own)
			return false;
	}
	return true;
}

/* ---- can-i ---- */

static int check_can_i(struct ctl *c)
{
	const char *action = ctl_string(c, "action");
	char command[256];

	if (action_parse(action, &c->args.action) < 0) {
		ctl_hint(c, "actions are such as secrets/get; see: %s roles", ctl_command(c, command, sizeof(command)));
		return ctl_fail(c, EINVAL, "action: \"%.64s\" is not an action", action);
	}
	c->args.principal_text = ctl_string(c, "as");
	return ctl_check_scope(c, "name", &c->args.scope);
}

/* What stands between a right and the file. */
struct obstacle {
	int error;         /* what open(2) gives; 0: nothing */
	bool absent;       /* no such name: a right to it is one all the same, for when it is made */
	const char *why;   /* "db %s" */
	const char *whose; /* who may ... it can take it away, by this command, if there is one */
	char command[NAME_LEN_MAX + 64];
};

static void hinder(struct obstacle *o, int error, const char *why, const char *whose, const char *command,
		   const char *name, const char *rest)
{
	*o = (struct obstacle){ .error = error, .why = why, .whose = whose };
	snprintf(o->command, sizeof(o->command), "%s %s%s", command, name, rest);
}

/* Who may take a hindrance away, and by which command. */
static const struct {
	const char *why; /* NULL: the hindrance's own words */
	const char *whose, *command, *rest;
} remedies[HINDRANCES] = {
	[HINDRANCE_DELETED] = { NULL, "recover", "recover", "" },
	[HINDRANCE_DISABLED] = { NULL, "update", "enable", "" },
	[HINDRANCE_NONE_ENABLED] = { NULL, "update", "enable", " --version N" },
	[HINDRANCE_NO_VERSION] = { NULL, "set", "put", "" },
	[HINDRANCE_NOT_YET_VALID] = { "is not valid yet, and the vault enforces that", "update", "attr",
				      " --not-before TIME" },
	[HINDRANCE_EXPIRED] = { "has expired, and the vault enforces that", "update", "attr", " --expires TIME" },
};

/* Of NAME/current. Under the table lock. */
static void find_obstacle(const struct ctl *c, struct obstacle *o)
{
	const struct store *store = c->env->store;
	const char *name = c->args.scope;
	const bool reads = c->args.action == ACTION_SECRETS_GET;
	const struct catalog_secret *s = store_find(store, name);
	const enum hindrance h = hindrance_of_newest(s ? s : store_find_deleted(store, name),
						     reads ? USE_READ : USE_WRITE, store_settings(store), c->now);

	if (h == HINDRANCE_ABSENT)
		*o = (struct obstacle){ .error = reads ? hindrance_errno(h) : 0,
					.absent = true,
					.why = hindrance_words(h) };
	else if (h)
		hinder(o, hindrance_errno(h), remedies[h].why ? remedies[h].why : hindrance_words(h), remedies[h].whose,
		       remedies[h].command, name, remedies[h].rest);
}

/* What is allowed, and cannot be recorded, is not served. */
static void find_full_log(struct ctl *c, uint64_t neighbour, struct obstacle *o)
{
	char command[CTL_COMMAND_MAX];

	if (o->error || !c->env->audit || !audit_would_refuse(c->env->audit, neighbour))
		return;
	*o = (struct obstacle){ .error = EIO,
				.why = "would have to be recorded, but the audit log is full, and this user (or "
				       "container) has used up its share of it" };
	ctl_hint(c, "who wrote how much of it, an administrator sees with: %s doctor",
		 ctl_command(c, command, sizeof(command)));
}

/* Reading ends when the version does, where that is enforced. Under the table lock. */
static int64_t until(const struct ctl *c, int64_t valid_until)
{
	const struct catalog_secret *s = c->args.action == ACTION_SECRETS_GET ? store_find(c->env->store, c->args.scope)
									      : NULL;
	const struct catalog_version *v = s ? catalog_version(s, s->current) : NULL;

	return v && store_settings(c->env->store)->enforce_validity && v->expires < valid_until ? v->expires
												: valid_until;
}

static void answer_obstacle(struct ctl *c, const struct obstacle *o)
{
	char why[NAME_LEN_MAX + 64], command[CTL_COMMAND_MAX];

	snprintf(why, sizeof(why), "%s %s", c->args.scope, o->why ? o->why : "");
	ctl_set(c, "open", o->error ? json_string(errno_symbol(o->error)) : json_null());
	ctl_set(c, "why", o->error ? json_string(why) : json_null());
	if (o->error && o->command[0])
		ctl_hint(c, "whoever may %s it can: %s %s", o->whose, ctl_command(c, command, sizeof(command)),
			 o->command);
}

/* "block 7 (user:1000) denies everything", and the command that lifts it. */
static void answer_block(struct ctl *c, const struct block *block)
{
	char principal[PRINCIPAL_TEXT_MAX], why[PRINCIPAL_TEXT_MAX + 64], command[CTL_COMMAND_MAX],
		lifts[CTL_COMMAND_MAX + 32];

	principal_print(&block->principal, principal);
	snprintf(why, sizeof(why), "block %llu (%s) denies everything", (unsigned long long)block->id, principal);
	snprintf(lifts, sizeof(lifts), "%s unblock %llu", ctl_command(c, command, sizeof(command)),
		 (unsigned long long)block->id);
	ctl_set(c, "block", json_integer((json_int_t)block->id));
	ctl_set(c, "missing", json_null());
	ctl_set(c, "grant", json_string(lifts));
	ctl_set(c, "why", json_string(why));
}

/* A right that opens nothing is no yes. */
static void answer_unserved(struct ctl *c)
{
	char why[128];

	snprintf(why, sizeof(why), "nothing serves %s yet", action_name(c->args.action));
	ctl_set(c, "why", json_string(why));
}

static void answer_can_i(struct ctl *c, const struct policy_caller *caller, uint64_t neighbour, const char *principal)
{
	const bool opens = (c->args.action == ACTION_SECRETS_GET || c->args.action == ACTION_SECRETS_SET) &&
			   !strchr(c->args.scope, '*');
	char missing[NAME_LEN_MAX + 64], grant[CTL_COMMAND_MAX];
	struct obstacle o = { 0 };
	struct policy_answer answer;
	const struct role *role;
	json_t *role_name = NULL;
	const struct block *found;
	struct block block = { 0 };
	const bool served = !(ACTION_BIT(c->args.action) & ACTIONS_UNSERVED);
	bool right, allowed;

	store_rdlock(c->env->store);
	policy_decide(store_policy(c->env->store), caller, c->args.action, c->args.scope, c->now, &answer);
	right = answer.decision == POLICY_ALLOW;
	found = answer.block ? policy_block(store_policy(c->env->store), answer.block) : NULL;
	if (found)
		block = *found;
	role = right ? policy_role(store_policy(c->env->store), answer.role) : NULL;
	role_name = role ? json_string(role->name) : json_null();
	/* who has no right is not told how things stand */
	if (right && opens) {
		find_obstacle(c, &o);
		answer.valid_until = until(c, answer.valid_until);
	}
	store_unlock_tables(c->env->store);
	if (right && opens)
		find_full_log(c, neighbour, &o);

	allowed = right && served && (o.error == 0 || o.absent);
	snprintf(missing, sizeof(missing), "%s on %s", action_name(c->args.action), c->args.scope);
	ctl_grant_command(c, c->args.action, c->args.scope, principal, grant);
	snprintf(c->detail, sizeof(c->detail), "%s for %.200s: %s", missing, principal, allowed ? "yes" : "no");
	ctl_set(c, "allowed", json_boolean(allowed));
	ctl_set(c, "binding", right ? json_integer((json_int_t)answer.binding) : json_null());
	ctl_set(c, "role", role_name);
	ctl_set(c, "until", allowed ? ctl_time(answer.valid_until) : json_null());
	ctl_set(c, "missing", right ? json_null() : json_string(missing));
	ctl_set(c, "grant", right ? json_null() : json_string(grant));
	answer_obstacle(c, &o);
	ctl_set(c, "served", json_boolean(served));
	if (right && !served)
		answer_unserved(c);
	ctl_set(c, "block", json_null());
	if (block.id)
		answer_block(c, &block);
}

static int run_can_i(struct ctl *c)
{
	struct supposed_caller *h = NULL;
	uint64_t neighbour = NEIGHBOUR_UNKNOWN;
	char self[32];
	int r = 0;

	snprintf(self, sizeof(self), "user:%u", c->who->policy.uid);
	if (!c->args.principal_text) {
		answer_can_i(c, &c->who->policy, c->who->neighbour, self);
		return 0;
	}
	h = malloc(sizeof(*h));
	if (!h)
		return ctl_fail_store(c, -ENOMEM, "answer");
	if (parse_as(c->args.principal_text, h) < 0) {
		ctl_hint(c, "write user:UID with its groups: user:1000,group:1000,group:27,host (numbers only)");
		r = ctl_fail(c, EINVAL, "as: \"%.128s\" is nobody", c->args.principal_text);
		goto out;
	}
	find_owner(c, &h->caller);
	if (is_oneself(&c->who->policy, &h->caller)) {
		neighbour = c->who->neighbour;
	} else {
		c->secret = c->args.scope;
		r = ctl_ask(c, ACTION_BINDINGS_LIST, c->args.scope);
		if (r < 0)
			goto out;
		if (c->env->callers)
			neighbour = neighbours_guess(callers_neighbours(c->env->callers), h->caller.uid);
	}
	answer_can_i(c, &h->caller, neighbour, c->args.principal_text);
out:
	free(h);
	return r;
}

/* ---- the table ---- */

static const struct ctl_field can_i_fields[] = {
	{ "action", CTL_STRING, true }, { "name", CTL_STRING, true }, { "as", CTL_STRING, false }, { 0 }
};

const struct ctl_op ctl_can_i_ops[] = {
	/* what oneself may do is no secret: not recorded, so that nobody can fill the log with it */
	{ .name = "can-i", .operation = AUDIT_CAN_I, .fields = can_i_fields, .check = check_can_i, .run = run_can_i },
	{ 0 },
};
