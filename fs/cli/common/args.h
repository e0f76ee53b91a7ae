/* Options of one command, from a table. Pure: nothing is printed, nothing is read.
 *
 * Options and operands may be mixed, as with GNU getopt; "--" ends the options. A value follows its option or an equals
 * sign
 * ("--file F", "--file=F", "-m DIR"). Strings are borrowed from argv. */
#ifndef COFFER_FS_CLI_COMMON_ARGS_H
#define COFFER_FS_CLI_COMMON_ARGS_H

#include <stdbool.h>
#include <stddef.h>

struct option_spec {
	const char *name;  /* without its dashes; NULL ends a table */
	const char *value; /* what the value is called in --help; NULL: a flag */
	const char *help;
	char letter; /* short form, 0: none */
	bool many;   /* may be given more than once */
	bool grave;  /* lifts a guard, or cannot be undone: never proposed for another word */
};

struct given {
	const struct option_spec *spec;
	const char *value;
};

struct args {
	const char **operands;
	size_t n_operands;
	struct given *given;
	size_t n_given;
	size_t used; /* words taken: all, but for args_parse_leading */
};

/* Parses every word of argv against the tables (NULL ends the list of tables). 0; -EINVAL with one line in why;
 * -ENOMEM. Free with args_free. */
int args_parse(size_t argc, char *const *argv, const struct option_spec *const *tables, struct args *ret_args,
	       char *why, size_t why_len);
/* The same, but stops before the first operand. */
int args_parse_leading(size_t argc, char *const *argv, const struct option_spec *const *tables, struct args *ret_args,
		       char *why, size_t why_len);
void args_free(struct args *a); /* accepts a zeroed one */

bool args_has(const struct args *a, const char *name);
/* The value of an option, or NULL when it was not given. */
const char *args_value(const struct args *a, const char *name);
/* The i-th value of an option that may be given more than once, or NULL. */
const char *args_nth(const struct args *a, const char *name, size_t i);

/* How many edits lie between two words: for "did you mean". At most 32 bytes of each are looked at. */
unsigned args_distance(const char *a, const char *b);

#endif
