#include "policy/principal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "policy/condition.h"

#define NAME_MAX_BYTES 256        /* LOGIN_NAME_MAX, with the NUL: the longest name that is handed to resolve */
#define ID_NONE        UINT32_MAX /* (uid_t)-1: "no id" to the kernel; nobody has it, so nothing may be bound to it */

/* The canonical order: what narrows most comes first. */
static int rank(enum principal_kind kind)
{
	const struct condition_kind *k = condition_kind(kind);

	return k ? k->rank : 0;
}

static bool has_id(enum principal_kind kind)
{
	const struct condition_kind *k = condition_kind(kind);

	return k && k->has_id;
}

static int condition_cmp(const struct principal_condition *a, const struct principal_condition *b)
{
	if (rank(a->kind) != rank(b->kind))
		return rank(a->kind) < rank(b->kind) ? -1 : 1;
	if (!has_id(a->kind) || a->id == b->id)
		return 0;
	return a->id < b->id ? -1 : 1;
}

static void sort_conditions(struct principal *p)
{
	for (size_t i = 1; i < p->n; i++) {
		struct principal_condition c = p->conditions[i];
		size_t j = i;

		for (; j > 0 && condition_cmp(&c, &p->conditions[j - 1]) < 0; j--)
			p->conditions[j] = p->conditions[j - 1];
		p->conditions[j] = c;
	}
}

bool principal_valid(const struct principal *p)
{
	if (p->n == 0 || p->n > PRINCIPAL_CONDITIONS)
		return false;
	for (size_t i = 0; i < p->n; i++) {
		const struct principal_condition *c = &p->conditions[i];

		if (!rank(c->kind) || (has_id(c->kind) ? c->id == ID_NONE : c->id != 0))
			return false;
		for (size_t j = 0; j < i; j++)
			if (!condition_cmp(c, &p->conditions[j]) ||
			    (c->kind == p->conditions[j].kind && condition_kind(c->kind)->once))
				return false;
	}
	return true;
}

/* A number in the one form that print gives: no sign, no leading zero, which others read as octal. */
static int parse_number(const char *digits, uint32_t *ret_id)
{
	uint64_t v = 0;
	size_t n = strlen(digits);

	if (n == 0 || n > 10 || (digits[0] == '0' && n > 1))
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		v = v * 10 + (uint64_t)(digits[i] - '0');
	if (v >= ID_NONE)
		return -EINVAL;
	*ret_id = (uint32_t)v;
	return 0;
}

static int parse_id(enum principal_kind kind, const char *text, size_t len, principal_resolve_fn resolve, void *arg,
		    uint32_t *ret_id)
{
	char name[NAME_MAX_BYTES];
	uint32_t id;

	if (len == 0 || len >= sizeof(name))
		return -EINVAL;
	memcpy(name, text, len);
	name[len] = '\0';
	if (strspn(name, "0123456789") == len)
		return parse_number(name, ret_id);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
			return -EINVAL;
	if (!resolve)
		return -EINVAL;
	int r = resolve(kind, name, arg, &id);
	if (r < 0)
		return r;
	if (id == ID_NONE)
		return -EINVAL;
	*ret_id = id;
	return 0;
}

static int parse_condition(const char *text, size_t len, principal_resolve_fn resolve, void *arg,
			   struct principal_condition *ret)
{
	for (enum principal_kind kind = PRINCIPAL_NONE + 1; kind < PRINCIPAL_KINDS; kind++) {
		const struct condition_kind *k = condition_kind(kind);
		size_t n = k ? strlen(k->word) : 0;

		if (!k || len < n || memcmp(text, k->word, n) != 0)
			continue;
		ret->kind = kind;
		ret->id = 0;
		if (k->has_id)
			return parse_id(kind, text + n, len - n, resolve, arg, &ret->id);
		return len == n ? 0 : -EINVAL;
	}
	return -EINVAL;
}

int principal_parse(const char *text, principal_resolve_fn resolve, void *arg, struct principal *ret_principal)
{
	struct principal p = { 0 };

	for (const char *at = text;; at++) {
		size_t len = strcspn(at, ",");

		if (p.n == PRINCIPAL_CONDITIONS)
			return -EINVAL;
		int r = parse_condition(at, len, resolve, arg, &p.conditions[p.n]);
		if (r < 0)
			return r;
		p.n++;
		at += len;
		if (*at == '\0')
			break;
	}
	if (!principal_valid(&p))
		return -EINVAL;
	sort_conditions(&p);
	*ret_principal = p;
	return 0;
}

/* Text and number, without printf: each record of an open has one. */
static char *put_condition(char *to, const struct principal_condition *c)
{
	const struct condition_kind *k = condition_kind(c->kind);
	const char *word = k ? k->word : "nobody";
	const size_t len = strlen(word);
	char digits[10];
	size_t n = sizeof digits;

	memcpy(to, word, len);
	to += len;
	if (!k || !k->has_id)
		return to;
	uint32_t id = c->id;
	do {
		digits[--n] = (char)('0' + id % 10);
		id /= 10;
	} while (id);
	memcpy(to, digits + n, sizeof digits - n);
	return to + sizeof digits - n;
}
_Static_assert(PRINCIPAL_CONDITIONS * 17 < PRINCIPAL_TEXT_MAX, "eight times \",group:4294967295\" fits");

void principal_print(const struct principal *p, char ret_text[PRINCIPAL_TEXT_MAX])
{
	struct principal sorted = *p;
	char *to = ret_text;

	if (sorted.n > PRINCIPAL_CONDITIONS)
		sorted.n = 0;
	sort_conditions(&sorted);
	for (size_t i = 0; i < sorted.n; i++) {
		if (i)
			*to++ = ',';
		to = put_condition(to, &sorted.conditions[i]);
	}
	*to = '\0';
}

static bool condition_holds(const struct principal_condition *c, const struct policy_caller *caller)
{
	const struct condition_kind *k = condition_kind(c->kind);

	return k && k->holds(caller, c->id);
}

bool principal_match(const struct principal *p, const struct policy_caller *caller)
{
	if (p->n == 0 || p->n > PRINCIPAL_CONDITIONS)
		return false;
	for (size_t i = 0; i < p->n; i++)
		if (!condition_holds(&p->conditions[i], caller))
			return false;
	return true;
}
