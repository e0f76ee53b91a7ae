/* Rotation policies, hooks, and rotation by hand. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/commands/allow.h"
#include "fs/cli/common/cli.h"
#include "fs/cli/common/client.h"
#include "fs/cli/common/names.h"
#include "fs/cli/common/output.h"
#include "fs/cli/commands/secrets.h"
#include "fs/common/timefmt.h"
#include "policy/scope.h"
#include "store/crypto/generate.h"
#include "store/lifecycle/events.h"
#include "fs/cli/commands/commands.h"

static int scope_argument(const char *scope)
{
	if (!scope || !scope_valid(scope))
		return fail(EXIT_USAGE,
			    "\"%.140s\" is not a scope: a secret's name, a prefix such as \"db-*\", or \"*\" for the "
			    "whole vault",
			    scope ? scope : "");
	return EXIT_DONE;
}

/* A span of time; EXIT_DONE also when it was not given. */
static int span_argument(const struct args *a, const char *option, int64_t least, int64_t most, int64_t *ret_ns)
{
	const char *given = args_value(a, option);
	int64_t ns = 0;

	if (given && (time_parse_span(given, &ns) < 0 || ns < least || ns > most))
		return fail(EXIT_USAGE, "--%s %.64s: a span of time is expected, such as 90d or 30s, within its limits",
			    option, given);
	if (given)
		*ret_ns = ns;
	return EXIT_DONE;
}

/* --timeout in seconds, --user, and the command into the request. */
static int set_command(struct cli *c, json_t *request, const struct args *a, const char *command, uint32_t *ret_user)
{
	int64_t timeout = 30 * (int64_t)1000000000;
	int status = span_argument(a, "timeout", 1000000000, HOOK_TIMEOUT_MAX * (int64_t)1000000000, &timeout);

	if (status == EXIT_DONE)
		status = user_argument(c, args_value(a, "user"), ret_user);
	if (status)
		return status;
	client_set(request, "command", command);
	if (*ret_user != HOOK_USER_ABSENT)
		json_object_set_new(request, "user", json_integer(*ret_user));
	json_object_set_new(request, "timeout", json_integer(timeout / 1000000000));
	return EXIT_DONE;
}

/* Nobody but root changes the list, and another rule may need the line. */
static void line_stays(const struct cli *c)
{
	note("its line in %s/hooks.allow stays, for other rules may need it; root can take it out", c->mount.store);
}

/* ---- rotation ---- */

static int check_generator(const char *given)
{
	struct generator g;

	if (given && generator_parse(given, &g) < 0)
		return fail(EXIT_USAGE, "--generator %.64s: there are %s", given, GENERATOR_HELP);
	return EXIT_DONE;
}

/* The name is the program's argument unless the words say where it goes. */
static int hook_command(const char *given, char command[HOOK_COMMAND_MAX])
{
	int status = command_argument("hook", given, command, HOOK_COMMAND_MAX - 3);

	if (status == EXIT_DONE && !strchr(command, '%'))
		strcat(command, " %n");
	return status;
}

int cmd_rotation_set(struct cli *c, const struct args *a)
{
	const char *scope = a->operands[0], *hook = args_value(a, "hook"), *generator = args_value(a, "generator");
	char command[HOOK_COMMAND_MAX] = "";
	json_t *request, *answer = NULL;
	uint32_t user = 0;
	int status = scope_argument(scope);

	if (status == EXIT_DONE && !args_has(a, "every") == !args_has(a, "before-expiry"))
		status = fail(EXIT_USAGE,
			      "give one of --every SPAN (after a version's creation) and --before-expiry SPAN");
	if (status == EXIT_DONE && (generator != NULL) + (hook != NULL) + args_has(a, "notify") != 1)
		status = fail(EXIT_USAGE, "give one of --generator (%s), --hook PROGRAM and --notify", GENERATOR_HELP);
	if (status == EXIT_DONE)
		status = check_generator(generator);
	if (status == EXIT_DONE && hook)
		status = hook_command(hook, command);
	if (status)
		return status;
	request = json_pack("{s:s, s:s, s:b}", "op", "rotation-set", "on", scope, "notify", args_has(a, "notify"));
	client_set(request, "every", args_value(a, "every"));
	client_set(request, "before_expiry", args_value(a, "before-expiry"));
	client_set(request, "expiry", args_value(a, "expiry"));
	client_set(request, "generator", generator);
	if (hook)
		status = set_command(c, request, a, command, &user);
	if (status)
		json_decref(request);
	else
		status = hook ? change_with_command(c, request, command, user, &answer)
			      : client_change(c, request, NULL, 0, &answer);
	if (status == EXIT_DONE)
		printf("rotation policy %" JSON_INTEGER_FORMAT " on %s\n",
		       json_integer_value(json_object_get(answer, "rotation")), scope);
	json_decref(answer);
	return status;
}

