#include "fs/cli/common/cli.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/common/client.h"
#include "fs/cli/common/names.h"
#include "fs/cli/common/output.h"
#include "fs/cli/commands/secrets.h"
#include "fs/common/timefmt.h"
#include "policy/action.h"
#include "policy/role.h"
#include "policy/scope.h"
#include "fs/cli/commands/commands.h"

static int scope_check(const char *scope)
{
	if (!scope)
		return fail(EXIT_USAGE, "--on SCOPE is missing: a secret's name, a prefix such as \"db-*\", or \"*\" "
					"for the whole vault");
	if (!scope_valid(scope))
		return fail(EXIT_USAGE,
			    "\"%.140s\" is not a scope: a secret's name, a prefix such as \"db-*\", or \"*\" for the "
			    "whole vault",
			    scope);
	return EXIT_DONE;
}

/* ROLE PRINCIPAL --on SCOPE, as grant and revoke take them. */
static int triple_request(const char *op, const struct args *a, json_t **ret_request)
{
	const char *role = a->operands[0], *on = args_value(a, "on");
	char principal[PRINCIPAL_TEXT_MAX];
	struct principal parsed;
	int status = scope_check(on);

	if (status == EXIT_DONE)
		status = principal_argument(a->operands[1], &parsed, principal);
	if (status == EXIT_DONE)
		*ret_request = json_pack("{s:s, s:s, s:s, s:s}", "op", op, "role", role, "principal", principal, "on",
					 on);
	return status;
}

static const char *text_of(const json_t *answer, const char *key)
{
	const char *text = json_string_value(json_object_get(answer, key));

	return text ? text : "?";
}

int cmd_grant(struct cli *c, const struct args *a)
{
	const char *from = args_value(a, "from"), *until = args_value(a, "until");
	json_t *request = NULL, *answer = NULL;
	char text[TIME_TEXT_MAX];
	int status = triple_request("grant", a, &request);

	if (status)
		return status;
	client_set(request, "reason", args_value(a, "reason"));
	if (from)
		status = time_argument("from", from, text);
	if (status == EXIT_DONE && from)
		client_set(request, "from", text);
	if (status == EXIT_DONE && until)
		status = time_argument("until", until, text);
	if (status == EXIT_DONE && until)
		client_set(request, "until", text);
	if (status == EXIT_DONE)
		status = client_change(c, json_incref(request), NULL, 0, &answer);
	if (status == EXIT_DONE)
		output_line("binding %" JSON_INTEGER_FORMAT ": %s to %s on %s",
			    json_integer_value(json_object_get(answer, "binding")), text_of(answer, "role"),
			    text_of(answer, "principal"), text_of(answer, "scope"));
	if (status == EXIT_DONE && json_is_string(json_object_get(answer, "unserved")))
		note("warning: %s", text_of(answer, "unserved"));
	json_decref(answer);
	json_decref(request);
	return status;
}

static int print_revoked(const json_t *answer)
{
	const json_t *ids = json_object_get(answer, "bindings");
	json_t *id;
	size_t i;

	json_array_foreach(ids, i, id)
		printf("revoked binding %" JSON_INTEGER_FORMAT "\n", json_integer_value(id));
	return EXIT_DONE;
}

static int revoke_one(struct cli *c, json_int_t id)
{
	json_t *answer = NULL;
	int status = client_change(c, json_pack("{s:s, s:I}", "op", "revoke", "binding", id), NULL, 0, &answer);

	if (status == EXIT_DONE)
		print_revoked(answer);
	json_decref(answer);
	return status;
}

static bool binding_number(const char *text, json_int_t *ret_id)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno || *end || !isdigit((unsigned char)*text) || n < 1)
		return false;
	*ret_id = n;
	return true;
}

