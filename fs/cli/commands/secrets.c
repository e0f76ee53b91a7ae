#include "fs/cli/commands/secrets.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/common/client.h"
#include "fs/cli/commands/history.h"
#include "fs/cli/common/input.h"
#include "fs/cli/common/names.h"
#include "fs/cli/common/output.h"
#include "fs/common/timefmt.h"
#include "policy/scope.h"
#include "fs/cli/commands/commands.h"

#define TAG_TEXT_MAX 2049 /* 512 characters of UTF-8 and the NUL */

int version_check(const char *text, long long *ret_version)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno || *end || !isdigit((unsigned char)*text) || n < 1 || n > UINT32_MAX)
		return fail(EXIT_USAGE,
			    "\"%s\" is not a version: versions are 1, 2, 3 …; see: " COFFER " versions NAME", text);
	*ret_version = n;
	return EXIT_DONE;
}

int time_argument(const char *option, const char *given, char *ret_text)
{
	int64_t t;
	int r = time_parse(given, time_now(), &t);

	if (r == -ERANGE)
		return fail(EXIT_USAGE, "--%s %s lies beyond what a clock here can count", option, given);
	if (r < 0)
		return fail(
			EXIT_USAGE,
			"--%s \"%s\" is not a time; write 2027-01-31T12:00:00Z, or a span from now such as 90d or 12h",
			option, given);
	time_print(t, ret_text);
	return EXIT_DONE;
}

/* ---- requests ---- */

/* --expires T and its like into the request; "none" is null, where the command takes that away. */
static int set_time(json_t *request, const struct args *a, const char *option, const char *key, bool removable)
{
	const char *given = args_value(a, option);
	char text[TIME_TEXT_MAX];
	int status;

	if (!given)
		return EXIT_DONE;
	if (removable && strcmp(given, "none") == 0) {
		json_object_set_new(request, key, json_null());
		return EXIT_DONE;
	}
	status = time_argument(option, given, text);
	if (status == EXIT_DONE)
		client_set(request, key, text);
	return status;
}

static int set_tags(json_t *request, const struct args *a)
{
	json_t *tags = json_object();
	const char *given;
	int status = EXIT_USAGE;

	for (size_t i = 0; (given = args_nth(a, "tag", i)); i++) {
		const char *equals = strchr(given, '=');
		char name[TAG_TEXT_MAX];

		if (!equals || equals == given || (size_t)(equals - given) >= sizeof(name)) {
			fail(EXIT_USAGE, "--tag \"%s\" is not NAME=VALUE", given);
			goto out;
		}
		snprintf(name, sizeof(name), "%.*s", (int)(equals - given), given);
		if (json_object_set_new(tags, name, json_string(equals + 1)) < 0) {
			fail(EXIT_USAGE, "--tag \"%s\" is not UTF-8 text", given);
			goto out;
		}
	}
	for (size_t i = 0; (given = args_nth(a, "untag", i)); i++)
		if (json_object_set_new(tags, given, json_null()) < 0) {
			fail(EXIT_USAGE, "--untag \"%s\" is not UTF-8 text", given);
			goto out;
		}
	if (json_object_size(tags) > 0)
		json_object_set(request, "tags", tags);
	status = EXIT_DONE;
out:
	json_decref(tags);
	return status;
}

static int set_attributes(json_t *request, const struct args *a, bool removable)
{
	const char *type = args_value(a, "content-type");
	int status;

	if (type && removable && strcmp(type, "none") == 0)
		json_object_set_new(request, "content_type", json_null());
	else if (type && json_object_set_new(request, "content_type", json_string(type)) < 0)
		return fail(EXIT_USAGE, "--content-type \"%s\" is not UTF-8 text", type);
	status = set_time(request, a, "not-before", "not_before", removable);
	if (status == EXIT_DONE)
		status = set_time(request, a, "expires", "expires", removable);
	if (status == EXIT_DONE)
		status = set_tags(request, a);
	return status;
}

static json_int_t integer(const json_t *answer, const char *key)
{
	return json_integer_value(json_object_get(answer, key));
}

