/* How much of secrets' history is kept: coffer history, and the options of attr and vault set. */
#include "fs/cli/commands/history.h"

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
#include "policy/scope.h"
#include "store/core/rules_table.h"
#include "fs/cli/commands/commands.h"

static int scope_argument(const char *scope)
{
	if (scope_valid(scope))
		return EXIT_DONE;
	return fail(
		EXIT_USAGE,
		"\"%.140s\" is not a scope: a secret's name, a prefix such as \"db-*\", or \"*\" for the whole vault",
		scope);
}

static int add_versions(json_t *request, const char *given)
{
	char *end;
	long n;

	if (!given)
		return EXIT_DONE;
	errno = 0;
	n = strcmp(given, "none") ? strtol(given, &end, 10) : 0;
	if (strcmp(given, "none") &&
	    (errno || *end || given[0] < '0' || given[0] > '9' || n < 1 || n > (long)HISTORY_VERSIONS_MAX))
		return fail(EXIT_USAGE, "--keep-versions %.64s: 1 to %u, or none", given, HISTORY_VERSIONS_MAX);
	json_object_set_new(request, "keep_versions", json_integer(n));
	return EXIT_DONE;
}

static int add_span(json_t *request, const char *given)
{
	int64_t span;

	if (given && strcmp(given, "none") &&
	    (time_parse_span(given, &span) < 0 || span < HISTORY_SPAN_LEAST || span > HISTORY_SPAN_MAX))
		return fail(EXIT_USAGE, "--keep-for %.64s: a span of time is expected, such as 90d or 12w, or none",
			    given);
	client_set(request, "keep_for", given);
	return EXIT_DONE;
}

static void print_set(const json_t *answer)
{
	const json_t *versions = json_object_get(answer, "keep_versions");
	const char *span = json_string_value(json_object_get(answer, "keep_for")),
		   *scope = json_string_value(json_object_get(answer, "scope"));
	char number[32] = "";

	if (json_is_integer(versions))
		snprintf(number, sizeof(number), "the newest %" JSON_INTEGER_FORMAT " versions",
			 json_integer_value(versions));
	output_line("history rule %" JSON_INTEGER_FORMAT " on %s keeps %s%s%s%s",
		    json_integer_value(json_object_get(answer, "history")), scope ? scope : "?", number,
		    *number && span ? ", and " : "", span ? "what was replaced in the last " : "", span ? span : "");
	if (*number && !span)
		note("warning: whoever may set a secret can push its older versions out by setting it again and again; "
		     "--keep-for is a promise against that");
	if (json_is_true(json_object_get(answer, "purge_protection")))
		note("purge protection is on: while it is, nothing is destroyed");
}

bool history_given(const struct args *a) { return args_has(a, "keep-versions") || args_has(a, "keep-for"); }

int history_set(struct cli *c, const struct args *a, const char *scope)
{
	json_t *request = json_pack("{s:s, s:s}", "op", "history-set", "on", scope), *answer = NULL;
	int status = add_versions(request, args_value(a, "keep-versions"));

	if (status == EXIT_DONE)
		status = add_span(request, args_value(a, "keep-for"));
	if (status == EXIT_DONE)
		status = confirm(
			a, "Older versions that the rule on %s does not keep are destroyed for ever, now and later.",
			scope);
	if (status == EXIT_DONE)
		status = client_change(c, json_incref(request), NULL, 0, &answer);
	if (status == EXIT_DONE)
		print_set(answer);
	json_decref(answer);
	json_decref(request);
	return status;
}

int cmd_history_set(struct cli *c, const struct args *a)
{
	int status = scope_argument(a->operands[0]);

	if (status == EXIT_DONE && !history_given(a))
		status = fail(EXIT_USAGE, "nothing to set; give --keep-versions N, --keep-for SPAN, or both");
	return status ? status : history_set(c, a, a->operands[0]);
}

static int print_histories(struct cli *c, json_t *request, const char *empty)
{
	static const struct column columns[] = {
		{ "ID", "id" },
		{ "SCOPE", "scope" },
		{ "KEEP VERSIONS", "keep_versions" },
		{ "KEEP FOR", "keep_for" },
		{ "BY", "created_by" },
		{ "CREATED", "created" },
	};
	json_t *answer = NULL;
	int status = client_ask(c, request, &answer);

	if (status == EXIT_DONE)
		status = output_list(c, json_object_get(answer, "histories"), columns,
				     sizeof(columns) / sizeof(columns[0]), empty);
	json_decref(answer);
	return status;
}

int cmd_history_list(struct cli *c, const struct args *a)
{
	(void)a;
	return print_histories(c, json_pack("{s:s}", "op", "histories"),
			       "no history rules that you may see: every version is kept");
}

int cmd_history_show(struct cli *c, const struct args *a)
{
	int status = secret_name_check(a->operands[0]);

	return status ? status
		      : print_histories(c, json_pack("{s:s, s:s}", "op", "histories", "name", a->operands[0]),
					"no history rule covers it: every version is kept");
}

int cmd_history_remove(struct cli *c, const struct args *a)
{
	json_t *answer = NULL;
	int status = scope_argument(a->operands[0]);

	if (status == EXIT_DONE)
		status = client_change(c, json_pack("{s:s, s:s}", "op", "history-remove", "on", a->operands[0]), NULL,
				       0, &answer);
	if (status == EXIT_DONE)
		printf("removed the history rule on %s\n", a->operands[0]);
	json_decref(answer);
	return status;
}