static int revoke_ids(struct cli *c, const struct args *a)
{
	json_int_t id;
	int status = EXIT_DONE;

	for (size_t i = 0; i < a->n_operands; i++)
		if (!binding_number(a->operands[i], &id))
			return fail(EXIT_USAGE,
				    "\"%s\" is not a binding's number; give numbers (" COFFER
				    " bindings), or ROLE PRINCIPAL --on SCOPE",
				    a->operands[i]);
	for (size_t i = 0; status == EXIT_DONE && i < a->n_operands; i++)
		if (binding_number(a->operands[i], &id))
			status = revoke_one(c, id);
	return status;
}

int cmd_revoke(struct cli *c, const struct args *a)
{
	json_t *request = NULL, *answer = NULL;
	json_int_t id;
	int status;

	if (!args_has(a, "on") && (a->n_operands != 2 || binding_number(a->operands[0], &id)))
		return revoke_ids(c, a);
	if (a->n_operands != 2)
		return fail(EXIT_USAGE,
			    "revoke takes binding numbers, or ROLE PRINCIPAL --on SCOPE; see: " COFFER " bindings");
	status = triple_request("revoke", a, &request);
	if (status == EXIT_DONE)
		status = client_change(c, request, NULL, 0, &answer);
	if (status == EXIT_DONE)
		print_revoked(answer);
	json_decref(answer);
	return status;
}

int cmd_bindings(struct cli *c, const struct args *a)
{
	static const struct column columns[] = {
		{ "ID", "id" },     { "ROLE", "role" },   { "PRINCIPAL", "principal" }, { "SCOPE", "scope" },
		{ "FROM", "from" }, { "UNTIL", "until" }, { "LAST USED", "last_used" }, { "REASON", "reason" },
	};
	const char *on = args_value(a, "on");
	json_t *request, *answer = NULL;
	int status;

	if (on && strcmp(on, "*") != 0) {
		status = secret_name_check(on);
		if (status)
			return status;
	}
	request = json_pack("{s:s}", "op", "bindings");
	client_set(request, "on", on);
	status = client_ask(c, request, &answer);
	if (status == EXIT_DONE)
		status = output_list(c, json_object_get(answer, "bindings"), columns,
				     sizeof(columns) / sizeof(columns[0]), "no bindings that you may see");
	json_decref(answer);
	return status;
}

int cmd_roles(struct cli *c, const struct args *a)
{
	static const struct column columns[] = { { "NAME", "name" }, { "ACTIONS", "actions" } };
	json_t *answer = NULL;
	int status;

	(void)a;
	status = client_ask(c, json_pack("{s:s}", "op", "roles"), &answer);
	if (status == EXIT_DONE)
		status = output_list(c, json_object_get(answer, "roles"), columns, sizeof(columns) / sizeof(columns[0]),
				     "no roles");
	json_decref(answer);
	return status;
}

/* The nearest known action, for a slip of the finger. A verb alone is meant of secrets, if they have it. */
static int unknown_action(const char *given)
{
	const bool bare = !strchr(given, '/');
	unsigned nearest = 6;
	const char *best = NULL;

	for (int i = 0; i < ACTION_COUNT; i++) {
		const char *name = action_name((enum action)i);
		unsigned d = bare && !strcmp(strchr(name, '/') + 1, given) ? 0 : args_distance(given, name);

		if (d < nearest) {
			nearest = d;
			best = action_name((enum action)i);
		}
	}
	if (best)
		return fail(EXIT_USAGE, "there is no action \"%s\"; did you mean %s? " COFFER " roles shows them all",
			    given, best);
	return fail(EXIT_USAGE,
		    "there is no action \"%s\"; actions are such as secrets/get; " COFFER " roles shows them all",
		    given);
}

