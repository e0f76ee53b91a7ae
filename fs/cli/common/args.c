#include "fs/cli/common/args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISTANCE_MAX 32

static const struct option_spec *find_long(const struct option_spec *const *tables, const char *name, size_t len)
{
	for (; *tables; tables++)
		for (const struct option_spec *o = *tables; o->name; o++)
			if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
				return o;
	return NULL;
}

static const struct option_spec *find_short(const struct option_spec *const *tables, char letter)
{
	for (; *tables; tables++)
		for (const struct option_spec *o = *tables; o->name; o++)
			if (o->letter && o->letter == letter)
				return o;
	return NULL;
}

static void unknown(const struct option_spec *const *tables, const char *word, char *why, size_t why_len)
{
	const char *best = NULL;
	unsigned nearest = 3;
	char bare[64];

	snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(word, "="), word);
	for (; *tables; tables++)
		for (const struct option_spec *o = *tables; o->name; o++) {
			unsigned d = args_distance(bare + strspn(bare, "-"), o->name);

			/* those that lift a guard are never proposed */
			if (d < nearest && !o->grave) {
				nearest = d;
				best = o->name;
			}
		}
	if (best)
		snprintf(why, why_len, "unknown option %s; did you mean --%s?", bare, best);
	else
		snprintf(why, why_len, "unknown option %s", bare);
}

/* One option word. *i moves over a value that stands in a word of its own. */
static int take_option(size_t argc, char *const *argv, size_t *i, const struct option_spec *const *tables,
		       struct args *a, char *why, size_t why_len)
{
	const char *word = argv[*i], *value = NULL;
	const struct option_spec *o;

	if (word[1] == '-') {
		size_t len = strcspn(word + 2, "=");

		o = find_long(tables, word + 2, len);
		if (word[2 + len] == '=')
			value = word + 2 + len + 1;
	} else {
		o = find_short(tables, word[1]);
		if (o && word[2]) {
			if (!o->value) {
				snprintf(why, why_len, "option -%c stands alone, not in %s", o->letter, word);
				return -EINVAL;
			}
			value = word + 2;
		}
	}
	if (!o) {
		unknown(tables, word, why, why_len);
		return -EINVAL;
	}
	if (!o->value && value) {
		snprintf(why, why_len, "option --%s takes no value", o->name);
		return -EINVAL;
	}
	if (o->value && !value) {
		if (*i + 1 >= argc) {
			snprintf(why, why_len, "option --%s needs a value: --%s %s", o->name, o->name, o->value);
			return -EINVAL;
		}
		value = argv[++*i];
	}
	if (!o->many && o->value && args_has(a, o->name)) {
		snprintf(why, why_len, "option --%s is given twice", o->name);
		return -EINVAL;
	}
	a->given[a->n_given++] = (struct given){ .spec = o, .value = value };
	return 0;
}

static int parse(size_t argc, char *const *argv, const struct option_spec *const *tables, bool leading,
		 struct args *ret_args, char *why, size_t why_len)
{
	struct args a = { 0 };
	bool options = true;
	int r = -ENOMEM;
	size_t i;

	a.operands = calloc(argc + 1, sizeof(*a.operands));
	a.given = calloc(argc + 1, sizeof(*a.given));
	if (!a.operands || !a.given) {
		snprintf(why, why_len, "not enough memory");
		goto out;
	}
	for (i = 0; i < argc; i++) {
		if (options && strcmp(argv[i], "--") == 0) {
			options = false;
			continue;
		}
		/* A dash alone is an operand: standard input, by custom. */
		if (options && argv[i][0] == '-' && argv[i][1]) {
			r = take_option(argc, argv, &i, tables, &a, why, why_len);
			if (r < 0)
				goto out;
			continue;
		}
		if (leading)
			break;
		a.operands[a.n_operands++] = argv[i];
	}
	a.used = i;
	*ret_args = a;
	return 0;
out:
	args_free(&a);
	return r;
}

int args_parse(size_t argc, char *const *argv, const struct option_spec *const *tables, struct args *ret_args,
	       char *why, size_t why_len)
{
	return parse(argc, argv, tables, false, ret_args, why, why_len);
}

int args_parse_leading(size_t argc, char *const *argv, const struct option_spec *const *tables, struct args *ret_args,
		       char *why, size_t why_len)
{
	return parse(argc, argv, tables, true, ret_args, why, why_len);
}

void args_free(struct args *a)
{
	free(a->operands);
	free(a->given);
	*a = (struct args){ 0 };
}

const char *args_nth(const struct args *a, const char *name, size_t i)
{
	for (size_t k = 0; k < a->n_given; k++)
		if (strcmp(a->given[k].spec->name, name) == 0 && i-- == 0)
			return a->given[k].value;
	return NULL;
}

const char *args_value(const struct args *a, const char *name) { return args_nth(a, name, 0); }

bool args_has(const struct args *a, const char *name)
{
	for (size_t k = 0; k < a->n_given; k++)
		if (strcmp(a->given[k].spec->name, name) == 0)
			return true;
	return false;
}

/* Levenshtein's distance, one row at a time. */
unsigned args_distance(const char *a, const char *b)
{
	size_t la = strnlen(a, DISTANCE_MAX), lb = strnlen(b, DISTANCE_MAX);
	unsigned row[DISTANCE_MAX + 1];

	for (size_t j = 0; j <= lb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}
