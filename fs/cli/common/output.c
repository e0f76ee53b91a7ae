#include "fs/cli/common/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/cli/common/harmless.h"

#define GAP     2 /* blanks between columns */
#define KEY_MAX 128

void output_line(const char *format, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	if (!text) {
		fail(EXIT_ERROR, "not enough memory");
		return;
	}
	make_harmless(text);
	puts(text);
	free(text);
}

void output_served(const json_t *answer)
{
	const json_t *current = json_object_get(answer, "current");

	if (json_is_integer(current))
		printf("; current is version %" JSON_INTEGER_FORMAT "\n", json_integer_value(current));
	else
		printf("; no version is served\n");
}

void output_trim(char *line)
{
	size_t len = strlen(line);

	while (len > 0 && line[len - 1] == ' ')
		line[--len] = '\0';
}

int output_bytes(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static void put_scalar(FILE *out, const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_STRING:
		fputs(json_string_value(value), out);
		break;
	case JSON_INTEGER:
		fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		break;
	case JSON_REAL:
		fprintf(out, "%g", json_real_value(value));
		break;
	case JSON_TRUE:
		fputs("yes", out);
		break;
	case JSON_FALSE:
		fputs("no", out);
		break;
	case JSON_OBJECT:
	case JSON_ARRAY:
		json_dumpf(value, out, JSON_COMPACT);
		break;
	case JSON_NULL:
		fputc('-', out);
		break;
	}
}

static void put_value(FILE *out, const json_t *value)
{
	const char *key, *separator = "";
	json_t *item;
	size_t i;

	if (!value || ((json_is_array(value) || json_is_object(value)) &&
		       json_array_size(value) + json_object_size(value) == 0)) {
		fputc('-', out);
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, item) {
			fputs(separator, out);
			put_scalar(out, item);
			separator = " ";
		}
	} else if (json_is_object(value)) {
		void *iter;

		for (iter = json_object_iter((json_t *)(uintptr_t)value); iter;
		     iter = json_object_iter_next((json_t *)(uintptr_t)value, iter)) {
			key = json_object_iter_key(iter);
			fprintf(out, "%s%s=", separator, key);
			put_scalar(out, json_object_iter_value(iter));
			separator = " ";
		}
	} else {
		put_scalar(out, value);
	}
}

char *output_text(const json_t *value)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	put_value(out, value);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	make_harmless(text);
	return text;
}

/* Characters, not bytes: continuation bytes of UTF-8 take no place. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void put_cell(FILE *out, const char *text, size_t to, bool last)
{
	fputs(text, out);
	if (!last)
		for (size_t w = width(text); w < to + GAP; w++)
			fputc(' ', out);
}

int output_table(FILE *out, const json_t *rows, const struct column *columns, size_t n)
{
	size_t n_rows = json_array_size(rows), *widths;
	char **cells;
	int r = -ENOMEM;

	if (n_rows == 0)
		return 0;
	widths = calloc(n, sizeof(*widths));
	cells = calloc(n_rows * n, sizeof(*cells));
	if (!widths || !cells)
		goto out;
	for (size_t k = 0; k < n; k++)
		widths[k] = width(columns[k].title);
	for (size_t i = 0; i < n_rows; i++)
		for (size_t k = 0; k < n; k++) {
			char *text = output_text(json_object_get(json_array_get(rows, i), columns[k].key));

			if (!text)
				goto out;
			cells[i * n + k] = text;
			if (width(text) > widths[k])
				widths[k] = width(text);
		}
	for (size_t k = 0; k < n; k++)
		put_cell(out, columns[k].title, widths[k], k + 1 == n);
	fputc('\n', out);
	for (size_t i = 0; i < n_rows; i++) {
		for (size_t k = 0; k < n; k++)
			put_cell(out, cells[i * n + k], widths[k], k + 1 == n);
		fputc('\n', out);
	}
	r = 0;
out:
	for (size_t i = 0; cells && i < n_rows * n; i++)
		free(cells[i]);
	free(cells);
	free(widths);
	return r;
}

static int dump_json(const json_t *value)
{
	char *text = json_dumps(value, JSON_INDENT(2));

	if (!text)
		return fail(EXIT_ERROR, "not enough memory");
	put_harmless_json(stdout, text);
	putchar('\n');
	free(text);
	return EXIT_DONE;
}

int output_list(const struct cli *c, const json_t *rows, const struct column *columns, size_t n, const char *empty)
{
	if (!json_is_array(rows))
		return fail(EXIT_ERROR, "the daemon's answer has no list; are coffer and cofferd of one version?");
	if (c->output == OUTPUT_JSON)
		return dump_json(rows);
	if (json_array_size(rows) == 0)
		note("%s", empty);
	if (output_table(stdout, rows, columns, n) < 0)
		return fail(EXIT_ERROR, "not enough memory");
	return EXIT_DONE;
}

static int append_row(json_t *rows, const char *name, json_t *value)
{
	return json_array_append_new(rows, json_pack("{s:s, s:O}", "k", name, "v", value));
}

/* A list of objects: each stands on a line of its own, under the list's name. */
static int append_items(json_t *rows, const char *name, json_t *list)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (append_row(rows, i == 0 ? name : "", item) < 0)
			return -ENOMEM;
	return 0;
}

/* One row for each leaf; the vault's objects are shallow. */
static int flatten(json_t *rows, const char *prefix, json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value) {
		char name[KEY_MAX];
		int r = 0;

		snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", key);
		if (json_is_object(value) && strcmp(key, "tags") != 0 && json_object_size(value) > 0 &&
		    strlen(name) < KEY_MAX / 2)
			r = flatten(rows, name, value);
		else if (json_is_object(json_array_get(value, 0)))
			r = append_items(rows, name, value);
		else
			r = append_row(rows, name, value);
		if (r < 0)
			return r;
	}
	return 0;
}

int output_object(const struct cli *c, const json_t *object)
{
	static const struct column columns[] = { { "", "k" }, { "", "v" } };
	json_t *rows = NULL, *copy = NULL;
	int status = EXIT_ERROR;
	size_t widest = 0, i;
	json_t *row;

	if (!json_is_object(object))
		return fail(EXIT_ERROR, "the daemon's answer is not of the form that was expected; are coffer and "
					"cofferd of one version?");
	if (c->output == OUTPUT_JSON)
		return dump_json(object);
	rows = json_array();
	copy = json_deep_copy(object);
	if (!rows || !copy || flatten(rows, "", copy) < 0) {
		fail(EXIT_ERROR, "not enough memory");
		goto out;
	}
	json_array_foreach(rows, i, row) {
		size_t w = width(json_string_value(json_object_get(row, columns[0].key)));

		widest = w > widest ? w : widest;
	}
	json_array_foreach(rows, i, row) {
		char *key = output_text(json_object_get(row, columns[0].key)),
		     *text = output_text(json_object_get(row, columns[1].key));

		if (key && text) {
			put_cell(stdout, key, widest, false);
			puts(text);
		}
		free(key);
		free(text);
	}
	status = EXIT_DONE;
out:
	json_decref(copy);
	json_decref(rows);
	return status;
}
