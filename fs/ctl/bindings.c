/* Requests about bindings and roles. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/internal.h"
#include "policy/policy.h"
#include "store/grants/grants.h"

/* ---- who may hand out what ---- */

/* Power over bindings, roles, the vault and the log is given, and taken away, only by those who hold all of it
 * themselves: otherwise a data-access administrator would make himself an administrator with one request. */
static int ask_role(struct ctl *c, const struct role *role, const char *scope)
{
	if (role_is_data_role(role) || ctl_ask_administrator(c, scope) == 0)
		return 0;
	return ctl_fail(c, EACCES, "the role %s gives more than data, and only an administrator may grant or revoke it",
			role->name);
}

static int find_role(struct ctl *c, struct role *ret)
{
	const struct role *role;
	char command[256];

	store_rdlock(c->env->store);
	role = policy_role_by_name(store_policy(c->env->store), c->args.role);
	if (role)
		*ret = *role;
	store_unlock_tables(c->env->store);
	if (role)
		return 0;
	ctl_hint(c, "see: %s roles", ctl_command(c, command, sizeof(command)));
	return ctl_fail(c, ENOENT, "role: there is no role \"%.64s\"", c->args.role);
}

int ctl_check_principal(struct ctl *c, const char *field)
{
	const char *text = ctl_string(c, field);

	if (principal_parse(text, NULL, NULL, &c->args.principal) < 0) {
		ctl_hint(c, "a principal is user:UID, group:GID, host or everyone, joined by commas to narrow: "
			    "user:1000,host (numbers only: names are the client's business)");
		return ctl_fail(c, EINVAL, "%s: \"%.128s\" is not a principal", field, text);
	}
	c->args.principal_text = text;
	return 0;
}

/* ---- grant ---- */

static int check_grant(struct ctl *c)
{
	struct ctl_args *a = &c->args;
	bool given;
	int r;

	a->role = ctl_string(c, "role");
	a->reason = ctl_string(c, "reason");
	if ((r = ctl_check_principal(c, "principal")) < 0 || (r = ctl_check_scope(c, "on", &a->scope)) < 0 ||
	    (r = ctl_check_time(c, "from", INT64_MIN, &a->from, &given)) < 0 ||
	    (r = ctl_check_time(c, "until", BINDING_FOREVER, &a->until, &given)) < 0)
		return r;
	if (a->until <= a->from || a->until <= c->now)
		return ctl_fail(c, EINVAL, "until: the binding would end before it begins");
	if (a->reason && (strlen(a->reason) > CTL_REASON_MAX || !ctl_text_clean(a->reason)))
		return ctl_fail(c, EINVAL, "reason: at most %d bytes without control characters", CTL_REASON_MAX);
	return 0;
}

static int ask_grant(struct ctl *c)
{
	struct role role;
	int r;

	c->secret = c->args.scope;
	if ((r = ctl_ask(c, ACTION_BINDINGS_CREATE, c->args.scope)) < 0 || (r = find_role(c, &role)) < 0)
		return r;
	return ask_role(c, &role, c->args.scope);
}

static bool same_principal(const struct principal *a, const struct principal *b)
{
	char text_a[PRINCIPAL_TEXT_MAX], text_b[PRINCIPAL_TEXT_MAX];

	principal_print(a, text_a);
	principal_print(b, text_b);
	return !strcmp(text_a, text_b);
}

struct search {
	const struct binding *like;
	bool any_window;
	uint64_t *ids;
	size_t n, room;
};

static int match_binding(const struct binding *b, void *arg)
{
	struct search *s = arg;
	uint64_t *grown;

	if (b->role != s->like->role || strcmp(b->scope, s->like->scope) || b->principal.n != s->like->principal.n ||
	    (!s->any_window && (b->from != s->like->from || b->until != s->like->until)) ||
	    !same_principal(&b->principal, &s->like->principal))
		return 0;
	if (s->n == s->room) {
		grown = reallocarray(s->ids, s->room ? 2 * s->room : 8, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		s->ids = grown;
		s->room = s->room ? 2 * s->room : 8;
	}
	s->ids[s->n++] = b->id;
	return 0;
}

/* The ids of bindings like this one; ret_ids is malloc'd, NULL when there are none. */
static int find_bindings(struct ctl *c, const struct binding *like, bool any_window, uint64_t **ret_ids, size_t *ret_n)
{
	struct search s = { .like = like, .any_window = any_window };
	int r;

	store_rdlock(c->env->store);
	r = policy_each_binding(store_policy(c->env->store), match_binding, &s);
	store_unlock_tables(c->env->store);
	if (r < 0) {
		free(s.ids);
		return ctl_fail_store(c, r, "look through the bindings");
	}
	*ret_ids = s.ids;
	*ret_n = s.n;
	return 0;
}

static bool has_condition(const struct principal *p, enum principal_kind kind)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->conditions[i].kind == kind)
			return true;
	return false;
}

