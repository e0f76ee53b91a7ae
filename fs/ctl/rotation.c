/* Requests about rotation policies, and rotation by hand. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/ctl/internal.h"
#include "fs/ctl/rule_fields.h"
#include "store/crypto/generate.h"
#include "store/crypto/secbuf.h"
#include "store/lifecycle/events.h"
#include "store/lifecycle/marks.h"
#include "store/lifecycle/rules.h"
#include "store/objects/rotate.h"

/* ---- rotation-set ---- */

static int check_rotation_generator(struct ctl *c, struct rotation *p)
{
	const char *generator = ctl_string(c, "generator");
	struct generator g;
	int r = rule_check_command(c, p->command, &p->user, &p->timeout);

	if (r < 0)
		return r;
	if (p->action == ROTATION_NOTIFY && (generator || p->command[0]))
		return ctl_fail(c, EINVAL, "notify: a policy that only notifies makes no value");
	if (p->action == ROTATION_ROTATE && (generator != NULL) == (p->command[0] != 0)) {
		ctl_hint(c, "generators are %s", GENERATOR_HELP);
		return ctl_fail(c, EINVAL,
				"rotation-set: a generator, or a command that writes the new value, is needed");
	}
	if (!generator)
		return 0;
	if (strlen(generator) >= sizeof p->generator || generator_parse(generator, &g) < 0) {
		ctl_hint(c, "generators are %s", GENERATOR_HELP);
		return ctl_fail(c, EINVAL, "generator: \"%.64s\" is none", generator);
	}
	snprintf(p->generator, sizeof p->generator, "%s", generator);
	return 0;
}

static int check_rotation_set(struct ctl *c)
{
	struct rotation *p = &c->args.rotation;
	int r = ctl_check_scope(c, "on", &c->args.scope);

	p->action = json_is_true(json_object_get(c->in, "notify")) ? ROTATION_NOTIFY : ROTATION_ROTATE;
	p->created_by = c->who->uid;
	if (r < 0 || (r = rule_check_span(c, "every", ROTATION_LEAST_NS, &p->every)) < 0 ||
	    (r = rule_check_span(c, "before_expiry", ROTATION_LEAST_NS, &p->before)) < 0 ||
	    (r = rule_check_span(c, "expiry", EXPIRY_LEAST_NS, &p->expiry)) < 0)
		return r;
	if (!p->every == !p->before)
		return ctl_fail(c, EINVAL,
				"rotation-set: one of every (after a version's creation) and before_expiry is needed");
	if (p->expiry && p->before && p->expiry - p->before < ROTATION_LEAST_NS)
		return ctl_fail(c, EINVAL, "expiry: a new version would be due within %d days of its creation",
				(int)(ROTATION_LEAST_NS / 86400 / 1000000000));
	snprintf(p->scope, sizeof p->scope, "%s", c->args.scope);
	return check_rotation_generator(c, p);
}

/* Whoever lets the daemon make new values could make them himself. A program is another matter: it runs on the machine.
 */
static int ask_rotation_set(struct ctl *c)
{
	int r;

	c->secret = c->args.scope;
	r = ctl_ask(c, ACTION_SECRETS_SET, c->args.scope);
	return r < 0 || !c->args.rotation.command[0] ? r : ctl_ask(c, ACTION_VAULT_UPDATE, NULL);
}

static int load_rotation_set(struct ctl *c)
{
	return c->args.rotation.command[0] ? rule_check_allowed(c, c->args.rotation.command, &c->args.rotation.user)
					   : 0;
}

static void describe_rotation(const struct rotation *p, char *ret, size_t len)
{
	char span[SPAN_TEXT_MAX], expiry[SPAN_TEXT_MAX + 8] = "";

	time_print_span(p->every ? p->every : p->before, span);
	if (p->expiry) {
		strcpy(expiry, ", for ");
		time_print_span(p->expiry, expiry + 6);
	}
	snprintf(ret, len, "%s %s %s%s, by %s%.300s", p->action == ROTATION_NOTIFY ? "notify" : "rotate", span,
		 p->every ? "after creation" : "before expiry", expiry,
		 p->action == ROTATION_NOTIFY ? "event" : p->generator, p->command);
}

static int run_rotation_set(struct ctl *c)
{
	uint64_t id = 0;
	int r = store_rotation_put(c->env->store, &c->args.rotation, &id);

	if (r == -E2BIG)
		return ctl_fail(c, ENOSPC,
				"there are %u rotation policies already: one for a prefix does for many secrets",
				RULES_MAX);
	if (r < 0)
		return ctl_fail_store(c, r, "keep the policy of %s", c->args.scope);
	describe_rotation(&c->args.rotation, c->detail, sizeof c->detail);
	ctl_set(c, "rotation", json_integer((json_int_t)id));
	ctl_set(c, "scope", json_string(c->args.scope));
	return 0;
}

