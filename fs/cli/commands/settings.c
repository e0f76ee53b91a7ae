/* The settings of a vault: coffer vault show, coffer vault set. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/common/cli.h"
#include "fs/cli/common/client.h"
#include "fs/cli/commands/history.h"
#include "fs/cli/common/output.h"
#include "fs/common/sizefmt.h"
#include "store/core/rules_table.h"
#include "store/keys/envelope.h"
#include "fs/cli/commands/commands.h"

/* A setting that got lost on the way would be half of what was asked for. Takes value. */
static int add(json_t *request, const char *field, json_t *value)
{
	return json_object_set_new(request, field, value) == 0 ? EXIT_DONE : fail(EXIT_ERROR, "not enough memory");
}

static int add_value_max(const char *given, json_t *request)
{
	uint64_t size = 0;

	if (!given)
		return EXIT_DONE;
	if (size_parse(given, &size) < 0 || size < 1 || size > VALUE_MAX)
		return fail(EXIT_USAGE, "--value-max %s: the longest value is 1 to %u bytes, such as 65536, 64K or 1M",
			    given, VALUE_MAX);
	return add(request, "value_max", json_integer((json_int_t)size));
}

static int add_days(const char *given, json_t *request)
{
	char *end;
	long days;

	if (!given)
		return EXIT_DONE;
	days = strtol(given, &end, 10);
	if (*end || given[0] < '0' || given[0] > '9' || days < 1 || days > NEAR_EXPIRY_DAYS_MAX)
		return fail(EXIT_USAGE, "--near-expiry %s: 1 to %d days", given, NEAR_EXPIRY_DAYS_MAX);
	return add(request, "near_expiry_days", json_integer(days));
}

static int add_switch(const struct args *a, const char *option, const char *field, json_t *request)
{
	const char *given = args_value(a, option);

	if (!given)
		return EXIT_DONE;
	if (strcmp(given, "on") != 0 && strcmp(given, "off") != 0)
		return fail(EXIT_USAGE, "--%s %s: there are on and off", option, given);
	return add(request, field, json_boolean(strcmp(given, "on") == 0));
}

int cmd_vault_set(struct cli *c, const struct args *a)
{
	json_t *request, *answer = NULL;
	int status;

	if (history_given(a)) {
		status = history_set(c, a, "*");
		if (status || (!args_value(a, "value-max") && !args_value(a, "enforce-validity") &&
			       !args_value(a, "purge-protection") && !args_value(a, "near-expiry")))
			return status;
	}
	if (!args_value(a, "value-max") && !args_value(a, "enforce-validity") && !args_value(a, "purge-protection") &&
	    !args_value(a, "near-expiry"))
		return fail(EXIT_USAGE,
			    "nothing to set; name a setting: --value-max SIZE, --enforce-validity on|off, "
			    "--purge-protection on, --near-expiry DAYS, --keep-versions N or --keep-for SPAN");
	request = json_pack("{s:s}", "op", "vault");
	status = add_value_max(args_value(a, "value-max"), request);
	if (status == EXIT_DONE)
		status = add_days(args_value(a, "near-expiry"), request);
	if (status == EXIT_DONE)
		status = add_switch(a, "enforce-validity", "enforce_validity", request);
	if (status == EXIT_DONE)
		status = add_switch(a, "purge-protection", "purge_protection", request);
	if (status == EXIT_DONE && json_is_true(json_object_get(request, "purge_protection")))
		status = confirm(a, PURGE_PROTECTION_ASKED);
	if (status) {
		json_decref(request);
		return status;
	}
	status = client_change(c, request, NULL, 0, &answer);
	if (status)
		return status;
	json_object_del(answer, "ok");
	status = output_object(c, answer);
	json_decref(answer);
	return status;
}

int cmd_vault_show(struct cli *c, const struct args *a)
{
	json_t *answer = NULL;
	const json_t *settings;
	int status = client_ask(c, json_pack("{s:s}", "op", "status"), &answer);

	(void)a;
	if (status)
		return status;
	settings = json_object_get(answer, "settings");
	status = json_is_null(settings)
			 ? fail(EXIT_UNAVAILABLE, "the vault is sealed, and its settings with it; as root: %s unseal",
				mount_command(c->mount.path))
			 : output_object(c, settings);
	json_decref(answer);
	return status;
}