/* What the daemon thinks that is regretted later. */
static void warn(const json_t *answer)
{
	const char *hint = json_string_value(json_object_get(answer, "hint"));

	if (hint && *hint)
		note("warning: %s", hint);
}

int cmd_put(struct cli *c, const struct args *a)
{
	const char *name = a->n_operands ? a->operands[0] : "";
	struct secbuf *value = NULL;
	json_t *request = NULL, *answer = NULL;
	const struct mount *m;
	char prompt[NAME_LEN_MAX + 64];
	int status;

	if (args_has(a, "set"))
		return put_set(c, a);
	if (args_has(a, "follow") || args_has(a, "prefix"))
		return fail(EXIT_USAGE, "--follow and --prefix go with --set DIR");
	if (!a->n_operands)
		return fail(EXIT_USAGE,
			    "something is missing: put needs NAME, or --set DIR; usage: coffer put NAME [--file FILE]");
	status = secret_name_check(name);
	if (status)
		return status;
	request = json_pack("{s:s, s:s}", "op", "put", "name", name);
	status = set_attributes(request, a, false);
	if (status)
		goto out;
	/* Before anything is typed: a mount that is not there shall not cost the user a value. */
	status = cli_mount(c, &m);
	if (status)
		goto out;
	status = input_prepare(1);
	if (status)
		goto out;
	snprintf(prompt, sizeof(prompt), "Value of %s (not shown): ", name);
	status = input_value(args_value(a, "file"), prompt, &value);
	if (status)
		goto out;
	if (args_has(a, "trim") && !input_trim(value))
		note("the last newline of a key or certificate in PEM belongs to it, and stays");
	if (!args_has(a, "trim"))
		input_warn_of_newline(value);
	if (secbuf_len(value) == 0)
		note("warning: the value is empty");
	json_object_set_new(request, "value_length", json_integer((json_int_t)secbuf_len(value)));
	status = client_change(c, json_incref(request), secbuf_cdata(value), secbuf_len(value), &answer);
	if (status)
		goto out;
	printf("%s version %" JSON_INTEGER_FORMAT "\n", name, integer(answer, "version"));
	warn(answer);
out:
	json_decref(answer);
	json_decref(request);
	secbuf_free(value);
	return status;
}

/* ---- what is known of secrets ---- */

int cmd_list(struct cli *c, const struct args *a)
{
	static const struct column columns[] = {
		{ "NAME", "name" },       { "VERSION", "version" }, { "ENABLED", "enabled" },
		{ "CREATED", "created" }, { "EXPIRES", "expires" }, { "TAGS", "tags" },
	};
	static const struct column deleted_columns[] = {
		{ "NAME", "name" },   { "VERSION", "version" }, { "DELETED", "deleted" },
		{ "PURGE", "purge" }, { "TAGS", "tags" },
	};
	const bool deleted = args_has(a, "deleted");
	const json_t *list;
	json_t *answer = NULL;
	int status;

	status = client_ask(c, json_pack("{s:s, s:b}", "op", "list", "deleted", (int)deleted), &answer);
	list = json_object_get(answer, "secrets");
	if (status == EXIT_DONE && deleted)
		status = output_list(c, list, deleted_columns, sizeof(deleted_columns) / sizeof(deleted_columns[0]),
				     "no deleted secrets that you may list");
	else if (status == EXIT_DONE)
		status = output_list(c, list, columns, sizeof(columns) / sizeof(columns[0]),
				     "no secrets that you may list; see: " COFFER " whoami");
	json_decref(answer);
	return status;
}

int cmd_show(struct cli *c, const struct args *a)
{
	json_t *answer = NULL;
	int status = secret_name_check(a->operands[0]);

	if (status)
		return status;
	status = client_ask(c, json_pack("{s:s, s:s}", "op", "show", "name", a->operands[0]), &answer);
	if (status == EXIT_DONE)
		status = output_object(c, json_object_get(answer, "secret"));
	json_decref(answer);
	return status;
}

