#include "fs/cli/commands/auditlog.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/common/harmless.h"
#include "fs/cli/common/lines.h"
#include "fs/cli/common/output.h"
#include "fs/common/timefmt.h"
#include "fs/cli/commands/commands.h"

static bool wanted(const struct lines_filter *f, const json_t *record)
{
	const char *time = json_string_value(json_object_get(record, "time"));
	const char *result = json_string_value(json_object_get(record, "result"));
	const char *secret = json_string_value(json_object_get(record, "secret"));
	int64_t t;

	if (f->since_given && (!time || time_parse_rfc3339(time, &t) < 0 || t < f->since))
		return false;
	if (f->denied && (!result || strcmp(result, "deny") != 0))
		return false;
	return !f->secret || (secret && strcmp(secret, f->secret) == 0);
}

/* "alice(1000)", or the number alone. */
static void who(const json_t *caller, char *ret, size_t len)
{
	const json_t *uid = json_object_get(caller, "uid");
	const struct passwd *pw;

	if (!json_is_integer(uid)) {
		snprintf(ret, len, "coffer itself");
		return;
	}
	pw = getpwuid((uid_t)json_integer_value(uid));
	if (pw)
		snprintf(ret, len, "%s(%u)", pw->pw_name, (unsigned)json_integer_value(uid));
	else
		snprintf(ret, len, "%u", (unsigned)json_integer_value(uid));
}

/* Columns of a fixed width: the log may be long, and may still be growing. */
static void print_record(const json_t *record)
{
	const json_t *caller = json_object_get(record, "caller"), *number;
	char user[128], subject[192], *line = NULL;
	const char *secret = lines_text(record, "secret");

	who(caller, user, sizeof(user));
	number = json_object_get(record, "version");
	if (*secret && json_integer_value(number) > 0)
		snprintf(subject, sizeof(subject), "%s/%" JSON_INTEGER_FORMAT, secret, json_integer_value(number));
	else
		snprintf(subject, sizeof(subject), "%s", *secret ? secret : "-");
	if (asprintf(&line, "%-30s  %-18s  %-6s  %-24s  %-20s  %s%s%s%s%s", lines_text(record, "time"),
		     lines_text(record, "operation"), lines_text(record, "result"), subject, user,
		     lines_text(caller, "comm"), *lines_text(caller, "container") ? " " : "",
		     lines_text(caller, "container"), *lines_text(record, "detail") ? ": " : "",
		     lines_text(record, "detail")) < 0)
		return;
	make_harmless(line);
	output_trim(line);
	fputs(line, stdout);
	free(line);
	number = json_object_get(record, "count");
	if (json_integer_value(number) > 1)
		printf(" (%" JSON_INTEGER_FORMAT " times)", json_integer_value(number));
	putchar('\n');
}

static void print_header(void)
{
	printf("%-30s  %-18s  %-6s  %-24s  %-20s  %s\n", "TIME", "OPERATION", "RESULT", "SECRET/VERSION", "CALLER",
	       "PROCESS");
}

static const struct lines_file audit = {
	.name = "audit",
	.what = "the audit log",
	.none = "no records that match",
	.wanted = wanted,
	.print_header = print_header,
	.print = print_record,
};

int auditlog_each(struct cli *c, const char *word, void (*fn)(const json_t *record, void *arg), void *arg)
{
	return lines_each(c, &audit, word, fn, arg);
}

json_int_t auditlog_count(const json_t *record, char ret_first[TIME_TEXT_MAX], char ret_last[TIME_TEXT_MAX])
{
	const json_int_t count = json_integer_value(json_object_get(record, "count"));
	int64_t t;

	_Static_assert(TIME_TEXT_MAX == 40, "the widths below");
	if (sscanf(lines_text(record, "detail"), "folded, from %39[0-9TZ:.-] to %39[0-9TZ:.-]", ret_first, ret_last) !=
		    2 ||
	    time_parse_rfc3339(ret_first, &t) < 0 || time_parse_rfc3339(ret_last, &t) < 0) {
		snprintf(ret_first, TIME_TEXT_MAX, "%s", lines_text(record, "time"));
		snprintf(ret_last, TIME_TEXT_MAX, "%s", lines_text(record, "time"));
	}
	return count > 1 ? count : 1;
}

int cmd_audit(struct cli *c, const struct args *a)
{
	return lines_run(c, a, &audit, (struct lines_filter){ .denied = args_has(a, "denied") });
}
