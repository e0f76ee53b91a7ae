/* Requests about hooks: programs that run when something happens. */
#include <errno.h>
#include <stdio.h>

#include "fs/ctl/internal.h"
#include "fs/ctl/rule_fields.h"
#include "store/lifecycle/events.h"
#include "store/lifecycle/marks.h"
#include "store/lifecycle/rules.h"

#define DEBOUNCE_DEFAULT 200 /* ms: what comes together is one run, and a service has a new value at once */

static int check_hook_events(struct ctl *c, uint32_t *ret_events)
{
	const json_t *list = json_object_get(c->in, "events"), *name;
	enum event_kind kind;
	uint32_t events = 0;
	size_t i;

	json_array_foreach(list, i, name) {
		if (!json_is_string(name) || event_parse(json_string_value(name), &kind) < 0 ||
		    kind == EVENT_HOOK_FAILED) {
			ctl_hint(c, "there are NewVersionCreated, NearExpiry, Expired, Deleted, Recovered, Purged, "
				    "VersionDestroyed, BindingChanged, SelfGranted, RotationFailed and AuditTampered");
			return ctl_fail(c, EINVAL, "events: \"%.64s\" is no event that a hook hears",
					json_is_string(name) ? json_string_value(name) : "");
		}
		events |= EVENT_BIT(kind);
	}
	*ret_events = events ? events : EVENT_BIT(EVENT_NEW_VERSION);
	return 0;
}

static int check_hook_add(struct ctl *c)
{
	struct hook *h = &c->args.hook;
	int r;

	if ((r = ctl_check_scope(c, "on", &c->args.scope)) < 0 || (r = check_hook_events(c, &h->events)) < 0 ||
	    (r = rule_check_command(c, h->command, &h->user, &h->timeout)) < 0 ||
	    (r = rule_check_number(c, "debounce_ms", 0, HOOK_DEBOUNCE_MAX, DEBOUNCE_DEFAULT, &h->debounce)) < 0)
		return r;
	h->created_by = c->who->uid;
	snprintf(h->scope, sizeof h->scope, "%s", c->args.scope);
	return 0;
}

static int ask_hook_change(struct ctl *c)
{
	c->secret = c->args.scope;
	return ctl_ask(c, ACTION_VAULT_UPDATE, NULL);
}

static int load_hook_add(struct ctl *c) { return rule_check_allowed(c, c->args.hook.command, &c->args.hook.user); }

static int run_hook_add(struct ctl *c)
{
	const struct hook *h = &c->args.hook;
	uint64_t id = 0;
	int r = store_hook_add(c->env->store, h, &id);

	if (r == -E2BIG)
		return ctl_fail(c, ENOSPC, "there are %u hooks already", RULES_MAX);
	if (r < 0)
		return ctl_fail_store(c, r, "keep the hook");
	snprintf(c->detail, sizeof c->detail, "hook %llu as uid %u: %.300s", (unsigned long long)id, h->user,
		 h->command);
	ctl_set(c, "hook", json_integer((json_int_t)id));
	ctl_set(c, "scope", json_string(h->scope));
	return 0;
}

static int ask_hooks(struct ctl *c) { return ctl_ask(c, ACTION_VAULT_STATUS, NULL); }

static json_t *hook_json(struct ctl *c, const struct hook *h)
{
	struct hook_place place = { 0 };
	json_t *events = json_array();

	for (int i = 1; i < EVENT_KINDS; i++)
		if ((h->events & EVENT_BIT(i)) &&
		    json_array_append_new(events, json_string(event_name((enum event_kind)i))) < 0)
			c->short_of_memory = true;
	store_hook_place(c->env->store, h->id, &place);
	return json_pack("{s:I, s:s, s:o, s:s, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:o, s:o}", "id", (json_int_t)h->id,
			 "scope", h->scope, "events", events, "command", h->command, "user", (json_int_t)h->user,
			 "debounce_ms", (json_int_t)h->debounce, "timeout", (json_int_t)h->timeout, "created_by",
			 (json_int_t)h->created_by, "created", ctl_time(h->created), "delivered",
			 (json_int_t)place.delivered, "attempts", (json_int_t)place.attempts, "failed",
			 rule_text(place.why), "retry", place.attempts ? ctl_time(place.retry) : json_null());
}

static int run_hooks(struct ctl *c)
{
	struct rules rules = rules_copy(c);
	json_t *list = json_array();

	for (size_t i = 0; i < rules.n_hooks; i++)
		if (json_array_append_new(list, hook_json(c, &rules.hooks[i])) < 0)
			c->short_of_memory = true;
	ctl_set(c, "hooks", list);
	rules_copy_free(&rules);
	return 0;
}

static int check_hook_remove(struct ctl *c)
{
	json_int_t id = json_integer_value(json_object_get(c->in, "hook"));

	if (id < 1)
		return ctl_fail(c, EINVAL, "hook: the number of a hook is expected");
	c->args.binding = (uint64_t)id;
	return 0;
}

static int run_hook_remove(struct ctl *c)
{
	char command[256];
	int r = store_hook_remove(c->env->store, c->args.binding);

	if (r == -ENOENT) {
		ctl_hint(c, "see: %s hook list", ctl_command(c, command, sizeof command));
		return ctl_fail(c, ENOENT, "there is no hook %llu", (unsigned long long)c->args.binding);
	}
	if (r < 0)
		return ctl_fail_store(c, r, "remove the hook");
	snprintf(c->detail, sizeof c->detail, "hook %llu", (unsigned long long)c->args.binding);
	ctl_set(c, "hook", json_integer((json_int_t)c->args.binding));
	return 0;
}

/* ---- the table ---- */

static const struct ctl_field none[] = { { 0 } };
static const struct ctl_field hook_add_fields[] = {
	{ "on", CTL_STRING, true },
	{ "events", CTL_ARRAY, false },
	{ "command", CTL_STRING, true },
	{ "user", CTL_INT, false },
	{ "debounce_ms", CTL_INT, false },
	{ "timeout", CTL_INT, false },
	{ 0 },
};
static const struct ctl_field hook_remove_fields[] = { { "hook", CTL_INT, true }, { 0 } };

const struct ctl_op ctl_hooks_ops[] = {
	{ .name = "hook-add",
	  .operation = AUDIT_HOOK_CREATE,
	  .changes = true,
	  .fields = hook_add_fields,
	  .check = check_hook_add,
	  .ask = ask_hook_change,
	  .load = load_hook_add,
	  .run = run_hook_add },
	{ .name = "hooks", .operation = AUDIT_HOOK_LIST, .fields = none, .ask = ask_hooks, .run = run_hooks },
	{ .name = "hook-remove",
	  .operation = AUDIT_HOOK_DELETE,
	  .changes = true,
	  .fields = hook_remove_fields,
	  .check = check_hook_remove,
	  .ask = ask_hook_change,
	  .run = run_hook_remove },
	{ 0 },
};