static int print_rotations(struct cli *c, json_t *request, const char *empty)
{
	static const struct column columns[] = {
		{ "ID", "id" },
		{ "SCOPE", "scope" },
		{ "ACTION", "action" },
		{ "EVERY", "every" },
		{ "BEFORE EXPIRY", "before_expiry" },
		{ "EXPIRY", "expiry" },
		{ "GENERATOR", "generator" },
		{ "COMMAND", "command" },
		{ "USER", "user" },
	};
	json_t *answer = NULL;
	int status = client_ask(c, request, &answer);

	if (status == EXIT_DONE)
		status = output_list(c, json_object_get(answer, "rotations"), columns,
				     sizeof(columns) / sizeof(columns[0]), empty);
	json_decref(answer);
	return status;
}

int cmd_rotation_list(struct cli *c, const struct args *a)
{
	(void)a;
	return print_rotations(c, json_pack("{s:s}", "op", "rotations"), "no rotation policies that you may see");
}

int cmd_rotation_show(struct cli *c, const struct args *a)
{
	int status = secret_name_check(a->operands[0]);

	return status ? status
		      : print_rotations(c, json_pack("{s:s, s:s}", "op", "rotations", "name", a->operands[0]),
					"no rotation policy covers it");
}

int cmd_rotation_remove(struct cli *c, const struct args *a)
{
	json_t *answer = NULL;
	int status = scope_argument(a->operands[0]);

	if (status == EXIT_DONE)
		status = client_change(c, json_pack("{s:s, s:s}", "op", "rotation-remove", "on", a->operands[0]), NULL,
				       0, &answer);
	if (status == EXIT_DONE) {
		printf("removed the rotation policy on %s\n", a->operands[0]);
		if (json_is_string(json_object_get(answer, "command")))
			line_stays(c);
	}
	json_decref(answer);
	return status;
}

/* ---- rotate ---- */

static int rotate_one(struct cli *c, const char *name, const char *generator)
{
	json_t *request, *answer = NULL;
	int status = secret_name_check(name);

	if (status)
		return status;
	request = json_pack("{s:s, s:s}", "op", "rotate", "name", name);
	client_set(request, "generator", generator);
	status = client_change(c, request, NULL, 0, &answer);
	if (status == EXIT_DONE)
		printf("%s is at version %" JSON_INTEGER_FORMAT "\n", name,
		       json_integer_value(json_object_get(answer, "version")));
	json_decref(answer);
	return status;
}

/* Names, one a line; what follows a blank or a tab is not looked at, so that a table of secrets can be fed in. Empty
 * lines and lines that begin with # are skipped. */
static int rotate_list(struct cli *c, FILE *in, const char *generator)
{
	char *line = NULL;
	size_t room = 0;
	int status = EXIT_DONE, one;

	/* whole lines, however long: the rest of one would be taken for a name */
	while (getline(&line, &room, in) >= 0) {
		line[strcspn(line, " \t\r\n")] = '\0';
		if (!line[0] || line[0] == '#')
			continue;
		one = rotate_one(c, line, generator);
		if (status == EXIT_DONE)
			status = one;
		if (one == EXIT_UNAVAILABLE)
			break;
	}
	if (ferror(in) && status == EXIT_DONE)
		status = fail(EXIT_ERROR, "cannot read the names: %s", strerror(errno));
	free(line);
	return status;
}

int cmd_rotate(struct cli *c, const struct args *a)
{
	const char *from = args_value(a, "from"), *generator = args_value(a, "generator");
	int status = check_generator(generator), one;
	FILE *in;

	if (status)
		return status;
	if (!from == !a->n_operands)
		return fail(EXIT_USAGE, "give NAME..., or --from FILE with one name a line (- is standard input)");
	/* one that fails does not stop the others; the first failure is the command's */
	for (size_t i = 0; i < a->n_operands; i++) {
		one = rotate_one(c, a->operands[i], generator);
		if (status == EXIT_DONE)
			status = one;
	}
	if (!from)
		return status;
	in = strcmp(from, "-") ? fopen(from, "re") : stdin;
	if (!in)
		return fail(EXIT_ERROR, "cannot open %s: %s", from, strerror(errno));
	status = rotate_list(c, in, generator);
	if (in != stdin)
		fclose(in);
	return status;
}

/* ---- hooks ---- */

