#include "fs/cli/common/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/common/harmless.h"
#include "fs/cli/common/lines.h"
#include "fs/cli/common/output.h"
#include "fs/common/timefmt.h"
#include "fs/cli/commands/commands.h"

static bool wanted(const struct lines_filter *f, const json_t *event)
{
	int64_t t;

	if (f->since_given && (time_parse_rfc3339(lines_text(event, "time"), &t) < 0 || t < f->since))
		return false;
	return !f->secret || !strcmp(lines_text(event, "name"), f->secret);
}

static void print_header(void) { printf("%-30s  %-18s  %-32s  %s\n", "TIME", "EVENT", "NAME/VERSION", "DETAIL"); }

static void print(const json_t *event)
{
	json_int_t version = json_integer_value(json_object_get(event, "version"));
	char subject[192], *line = NULL;

	if (version > 0)
		snprintf(subject, sizeof(subject), "%s/%" JSON_INTEGER_FORMAT, lines_text(event, "name"), version);
	else
		snprintf(subject, sizeof(subject), "%s", lines_text(event, "name"));
	if (asprintf(&line, "%-30s  %-18s  %-32s  %s", lines_text(event, "time"), lines_text(event, "event"), subject,
		     lines_text(event, "detail")) < 0)
		return;
	make_harmless(line);
	output_trim(line);
	puts(line);
	free(line);
}

int cmd_events(struct cli *c, const struct args *a)
{
	static const struct lines_file events = {
		.name = "events",
		.what = "the events",
		.none = "no events that match",
		.wanted = wanted,
		.print_header = print_header,
		.print = print,
	};

	return lines_run(c, a, &events, (struct lines_filter){ 0 });
}