/* What people regret: a container's root, and whoever has the same number in one, match too. */
static void hint_about_containers(struct ctl *c, const char *principal)
{
	const struct principal *p = &c->args.principal;

	if (has_condition(p, PRINCIPAL_HOST))
		return;
	for (size_t i = 0; i < p->n; i++)
		if (p->conditions[i].kind == PRINCIPAL_USER && p->conditions[i].id == 0) {
			ctl_hint(c,
				 "%s is root of every container that shares this machine's user ids, too: %s,host "
				 "means this machine's root alone",
				 principal, principal);
			return;
		}
	ctl_hint(c, "this holds in containers too; %s,host would narrow it to this machine's own processes", principal);
}

static struct binding wanted_binding(const struct ctl *c, const struct role *role)
{
	struct binding b = {
		.role = role->id, .principal = c->args.principal, .from = c->args.from, .until = c->args.until
	};

	snprintf(b.scope, sizeof(b.scope), "%s", c->args.scope);
	return b;
}

static int run_grant(struct ctl *c)
{
	char principal[PRINCIPAL_TEXT_MAX], by[32], command[256];
	uint64_t *same = NULL, id = 0;
	struct binding b;
	struct role role;
	size_t n = 0;
	int r = find_role(c, &role);

	if (r < 0)
		return r;
	b = wanted_binding(c, &role);
	r = find_bindings(c, &b, false, &same, &n);
	if (r < 0)
		return r;
	if (n) {
		id = same[0];
		free(same);
		ctl_hint(c, "nothing is missing; see: %s bindings --on %s", ctl_command(c, command, sizeof(command)),
			 strchr(b.scope, '*') ? "NAME" : b.scope);
		return ctl_fail(c, EEXIST, "binding %llu gives exactly this already", (unsigned long long)id);
	}
	principal_print(&b.principal, principal);
	snprintf(by, sizeof(by), "user:%u", c->who->policy.uid);
	r = store_binding_add(c->env->store, &b, c->args.reason, by, &id);
	if (r == 0)
		r = ctl_note_self_grant(c, &b.principal, role.name, b.scope);
	if (r < 0)
		return ctl_fail_store(c, r, "add the binding");
	snprintf(c->detail, sizeof(c->detail), "binding %llu: %s to %s on %s", (unsigned long long)id, role.name,
		 principal, b.scope);
	hint_about_containers(c, principal);
	if (!(role.actions & ~ACTIONS_UNSERVED) && role.actions)
		ctl_set(c, "unserved",
			json_string("nothing serves what this role gives yet: the binding opens nothing until "
				    "something does"));
	ctl_set(c, "binding", json_integer((json_int_t)id));
	ctl_set(c, "role", json_string(role.name));
	ctl_set(c, "principal", json_string(principal));
	ctl_set(c, "scope", json_string(b.scope));
	ctl_set(c, "self", json_boolean(c->self_grant));
	return 0;
}

/* ---- revoke ---- */

static int check_revoke(struct ctl *c)
{
	const json_t *id = json_object_get(c->in, "binding"), *role = json_object_get(c->in, "role"),
		     *principal = json_object_get(c->in, "principal"), *on = json_object_get(c->in, "on");
	int r;

	if (id) {
		if (role || principal || on)
			return ctl_fail(c, EINVAL, "binding: either an id, or role, principal and on");
		if (json_integer_value(id) < 1)
			return ctl_fail(c, EINVAL, "binding: bindings are numbered from 1 on");
		c->args.binding = (uint64_t)json_integer_value(id);
		return 0;
	}
	if (!role || !principal || !on)
		return ctl_fail(c, EINVAL, "%s: revoke needs a binding's id, or role, principal and on",
				!role        ? "role"
				: !principal ? "principal"
					     : "on");
	c->args.role = json_string_value(role);
	if ((r = ctl_check_principal(c, "principal")) < 0)
		return r;
	return ctl_check_scope(c, "on", &c->args.scope);
}

static int fail_no_binding(struct ctl *c)
{
	char command[256];

	ctl_hint(c, "see: %s bindings", ctl_command(c, command, sizeof(command)));
	if (c->args.binding)
		return ctl_fail(c, ENOENT, "there is no binding %llu", (unsigned long long)c->args.binding);
	return ctl_fail(c, ENOENT, "no binding gives %s to %s on %s", c->args.role, c->args.principal_text,
			c->args.scope);
}