static int set_events(json_t *request, const struct args *a)
{
	json_t *events = json_array();
	enum event_kind kind;
	const char *name;

	for (size_t i = 0; (name = args_nth(a, "event", i)); i++) {
		if (event_parse(name, &kind) < 0 || kind == EVENT_HOOK_FAILED) {
			json_decref(events);
			return fail(
				EXIT_USAGE,
				"--event %s: there are NewVersionCreated, NearExpiry, Expired, Deleted, Recovered, "
				"Purged, VersionDestroyed, BindingChanged, SelfGranted, RotationFailed, AuditTampered",
				name);
		}
		json_array_append_new(events, json_string(name));
	}
	json_object_set_new(request, "events", events);
	return EXIT_DONE;
}

/* A span, also of milliseconds. */
static int debounce_argument(const char *given, int64_t *ret_ns)
{
	unsigned long ms = 0;
	char *end = NULL;
	int64_t ns;

	if (!given)
		return EXIT_DONE;
	errno = 0;
	if (isdigit((unsigned char)*given))
		ms = strtoul(given, &end, 10);
	if (end && !strcmp(end, "ms") && !errno && ms <= HOOK_DEBOUNCE_MAX) {
		*ret_ns = (int64_t)ms * 1000000;
		return EXIT_DONE;
	}
	if (time_parse_span(given, &ns) < 0 || ns < 0 || ns > HOOK_DEBOUNCE_MAX * (int64_t)1000000)
		return fail(EXIT_USAGE,
			    "--debounce %.64s: a span of time is expected, such as 100ms or 2s, up to an hour", given);
	*ret_ns = ns;
	return EXIT_DONE;
}

int cmd_hook_add(struct cli *c, const struct args *a)
{
	const char *on = args_value(a, "on"), *exec = args_value(a, "exec");
	int64_t debounce = 200 * (int64_t)1000000;
	char command[HOOK_COMMAND_MAX];
	json_t *request, *answer = NULL;
	uint32_t user = 0;
	int status;

	if (!on || !exec)
		return fail(EXIT_USAGE, "--on SCOPE and --exec COMMAND are needed: " COFFER
					" hook add --on 'tls-*' --exec 'systemctl reload nginx' --user root");
	status = scope_argument(on);
	if (status == EXIT_DONE)
		status = debounce_argument(args_value(a, "debounce"), &debounce);
	if (status == EXIT_DONE)
		status = command_argument("exec", exec, command, sizeof(command));
	if (status)
		return status;
	request = json_pack("{s:s, s:s, s:I}", "op", "hook-add", "on", on, "debounce_ms",
			    (json_int_t)(debounce / 1000000));
	status = set_events(request, a);
	if (status == EXIT_DONE)
		status = set_command(c, request, a, command, &user);
	if (status)
		json_decref(request);
	else
		status = change_with_command(c, request, command, user, &answer);
	if (status == EXIT_DONE)
		printf("hook %" JSON_INTEGER_FORMAT " on %s: %s\n", json_integer_value(json_object_get(answer, "hook")),
		       on, command);
	json_decref(answer);
	return status;
}

int cmd_hook_list(struct cli *c, const struct args *a)
{
	static const struct column columns[] = {
		{ "ID", "id" },
		{ "SCOPE", "scope" },
		{ "EVENTS", "events" },
		{ "COMMAND", "command" },
		{ "USER", "user" },
		{ "DEBOUNCE MS", "debounce_ms" },
		{ "TIMEOUT S", "timeout" },
		{ "ATTEMPTS", "attempts" },
		{ "FAILED", "failed" },
		{ "NEXT TRY", "retry" },
	};
	json_t *answer = NULL;
	int status = client_ask(c, json_pack("{s:s}", "op", "hooks"), &answer);

	(void)a;
	if (status == EXIT_DONE)
		status = output_list(c, json_object_get(answer, "hooks"), columns, sizeof(columns) / sizeof(columns[0]),
				     "no hooks");
	json_decref(answer);
	return status;
}

static int remove_hook(struct cli *c, const char *text)
{
	json_t *answer = NULL;
	char *end;
	long long id;
	int status;

	errno = 0;
	id = strtoll(text, &end, 10);
	if (errno || *end || !isdigit((unsigned char)*text) || id < 1)
		return fail(EXIT_USAGE, "\"%s\" is not a hook's number; see: " COFFER " hook list", text);
	status = client_change(c, json_pack("{s:s, s:I}", "op", "hook-remove", "hook", (json_int_t)id), NULL, 0,
			       &answer);
	if (status == EXIT_DONE)
		printf("removed hook %lld\n", id);
	json_decref(answer);
	return status;
}

int cmd_hook_remove(struct cli *c, const struct args *a)
{
	int status = EXIT_DONE;

	for (size_t i = 0; status == EXIT_DONE && i < a->n_operands; i++)
		status = remove_hook(c, a->operands[i]);
	if (status == EXIT_DONE)
		line_stays(c);
	return status;
}
