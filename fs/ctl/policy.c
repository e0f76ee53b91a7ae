/* What requests ask the policy, and what is said to whom it denies. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fs/ctl/internal.h"
#include "policy/policy.h"
#include "store/grants/grants.h"
#include "store/lifecycle/events.h"

/* A role that only looks gives less away than one that reads; then the fewer actions the better. */
static unsigned role_weight(const struct role *role)
{
	const action_set looks = ACTION_BIT(ACTION_SECRETS_LIST) | ACTION_BIT(ACTION_KEYS_LIST) |
				 ACTION_BIT(ACTION_CERTIFICATES_LIST) | ACTION_BIT(ACTION_BINDINGS_LIST) |
				 ACTION_BIT(ACTION_VAULT_STATUS) | ACTION_BIT(ACTION_VAULT_METRICS);

	return (unsigned)__builtin_popcountll(role->actions & looks) +
	       16 * (unsigned)__builtin_popcountll(role->actions & ~looks);
}

static const char *least_role(const struct ctl *c, enum action action)
{
	const struct role *least = NULL, *roles;
	size_t n;

	roles = role_builtin(&n);
	store_rdlock(c->env->store);
	for (size_t i = 0; i < n; i++)
		if ((roles[i].actions & ACTION_BIT(action)) &&
		    (!least || role_weight(&roles[i]) < role_weight(least)) &&
		    policy_role_by_name(store_policy(c->env->store), roles[i].name) == &roles[i])
			least = &roles[i];
	store_unlock_tables(c->env->store);
	return least && least->id != ROLE_ADMINISTRATOR ? least->name : NULL;
}

static bool role_gives(const struct ctl *c, const char *name, enum action action)
{
	store_rdlock(c->env->store);
	const struct role *role = policy_role_by_name(store_policy(c->env->store), name);
	const bool gives = role && (role->actions & ACTION_BIT(action));
	store_unlock_tables(c->env->store);
	return gives;
}

/* "vault-update", for vault/update: a role that gives this alone. */
static const char *own_role(enum action action, char ret[ROLE_NAME_MAX])
{
	snprintf(ret, ROLE_NAME_MAX, "%s", action_name(action));
	*strchr(ret, '/') = '-';
	return ret;
}

void ctl_grant_command(const struct ctl *c, enum action action, const char *name, const char *principal,
		       char ret[CTL_COMMAND_MAX])
{
	char command[256], made[ROLE_NAME_MAX], create[CTL_COMMAND_MAX / 2] = "";
	/* only the vault's own actions are asked of the whole vault; a star needs quotes in a shell */
	const char *scope = name ? name : "*", *quote = strchr(scope, '*') ? "'" : "", *role = least_role(c, action);

	ctl_command(c, command, sizeof(command));
	if (!role) { /* no role but the administrator's has it: one of its own, not everything */
		role = own_role(action, made);
		if (!role_gives(c, role, action))
			snprintf(create, sizeof(create), "%s role create %s %s && ", command, role,
				 action_name(action));
	}
	snprintf(ret, CTL_COMMAND_MAX, "%s%s grant %s %s --on %s%s%s", create, command, role, principal, quote, scope,
		 quote);
}

void ctl_deny(struct ctl *c)
{
	c->denied = true;
	c->binding = 0;
	c->role = 0;
	c->role_name[0] = c->principal[0] = '\0';
}

static int deny_blocked(struct ctl *c, uint64_t block)
{
	char command[256];

	ctl_deny(c);
	ctl_hint(c, "an administrator can run: %s unblock %llu", ctl_command(c, command, sizeof(command)),
		 (unsigned long long)block);
	return ctl_fail(c, EACCES, "block %llu denies uid %u everything", (unsigned long long)block,
			c->who->policy.uid);
}