int cmd_role_create(struct cli *c, const struct args *a)
{
	const char *name = a->operands[0], *unserved = NULL;
	json_t *actions, *answer = NULL;
	action_set set;
	int status;

	if (role_builtin_find(name))
		return fail(EXIT_CONFLICT, "%s is a built-in role; choose another name", name);
	if (!role_name_valid(name))
		return fail(EXIT_USAGE, "\"%s\" cannot be a role's name: a small letter, then up to 62 of a-z 0-9 -",
			    name);
	for (size_t i = 1; i < a->n_operands; i++)
		if (action_set_parse(a->operands[i], &set) < 0)
			return unknown_action(a->operands[i]);
	actions = json_array();
	for (size_t i = 1; i < a->n_operands; i++)
		json_array_append_new(actions, json_string(a->operands[i]));
	for (size_t i = 1; i < a->n_operands && !unserved; i++)
		unserved = action_set_parse(a->operands[i], &set) == 0 && (set & ACTIONS_UNSERVED) ? a->operands[i]
												   : NULL;
	status = client_change(c, json_pack("{s:s, s:s, s:o}", "op", "role-create", "name", name, "actions", actions),
			       NULL, 0, &answer);
	if (status == EXIT_DONE)
		printf("role %s\n", name);
	if (status == EXIT_DONE && unserved)
		note("warning: nothing serves %s yet", unserved);
	json_decref(answer);
	return status;
}

static void print_verdict(const json_t *answer, const char *action, const char *name)
{
	const char *role = json_string_value(json_object_get(answer, "role"));
	const char *missing = json_string_value(json_object_get(answer, "missing"));
	const char *grant = json_string_value(json_object_get(answer, "grant"));
	const char *error = json_string_value(json_object_get(answer, "open")),
		   *why = json_string_value(json_object_get(answer, "why"));
	const char *hint = json_string_value(json_object_get(answer, "hint"));
	json_int_t binding = json_integer_value(json_object_get(answer, "binding"));

	if (json_is_true(json_object_get(answer, "allowed"))) {
		output_line("yes: binding %" JSON_INTEGER_FORMAT " (%s)", binding, role ? role : "-");
		if (error && why)
			output_line("but %s: opening it gives %s", why, error);
		return;
	}
	if (json_is_false(json_object_get(answer, "served")) && why && binding) {
		output_line("no: %s; binding %" JSON_INTEGER_FORMAT " (%s) gives it for when something does", why,
			    binding, role ? role : "-");
		return;
	}
	if (error && why) {
		output_line("no: %s: opening it gives %s, although binding %" JSON_INTEGER_FORMAT " (%s) gives %s", why,
			    error, binding, role ? role : "-", action);
		if (hint)
			output_line("%s", hint);
		return;
	}
	if (json_is_integer(json_object_get(answer, "block")) && why)
		output_line("no: %s", why);
	else if (missing)
		output_line("no: no binding gives %s", missing);
	else
		printf("no: no binding gives %s on %s\n", action, name);
	if (grant)
		output_line("an administrator can: %s", grant);
}

int cmd_can_i(struct cli *c, const struct args *a)
{
	const char *action = a->operands[0], *name = a->n_operands > 1 ? a->operands[1] : "*",
		   *as = args_value(a, "as");
	char principal[PRINCIPAL_TEXT_MAX];
	struct principal parsed;
	json_t *request, *answer = NULL;
	enum action known;
	int status = EXIT_DONE;

	if (action_parse(action, &known) < 0)
		return unknown_action(action);
	if (strcmp(name, "*") != 0)
		status = secret_name_check(name);
	if (status == EXIT_DONE && as)
		status = principal_argument(as, &parsed, principal);
	if (status)
		return status;
	request = json_pack("{s:s, s:s, s:s}", "op", "can-i", "action", action, "name", name);
	if (as)
		client_set(request, "as", principal);
	status = client_ask(c, request, &answer);
	if (status)
		return status;
	status = json_is_true(json_object_get(answer, "allowed")) ? EXIT_DONE : EXIT_DENIED;
	json_object_del(answer, "ok");
	if (c->output == OUTPUT_JSON)
		output_object(c, answer);
	else
		print_verdict(answer, action, name);
	json_decref(answer);
	return status;
}