/* ---- rotations ---- */

static json_t *span_or_null(int64_t ns)
{
	char text[SPAN_TEXT_MAX];

	if (!ns)
		return json_null();
	time_print_span(ns, text);
	return json_string(text);
}

static json_t *rotation_json(const struct rotation *p)
{
	return json_pack("{s:I, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o}", "id", (json_int_t)p->id,
			 "scope", p->scope, "action", p->action == ROTATION_NOTIFY ? "notify" : "rotate", "every",
			 span_or_null(p->every), "before_expiry", span_or_null(p->before), "expiry",
			 span_or_null(p->expiry), "generator", rule_text(p->generator), "command",
			 rule_text(p->command), "user", p->command[0] ? json_integer(p->user) : json_null(), "timeout",
			 p->command[0] ? json_integer(p->timeout) : json_null(), "created_by",
			 (json_int_t)p->created_by, "created", ctl_time(p->created));
}

static int check_rotations(struct ctl *c)
{
	return json_object_get(c->in, "name") ? ctl_check_name(c, "name", &c->args.name) : 0;
}

static int ask_rotations(struct ctl *c)
{
	c->secret = c->args.name;
	return c->args.name ? ctl_ask(c, ACTION_SECRETS_LIST, c->args.name) : ctl_ask_any(c, ACTION_SECRETS_LIST);
}

/* Of each policy whoever may list its whole scope is told; of a name's, whoever may list that. */
static int run_rotations(struct ctl *c)
{
	struct rules rules = rules_copy(c);
	const struct rotation *only = c->args.name ? rules_rotation(&rules, c->args.name) : NULL;
	json_t *list = json_array();

	for (size_t i = 0; i < rules.n_rotations; i++) {
		const struct rotation *p = &rules.rotations[i];
		if (c->args.name ? p != only : !ctl_may(c, ACTION_SECRETS_LIST, p->scope))
			continue;
		if (json_array_append_new(list, rotation_json(p)) < 0)
			c->short_of_memory = true;
	}
	ctl_set(c, "rotations", list);
	rules_copy_free(&rules);
	return 0;
}

/* ---- rotation-remove ---- */

static int check_rotation_remove(struct ctl *c) { return ctl_check_scope(c, "on", &c->args.scope); }

static int ask_rotation_remove(struct ctl *c)
{
	c->secret = c->args.scope;
	return ctl_ask(c, ACTION_SECRETS_SET, c->args.scope);
}

static int run_rotation_remove(struct ctl *c)
{
	struct rotation *p = &c->args.rotation;
	char command[256];
	uint64_t id = 0;
	int r;

	store_rdlock(c->env->store);
	const struct rules *rules = store_rules(c->env->store);
	for (size_t i = 0; i < rules->n_rotations; i++)
		if (!strcmp(rules->rotations[i].scope, c->args.scope)) {
			*p = rules->rotations[i];
			id = p->id;
		}
	store_unlock_tables(c->env->store);
	r = id ? store_rotation_remove(c->env->store, id) : -ENOENT;
	if (r == -ENOENT) {
		ctl_hint(c, "see: %s rotation list", ctl_command(c, command, sizeof command));
		return ctl_fail(c, ENOENT, "there is no rotation policy on %s", c->args.scope);
	}
	if (r < 0)
		return ctl_fail_store(c, r, "remove the policy of %s", c->args.scope);
	ctl_set(c, "rotation", json_integer((json_int_t)id));
	ctl_set(c, "scope", json_string(c->args.scope));
	if (p->command[0])
		ctl_set(c, "command", json_string(p->command));
	return 0;
}

/* ---- rotate ---- */

static int check_rotate(struct ctl *c)
{
	const char *generator = ctl_string(c, "generator");
	struct generator g;
	int r = ctl_check_name(c, "name", &c->args.name);

	if (r == 0 && generator && (strlen(generator) >= GENERATOR_TEXT_MAX || generator_parse(generator, &g) < 0)) {
		ctl_hint(c, "generators are %s", GENERATOR_HELP);
		return ctl_fail(c, EINVAL, "generator: \"%.64s\" is none", generator);
	}
	return r;
}

static int ask_rotate(struct ctl *c)
{
	c->secret = c->args.name;
	return ctl_ask(c, ACTION_SECRETS_SET, c->args.name);
}