int cmd_versions(struct cli *c, const struct args *a)
{
	static const struct column columns[] = {
		{ "VERSION", "version" },     { "ENABLED", "enabled" },       { "SIZE", "size" },
		{ "CREATED", "created" },     { "NOT BEFORE", "not_before" }, { "EXPIRES", "expires" },
		{ "DESTROYED", "destroyed" },
	};
	json_t *answer = NULL;
	int status = secret_name_check(a->operands[0]);

	if (status)
		return status;
	status = client_ask(c, json_pack("{s:s, s:s}", "op", "versions", "name", a->operands[0]), &answer);
	if (status == EXIT_DONE)
		status = output_list(c, json_object_get(answer, "versions"), columns,
				     sizeof(columns) / sizeof(columns[0]),
				     "no versions yet; " COFFER " put makes the first");
	json_decref(answer);
	return status;
}

/* ---- changes without a value ---- */

/* A request on NAME with --version, if it is given. EXIT_DONE, or with the error printed. */
static int versioned_request(const char *op, const struct args *a, json_t **ret_request)
{
	const char *version = args_value(a, "version");
	long long number = 0;
	json_t *request;
	int status = secret_name_check(a->operands[0]);

	if (status == EXIT_DONE && version)
		status = version_check(version, &number);
	if (status)
		return status;
	request = json_pack("{s:s, s:s}", "op", op, "name", a->operands[0]);
	if (request && version)
		json_object_set_new(request, "version", json_integer(number));
	*ret_request = request;
	return EXIT_DONE;
}

int cmd_attr(struct cli *c, const struct args *a)
{
	json_t *request = NULL, *answer = NULL;
	int status = versioned_request("attr", a, &request);

	if (status)
		return status;
	status = set_attributes(request, a, true);
	if (status == EXIT_DONE && history_given(a)) {
		status = history_set(c, a, a->operands[0]);
		if (status || json_object_size(request) == 2u + args_has(a, "version"))
			goto out;
	}
	/* op and name, and perhaps version, stand in it already. */
	if (status == EXIT_DONE && json_object_size(request) == 2u + args_has(a, "version"))
		status = fail(EXIT_USAGE, "nothing to change: give --content-type, --not-before, --expires, --tag, "
					  "--untag, --keep-versions or --keep-for");
	if (status == EXIT_DONE)
		status = client_change(c, json_incref(request), NULL, 0, &answer);
	if (status == EXIT_DONE) {
		printf("%s version %" JSON_INTEGER_FORMAT " updated\n", a->operands[0], integer(answer, "version"));
		warn(answer);
	}
out:
	json_decref(answer);
	json_decref(request);
	return status;
}

static int switch_on_or_off(struct cli *c, const struct args *a, const char *op)
{
	json_t *request = NULL, *answer = NULL;
	int status = versioned_request(op, a, &request);

	if (status)
		return status;
	status = client_change(c, request, NULL, 0, &answer);
	if (status)
		return status;
	printf("%s", a->operands[0]);
	if (args_has(a, "version"))
		printf(" version %s", args_value(a, "version"));
	printf(" %s", json_is_true(json_object_get(answer, "enabled")) ? "enabled" : "disabled");
	output_served(answer);
	json_decref(answer);
	return EXIT_DONE;
}

int cmd_enable(struct cli *c, const struct args *a) { return switch_on_or_off(c, a, "enable"); }

int cmd_disable(struct cli *c, const struct args *a) { return switch_on_or_off(c, a, "disable"); }

int cmd_rollback(struct cli *c, const struct args *a)
{
	const char *name = a->operands[0];
	json_t *answer = NULL;
	long long version;
	int status = secret_name_check(name);

	if (status == EXIT_DONE)
		status = version_check(a->operands[1], &version);
	if (status)
		return status;
	status = client_change(
		c, json_pack("{s:s, s:s, s:I}", "op", "rollback", "name", name, "version", (json_int_t)version), NULL,
		0, &answer);
	if (status == EXIT_DONE)
		printf("%s version %" JSON_INTEGER_FORMAT " (the content of version %lld)\n", name,
		       integer(answer, "version"), version);
	json_decref(answer);
	return status;
}
