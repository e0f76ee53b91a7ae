/* The texts of a policy: what parses must print, and what was printed must parse to the same again.
 *
 * Half of the inputs are taken as they are; in the others each byte picks a word, so that many are nearly right. */
#include "policy/policy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const words[] = { "user:", "group:", "host",    "everyone", ",",          ",",          ",",
				     "0",     "1",      "9",       "1000",     "4294967294", "4294967295", "alice",
				     "*",     "/",      "secrets", "keys",     "get",        "db-",        ".",
				     "_",     " ",      "\n",      "unit:" };

#define TEXT_MAX 4096

static void words_from(const uint8_t *data, size_t size, char *text)
{
	size_t at = 0;

	for (size_t i = 0; i < size; i++) {
		const char *w = words[data[i] % (sizeof(words) / sizeof(words[0]))];
		size_t n = strlen(w);

		if (at + n >= TEXT_MAX)
			break;
		memcpy(text + at, w, n);
		at += n;
	}
	text[at] = '\0';
}

static void must(bool condition)
{
	if (!condition)
		abort();
}

static int resolve(enum principal_kind kind, const char *name, void *arg, uint32_t *ret_id)
{
	(void)kind;
	(void)arg;
	*ret_id = (uint32_t)strlen(name);
	return 0;
}

static void principal_round(const char *text)
{
	struct principal p, again;
	char canonical[PRINCIPAL_TEXT_MAX], twice[PRINCIPAL_TEXT_MAX];

	if (principal_parse(text, resolve, NULL, &p) < 0)
		return;
	must(principal_valid(&p));
	principal_print(&p, canonical);
	must(strlen(canonical) < PRINCIPAL_TEXT_MAX);
	must(principal_parse(canonical, NULL, NULL, &again) == 0);
	must(again.n == p.n);
	for (size_t i = 0; i < p.n; i++)
		must(again.conditions[i].kind == p.conditions[i].kind && again.conditions[i].id == p.conditions[i].id);
	principal_print(&again, twice);
	must(!strcmp(canonical, twice));
}

static void scope_round(const char *text)
{
	bool name = name_valid(text), scope = scope_valid(text);
	size_t len = strlen(text);

	must(!name || scope);
	must(!scope || (len > 0 && len <= NAME_LEN_MAX));
	must(!name || (text[0] != '.' && !strpbrk(text, "/*\n")));
	must(scope_covers("*", text) == scope);
	must(scope_covers(text, text) == scope);
	must(scope_covers(text, NULL) == !strcmp(text, "*"));
}

static void action_round(const char *text)
{
	enum action a;
	action_set set;

	if (action_parse(text, &a) == 0)
		must(!strcmp(action_name(a), text));
	if (action_set_parse(text, &set) == 0)
		must(set && !(set & ~ACTION_ALL));
	must(!role_name_valid(text) || (strlen(text) < ROLE_NAME_MAX &&
					(!role_builtin_find(text) || role_builtin_find(text)->id >= ROLE_LATER_FIRST)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(TEXT_MAX);

	if (!text)
		return 0;
	if (size && data[0] & 1) {
		words_from(data + 1, size - 1, text);
	} else {
		size_t n = size < TEXT_MAX - 1 ? size : TEXT_MAX - 1;

		if (n)
			memcpy(text, data, n);
		text[n] = '\0';
	}
	/* a block of its exact size, so that ASan sees one byte too many */
	char *exact = strdup(text);
	free(text);
	if (!exact)
		return 0;
	principal_round(exact);
	scope_round(exact);
	action_round(exact);
	free(exact);
	return 0;
}