static int deny(struct ctl *c, enum action action, const char *name)
{
	char principal[32], grant[CTL_COMMAND_MAX], command[256];
	const char *scope = name ? name : "*", *quote = strchr(scope, '*') ? "'" : "";

	snprintf(principal, sizeof(principal), "user:%u", c->who->policy.uid);
	ctl_grant_command(c, action, name, principal, grant);
	ctl_deny(c);
	ctl_hint(c, "an administrator can run: %s; to see what is missing: %s can-i %s %s%s%s", grant,
		 ctl_command(c, command, sizeof(command)), action_name(action), quote, scope, quote);
	if (!name)
		return ctl_fail(c, EACCES, "no binding gives uid %u %s on the vault", c->who->policy.uid,
				action_name(action));
	return ctl_fail(c, EACCES, "no binding gives uid %u %s on %s", c->who->policy.uid, action_name(action), name);
}

int ctl_ask(struct ctl *c, enum action action, const char *name)
{
	struct policy_answer answer;
	const struct binding *binding;
	const struct role *role;

	c->asked = true;
	store_rdlock(c->env->store);
	policy_decide(store_policy(c->env->store), &c->who->policy, action, name, c->now, &answer);
	role = answer.decision == POLICY_ALLOW ? policy_role(store_policy(c->env->store), answer.role) : NULL;
	if (role)
		memcpy(c->role_name, role->name, sizeof(c->role_name));
	binding = role ? policy_binding(store_policy(c->env->store), answer.binding) : NULL;
	if (binding)
		principal_print(&binding->principal, c->principal);
	store_unlock_tables(c->env->store);

	if (answer.block)
		return deny_blocked(c, answer.block);
	if (answer.decision != POLICY_ALLOW)
		return deny(c, action, name);
	c->binding = answer.binding;
	c->role = answer.role;
	store_binding_used(c->env->store, answer.binding, c->now);
	return 0;
}

int ctl_ask_administrator(struct ctl *c, const char *scope)
{
	action_set own;

	store_rdlock(c->env->store);
	own = policy_actions(store_policy(c->env->store), &c->who->policy, scope, c->now);
	store_unlock_tables(c->env->store);
	if (own == ACTION_ALL)
		return 0;
	ctl_deny(c);
	ctl_hint(c, "ask somebody who is administrator on %s", scope ? scope : "the vault");
	return ctl_fail(c, EACCES, "only an administrator may do that");
}

bool ctl_may(const struct ctl *c, enum action action, const char *name)
{
	struct policy_answer answer;

	store_rdlock(c->env->store);
	policy_decide(store_policy(c->env->store), &c->who->policy, action, name, c->now, &answer);
	store_unlock_tables(c->env->store);
	return answer.decision == POLICY_ALLOW;
}

int ctl_ask_any(struct ctl *c, enum action action)
{
	enum policy_decision decision;
	int r = ctl_ask(c, action, NULL);

	if (r == 0)
		return 0;
	store_rdlock(c->env->store);
	decision = policy_decide_any(store_policy(c->env->store), &c->who->policy, action, c->now);
	store_unlock_tables(c->env->store);
	if (decision != POLICY_ALLOW)
		return r;
	ctl_forgive(c);
	return 0;
}

void ctl_forgive(struct ctl *c)
{
	c->denied = false;
	c->error = 0;
	c->message[0] = c->hint[0] = '\0';
}

/* ---- grants to oneself ---- */

static uint32_t owner_of_user(const struct ctl *c, const struct principal *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->conditions[i].kind == PRINCIPAL_USER)
			return c->env->callers ? neighbours_owner(callers_neighbours(c->env->callers),
								  p->conditions[i].id, NULL)
					       : p->conditions[i].id;
	return POLICY_OWNER_UNKNOWN; /* not asked */
}

int ctl_note_self_grant(struct ctl *c, const struct principal *principal, const char *role, const char *scope)
{
	char text[PRINCIPAL_TEXT_MAX], detail[EVENT_DETAIL_MAX];

	if (!principal_could_mean(principal, &c->who->policy, owner_of_user(c, principal)))
		return 0;
	c->self_grant = true;
	principal_print(principal, text);
	snprintf(detail, sizeof(detail), "user:%u granted %s to %.160s, which can mean itself", c->who->policy.uid,
		 role, text);
	return store_event_add(c->env->store,
			       &(struct event){ .kind = EVENT_SELF_GRANTED, .name = scope, .detail = detail });
}
