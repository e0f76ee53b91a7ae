/* What is printed on stdout: tables for people, JSON for programs. Never a secret's value: those go out by write(2). */
#ifndef COFFER_FS_CLI_COMMON_OUTPUT_H
#define COFFER_FS_CLI_COMMON_OUTPUT_H

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

#include "fs/cli/common/cli.h"

struct column {
	const char *title, *key;
};

/* Prints rows (an array of objects) with aligned columns. Of an empty table only the header would be left: nothing is
 * printed. */
int output_table(FILE *out, const json_t *rows, const struct column *columns, size_t n);

/* A list as the user asked for it; an empty one says `empty` on stderr. Returns the exit status. */
int output_list(const struct cli *c, const json_t *rows, const struct column *columns, size_t n, const char *empty);

/* One object: "key  value" lines, with nested names joined by dots, or JSON. */
int output_object(const struct cli *c, const json_t *object);

/* Text of one value for a table (malloc'd; NULL: no memory): null is "-", an array its items, an object k=v. Bytes that
 * a terminal would obey are replaced. */
char *output_text(const json_t *value);

/* printf of one line, made harmless (fs/cli/common/harmless.h), with its newline: for whatever the daemon, or a file,
 * says. */
void output_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends a line with what the answer says of current: "; current is version 3", or that nothing is served. */
void output_served(const json_t *answer);

/* Takes the blanks off the end, in place: a last column that is padded, or empty. */
void output_trim(char *line);

/* Writes bytes with write(2): 0 or negative errno. */
int output_bytes(int fd, const void *data, size_t len);

#endif