static int ask_revoke_id(struct ctl *c)
{
	const struct binding *b;
	const struct role *found;
	struct role role = { 0 };
	char scope[sizeof(b->scope)];
	int r;

	store_rdlock(c->env->store);
	b = policy_binding(store_policy(c->env->store), c->args.binding);
	found = b ? policy_role(store_policy(c->env->store), b->role) : NULL;
	if (found) {
		role = *found;
		memcpy(scope, b->scope, sizeof(scope));
	}
	store_unlock_tables(c->env->store);

	/* that it is not there is said when it is looked for: it may have been there, and the request come again */
	if (!found)
		return ctl_ask_any(c, ACTION_BINDINGS_DELETE);
	snprintf(c->detail, sizeof(c->detail), "binding %llu: %s on %s", (unsigned long long)c->args.binding, role.name,
		 scope);
	r = ctl_ask(c, ACTION_BINDINGS_DELETE, scope);
	return r < 0 ? r : ask_role(c, &role, scope);
}

static int ask_revoke(struct ctl *c)
{
	struct role role;
	int r;

	if (c->args.binding)
		return ask_revoke_id(c);
	c->secret = c->args.scope;
	if ((r = ctl_ask(c, ACTION_BINDINGS_DELETE, c->args.scope)) < 0 || (r = find_role(c, &role)) < 0)
		return r;
	return ask_role(c, &role, c->args.scope);
}

static int find_revoked(struct ctl *c)
{
	struct binding like;
	struct role role;
	int r;

	if (c->args.binding) {
		c->ids = malloc(sizeof(*c->ids));
		if (!c->ids)
			return ctl_fail_store(c, -ENOMEM, "revoke");
		c->ids[0] = c->args.binding;
		c->n_ids = 1;
		return 0;
	}
	r = find_role(c, &role);
	if (r < 0)
		return r;
	like = wanted_binding(c, &role);
	return find_bindings(c, &like, true, &c->ids, &c->n_ids);
}

static int run_revoke(struct ctl *c)
{
	char command[256];
	json_t *ids;
	int r = find_revoked(c);

	if (r < 0)
		return r;
	if (c->n_ids == 0)
		return fail_no_binding(c);
	ids = json_array();
	for (size_t i = 0; i < c->n_ids; i++) {
		r = store_binding_remove(c->env->store, c->ids[i]);
		if (r < 0)
			break;
		if (json_array_append_new(ids, json_integer((json_int_t)c->ids[i])) < 0)
			c->short_of_memory = true;
	}
	ctl_set(c, "bindings", ids);
	if (r == -EBUSY) {
		ctl_hint(c, "make another administrator first: %s grant administrator PRINCIPAL --on '*'",
			 ctl_command(c, command, sizeof(command)));
		return ctl_fail(c, EBUSY, "binding %llu is the last that makes an administrator of the vault",
				(unsigned long long)c->ids[json_array_size(ids)]);
	}
	if (r == -ENOENT)
		return fail_no_binding(c);
	if (r < 0)
		return ctl_fail_store(c, r, "remove the binding");
	if (!c->detail[0])
		snprintf(c->detail, sizeof(c->detail), "binding %llu%s: %s to %s on %s", (unsigned long long)c->ids[0],
			 c->n_ids > 1 ? " and others" : "", c->args.role, c->args.principal_text, c->args.scope);
	return 0;
}

/* ---- bindings ---- */

static int check_bindings(struct ctl *c)
{
	if (!json_object_get(c->in, "on"))
		return 0;
	return ctl_check_scope(c, "on", &c->args.scope);
}

/* Everybody may see which bindings concern themselves. */
static int ask_bindings(struct ctl *c)
{
	c->secret = c->args.scope;
	if (ctl_ask_any(c, ACTION_BINDINGS_LIST) == 0)
		return 0;
	c->unrecorded = true;
	ctl_forgive(c);
	return 0;
}

struct shown {
	struct binding b;
	char role[ROLE_NAME_MAX];
};
struct showing {
	const struct ctl *c;
	const struct policy *policy;
	bool all;
	struct shown *items;
	size_t n, room;
};

