/* Who is denied everything. */
#include "fs/cli/common/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "fs/cli/common/client.h"
#include "fs/cli/common/names.h"
#include "fs/cli/common/output.h"
#include "fs/cli/commands/commands.h"

int cmd_block(struct cli *c, const struct args *a)
{
	char principal[PRINCIPAL_TEXT_MAX];
	json_t *request, *answer = NULL;
	struct principal parsed;
	const char *hint, *text;
	int status = principal_argument(a->operands[0], &parsed, principal);

	if (status)
		return status;
	request = json_pack("{s:s, s:s, s:b}", "op", "block", "principal", principal, "force",
			    (int)args_has(a, "force"));
	client_set(request, "reason", args_value(a, "reason"));
	status = client_change(c, request, NULL, 0, &answer);
	if (status)
		return status;
	text = json_string_value(json_object_get(answer, "principal"));
	output_line("block %" JSON_INTEGER_FORMAT ": %s", json_integer_value(json_object_get(answer, "block")),
		    text ? text : principal);
	hint = json_string_value(json_object_get(answer, "hint"));
	if (hint && *hint)
		note("%s", hint);
	json_decref(answer);
	return EXIT_DONE;
}

int cmd_unblock(struct cli *c, const struct args *a)
{
	const char *given = a->operands[0], *text;
	char principal[PRINCIPAL_TEXT_MAX], *end;
	json_t *request = NULL, *answer = NULL;
	struct principal parsed;
	long long id;
	int status;

	errno = 0;
	id = strtoll(given, &end, 10);
	if (isdigit((unsigned char)*given) && !*end && !errno && id > 0) {
		request = json_pack("{s:s, s:I}", "op", "unblock", "block", (json_int_t)id);
	} else {
		status = principal_argument(given, &parsed, principal);
		if (status)
			return status;
		request = json_pack("{s:s, s:s}", "op", "unblock", "principal", principal);
	}
	status = client_change(c, request, NULL, 0, &answer);
	if (status == EXIT_DONE)
		output_line("unblocked %s",
			    (text = json_string_value(json_object_get(answer, "principal"))) ? text : given);
	json_decref(answer);
	return status;
}

int cmd_blocks(struct cli *c, const struct args *a)
{
	static const struct column columns[] = {
		{ "ID", "id" },         { "PRINCIPAL", "principal" }, { "SINCE", "created" },
		{ "BY", "created_by" }, { "REASON", "reason" },
	};
	json_t *answer = NULL;
	int status;

	(void)a;
	status = client_ask(c, json_pack("{s:s}", "op", "blocks"), &answer);
	if (status == EXIT_DONE)
		status = output_list(c, json_object_get(answer, "blocks"), columns,
				     sizeof(columns) / sizeof(columns[0]), "nobody is blocked");
	json_decref(answer);
	return status;
}