/* How the value is to be made: as the request says, else as the policy does. */
static int find_rotation(struct ctl *c)
{
	const char *generator = ctl_string(c, "generator");
	struct rotation *p = &c->args.rotation;
	char command[256];
	bool found = rotate_policy(c->env->store, c->args.name, p);

	if (generator) {
		p->command[0] = '\0';
		snprintf(p->generator, sizeof p->generator, "%s", generator);
		return 0;
	}
	if (found && p->action == ROTATION_ROTATE)
		return 0;
	ctl_command(c, command, sizeof command);
	ctl_hint(c,
		 "to make a value once: %s rotate %s --generator password:32; to make one again and again: %s rotation "
		 "set %s --every 90d --generator password:32",
		 command, c->args.name, command, c->args.name);
	return ctl_fail(c, ENOENT,
			found ? "the rotation policy of %s only notifies" : "there is no rotation policy for %s",
			c->args.name);
}

static int load_rotate(struct ctl *c)
{
	const struct rotation *p = &c->args.rotation;
	char why[CTL_MESSAGE_MAX] = "";
	struct generator g;
	uint32_t id;
	int r;

	if ((r = ctl_find_live(c, &id)) < 0 || (r = find_rotation(c)) < 0)
		return r;
	if (p->generator[0]) {
		r = generator_parse(p->generator, &g);
		if (r == 0)
			r = generate(&g, &c->value);
		return r < 0 ? ctl_fail_store(c, r, "make a new value of %s", c->args.name) : 0;
	}
	r = c->env->program_value ? c->env->program_value(c->env->arg, p, c->args.name, c->request->unique, &c->value,
							  why, sizeof why)
				  : -ENOSYS;
	if (r == 0)
		return 0;
	ctl_hint(c, "the value is what it was%s", r == -EAGAIN ? "" : "; the daemon's messages say more");
	return ctl_fail(c, -r, "%s was not rotated: %s", c->args.name, why[0] ? why : strerror(-r));
}

static int run_rotate(struct ctl *c)
{
	uint32_t id = 0, version = 0;
	int r = ctl_find_live(c, &id);

	if (r < 0)
		return r;
	r = rotate_add(c->env->store, id, c->args.rotation.expiry, secbuf_cdata(c->value), secbuf_len(c->value), c->now,
		       &version);
	if (r < 0)
		return ctl_fail_store(c, r, "store a version of %s", c->args.name);
	c->version = version;
	snprintf(c->detail, sizeof c->detail, "rotated by hand");
	ctl_set(c, "name", json_string(c->args.name));
	ctl_set(c, "version", json_integer(version));
	return 0;
}

/* ---- the table ---- */

static const struct ctl_field rotation_set_fields[] = {
	{ "on", CTL_STRING, true },
	{ "every", CTL_STRING, false },
	{ "before_expiry", CTL_STRING, false },
	{ "expiry", CTL_STRING, false },
	{ "notify", CTL_BOOL, false },
	{ "generator", CTL_STRING, false },
	{ "command", CTL_STRING, false },
	{ "user", CTL_INT, false },
	{ "timeout", CTL_INT, false },
	{ 0 },
};
static const struct ctl_field rotations_fields[] = { { "name", CTL_STRING, false }, { 0 } };
static const struct ctl_field scoped[] = { { "on", CTL_STRING, true }, { 0 } };
static const struct ctl_field rotate_fields[] = { { "name", CTL_STRING, true },
						  { "generator", CTL_STRING, false },
						  { 0 } };
const struct ctl_op ctl_rotation_ops[] = {
	{ .name = "rotation-set",
	  .operation = AUDIT_ROTATION_SET,
	  .changes = true,
	  .fields = rotation_set_fields,
	  .check = check_rotation_set,
	  .ask = ask_rotation_set,
	  .load = load_rotation_set,
	  .run = run_rotation_set },
	{ .name = "rotations",
	  .operation = AUDIT_ROTATION_LIST,
	  .fields = rotations_fields,
	  .check = check_rotations,
	  .ask = ask_rotations,
	  .run = run_rotations },
	{ .name = "rotation-remove",
	  .operation = AUDIT_ROTATION_DELETE,
	  .changes = true,
	  .fields = scoped,
	  .check = check_rotation_remove,
	  .ask = ask_rotation_remove,
	  .run = run_rotation_remove },
	{ .name = "rotate",
	  .operation = AUDIT_SECRET_SET,
	  .changes = true,
	  .fields = rotate_fields,
	  .check = check_rotate,
	  .ask = ask_rotate,
	  .load = load_rotate,
	  .run = run_rotate },
	{ 0 },
};
