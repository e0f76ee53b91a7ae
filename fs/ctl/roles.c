/* Requests about roles: what there are, and making one of the vault's own. */
#include <errno.h>

#include "fs/ctl/internal.h"
#include "policy/policy.h"
#include "store/grants/grants.h"

static json_t *action_names(action_set set)
{
	json_t *names = json_array();

	for (int a = 0; names && a < ACTION_COUNT; a++)
		if ((set & ACTION_BIT(a)) &&
		    json_array_append_new(names, json_string(action_name((enum action)a))) < 0) {
			json_decref(names);
			return NULL;
		}
	return names;
}

static int add_role(const struct role *role, void *arg)
{
	json_t *o = json_pack("{s:s, s:o}", "name", role->name, "actions", action_names(role->actions));

	return json_array_append_new(arg, o) < 0 ? -ENOMEM : 0;
}

static int run_roles(struct ctl *c)
{
	json_t *list = json_array();
	int r;

	store_rdlock(c->env->store);
	r = policy_each_role(store_policy(c->env->store), add_role, list);
	store_unlock_tables(c->env->store);
	if (r < 0)
		c->short_of_memory = true;
	ctl_set(c, "roles", list);
	return 0;
}

static int check_role_create(struct ctl *c)
{
	const json_t *actions = json_object_get(c->in, "actions"), *v;
	char command[256];
	action_set set;
	size_t i;

	c->args.role = ctl_string(c, "name");
	if (!role_name_valid(c->args.role) && !role_builtin_find(c->args.role)) {
		ctl_hint(c, "a role's name is a small letter, then small letters, digits or hyphens: at most %d bytes",
			 ROLE_NAME_MAX - 1);
		return ctl_fail(c, EINVAL, "name: \"%.64s\" is not a role's name", c->args.role);
	}
	json_array_foreach(actions, i, v) {
		if (!json_is_string(v) || action_set_parse(json_string_value(v), &set) < 0) {
			ctl_hint(c, "actions are such as secrets/get, or secrets/* for all of a kind; see: %s roles",
				 ctl_command(c, command, sizeof(command)));
			return ctl_fail(c, EINVAL, "actions: \"%.64s\" is not an action",
					json_is_string(v) ? json_string_value(v) : "(not a string)");
		}
		c->args.actions |= set;
	}
	if (!c->args.actions)
		return ctl_fail(c, EINVAL, "actions: a role needs at least one action");
	return 0;
}

static int ask_role_create(struct ctl *c) { return ctl_ask(c, ACTION_ROLES_CREATE, NULL); }

static int run_role_create(struct ctl *c)
{
	char command[256];
	uint32_t id;
	int r = role_builtin_find(c->args.role) ? -EEXIST
						: store_role_put(c->env->store, c->args.role, c->args.actions, &id);

	if (r == -EEXIST) {
		ctl_hint(c, "choose another name; for those that are taken, see: %s roles",
			 ctl_command(c, command, sizeof(command)));
		return ctl_fail(c, EEXIST, "there is a role %s already", c->args.role);
	}
	if (r < 0)
		return ctl_fail_store(c, r, "make the role");
	snprintf(c->detail, sizeof(c->detail), "role %s", c->args.role);
	ctl_set(c, "role", json_string(c->args.role));
	ctl_set(c, "actions", action_names(c->args.actions));
	return 0;
}

/* ---- the table ---- */

static const struct ctl_field no_fields[] = { { 0 } };
static const struct ctl_field role_create_fields[] = { { "name", CTL_STRING, true },
						       { "actions", CTL_ARRAY, true },
						       { 0 } };

const struct ctl_op ctl_roles_ops[] = {
	/* what roles there are is no secret: not recorded, so that nobody can fill the log with it */
	{ .name = "roles", .operation = AUDIT_ROLE_LIST, .while_sealed = true, .fields = no_fields, .run = run_roles },
	{ .name = "role-create",
	  .operation = AUDIT_ROLE_CREATE,
	  .changes = true,
	  .fields = role_create_fields,
	  .check = check_role_create,
	  .ask = ask_role_create,
	  .run = run_role_create },
	{ 0 },
};