static int collect_binding(const struct binding *b, void *arg)
{
	struct showing *s = arg;
	const struct role *role = policy_role(s->policy, b->role);
	struct policy_answer answer = { 0 };
	struct shown *grown;

	if (s->c->args.scope && !scope_covers(b->scope, s->c->args.scope))
		return 0;
	if (!s->all && !principal_match(&b->principal, &s->c->who->policy)) {
		policy_decide(s->policy, &s->c->who->policy, ACTION_BINDINGS_LIST, b->scope, s->c->now, &answer);
		if (answer.decision != POLICY_ALLOW)
			return 0;
	}
	if (s->n == s->room) {
		grown = reallocarray(s->items, s->room ? 2 * s->room : 32, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		s->items = grown;
		s->room = s->room ? 2 * s->room : 32;
	}
	s->items[s->n].b = *b;
	snprintf(s->items[s->n++].role, ROLE_NAME_MAX, "%s", role ? role->name : "?");
	return 0;
}

static int print_binding(struct ctl *c, FILE *f, const struct shown *s)
{
	struct store_binding_info info = { 0 };
	char principal[PRINCIPAL_TEXT_MAX];
	json_t *o;
	int r = store_binding_info(c->env->store, s->b.id, &info);

	if (r < 0 && r != -ENOENT)
		return r;
	principal_print(&s->b.principal, principal);
	o = json_pack("{s:I, s:s, s:s, s:s, s:o, s:o, s:s?, s:s?, s:o, s:o}", "id", (json_int_t)s->b.id, "role",
		      s->role, "principal", principal, "scope", s->b.scope, "from", ctl_time(s->b.from), "until",
		      ctl_time(s->b.until), "reason", info.reason, "created_by", info.created_by, "created",
		      info.created ? ctl_time(info.created) : json_null(), "last_used",
		      info.last_used ? ctl_time(info.last_used) : json_null());
	r = o && json_dumpf(o, f, JSON_COMPACT) == 0 ? 0 : -ENOMEM;
	json_decref(o);
	store_binding_info_free(&info);
	return r;
}

static int run_bindings(struct ctl *c)
{
	struct showing s = { .c = c };
	struct policy_answer everywhere;
	FILE *f;
	int r;

	store_rdlock(c->env->store);
	s.policy = store_policy(c->env->store);
	policy_decide(s.policy, &c->who->policy, ACTION_BINDINGS_LIST, NULL, c->now, &everywhere);
	s.all = everywhere.decision == POLICY_ALLOW;
	r = policy_each_binding(s.policy, collect_binding, &s);
	store_unlock_tables(c->env->store);
	if (r < 0)
		goto out;
	r = -ENOMEM;
	f = open_memstream(&c->text, &c->text_len);
	if (!f)
		goto out;
	fputs("\"bindings\":[", f);
	r = 0;
	for (size_t i = 0; i < s.n && r == 0; i++) {
		if (i)
			fputc(',', f);
		r = print_binding(c, f, &s.items[i]);
	}
	fputc(']', f);
	if (ferror(f))
		r = -ENOMEM;
	if (fclose(f) != 0)
		r = -ENOMEM;
out:
	free(s.items);
	return r < 0 ? ctl_fail_store(c, r, "list the bindings") : 0;
}

/* ---- the table ---- */

static const struct ctl_field grant_fields[] = { { "role", CTL_STRING, true },
						 { "principal", CTL_STRING, true },
						 { "on", CTL_STRING, true },
						 { "from", CTL_STRING | CTL_NULL, false },
						 { "until", CTL_STRING | CTL_NULL, false },
						 { "reason", CTL_STRING | CTL_NULL, false },
						 { 0 } };
static const struct ctl_field revoke_fields[] = { { "binding", CTL_INT, false },
						  { "role", CTL_STRING, false },
						  { "principal", CTL_STRING, false },
						  { "on", CTL_STRING, false },
						  { 0 } };
static const struct ctl_field bindings_fields[] = { { "on", CTL_STRING, false }, { 0 } };
const struct ctl_op ctl_bindings_ops[] = {
	{ .name = "grant",
	  .operation = AUDIT_BINDING_CREATE,
	  .changes = true,
	  .fields = grant_fields,
	  .check = check_grant,
	  .ask = ask_grant,
	  .run = run_grant },
	{ .name = "revoke",
	  .operation = AUDIT_BINDING_DELETE,
	  .changes = true,
	  .fields = revoke_fields,
	  .check = check_revoke,
	  .ask = ask_revoke,
	  .run = run_revoke },
	{ .name = "bindings",
	  .operation = AUDIT_BINDING_LIST,
	  .fields = bindings_fields,
	  .check = check_bindings,
	  .ask = ask_bindings,
	  .run = run_bindings },
	{ 0 },
};
