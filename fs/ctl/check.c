#include <errno.h>
#include <string.h>

#include "fs/ctl/internal.h"
#include "policy/policy.h"
#include "policy/scope.h"
#include "store/keys/envelope.h"
#include "store/objects/stages.h"

const char *ctl_string(const struct ctl *c, const char *field)
{
	return json_string_value(json_object_get(c->in, field));
}

bool ctl_text_clean(const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f || (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)) /* C0, DEL, C1 */
			return false;
	return true;
}

int ctl_check_name(struct ctl *c, const char *field, const char **ret_name)
{
	const char *name = ctl_string(c, field);

	if (!name_valid(name)) {
		ctl_hint(c,
			 "a name is a letter or digit, then letters, digits, dots, underscores or hyphens: at most %d "
			 "bytes",
			 NAME_LEN_MAX);
		return ctl_fail(c, EINVAL, "%s: \"%.130s\" is not a secret's name", field, name);
	}
	*ret_name = name;
	return 0;
}

int ctl_check_scope(struct ctl *c, const char *field, const char **ret_scope)
{
	const char *scope = ctl_string(c, field);

	if (!scope_valid(scope)) {
		ctl_hint(c, "a scope is a secret's name, a prefix and a star (db-*), or * for the whole vault");
		return ctl_fail(c, EINVAL, "%s: \"%.130s\" is not a scope", field, scope);
	}
	*ret_scope = scope;
	return 0;
}

int ctl_check_version(struct ctl *c, uint32_t *ret_version)
{
	const json_t *v = json_object_get(c->in, "version");
	json_int_t n = json_integer_value(v);

	if (!v || json_is_null(v)) {
		*ret_version = 0;
		return 0;
	}
	if (n < 1 || n > UINT32_MAX)
		return ctl_fail(c, EINVAL, "version: versions are numbered from 1 on");
	*ret_version = (uint32_t)n;
	return 0;
}

int ctl_check_time(struct ctl *c, const char *field, int64_t none, int64_t *ret_ns, bool *ret_given)
{
	const json_t *v = json_object_get(c->in, field);
	int64_t ns = none;
	int r;

	if (json_is_string(v)) {
		r = time_parse(json_string_value(v), c->now, &ns);
		if (r == -ERANGE)
			return ctl_fail(c, EINVAL, "%s: \"%.64s\" is too far away: times end in the year 2262", field,
					json_string_value(v));
		if (r < 0) {
			ctl_hint(c,
				 "write RFC 3339 with an offset (2027-01-31T12:00:00Z), or a span from now (90d, 12h)");
			return ctl_fail(c, EINVAL, "%s: \"%.64s\" is not a time", field, json_string_value(v));
		}
	}
	*ret_ns = ns;
	*ret_given = v != NULL;
	return 0;
}

int ctl_from_hex(const char *text, uint8_t *ret, size_t n)
{
	if (!text || strlen(text) != 2 * n)
		return -EINVAL;
	for (size_t i = 0; i < 2 * n; i++) {
		char ch = text[i];
		int digit = ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
		if (digit < 0)
			return -EINVAL;
		ret[i / 2] = (uint8_t)(i % 2 ? ret[i / 2] | digit : digit << 4);
	}
	return 0;
}

int ctl_check_hex(struct ctl *c, const char *field, uint8_t *ret, size_t n)
{
	return ctl_from_hex(ctl_string(c, field), ret, n) == 0
		       ? 0
		       : ctl_fail(c, EINVAL, "%s: %zu lower-case hex digits are expected", field, 2 * n);
}
