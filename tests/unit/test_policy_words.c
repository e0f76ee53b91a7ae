/* The texts of a policy: actions, principals, scopes, roles. */
#include "policy/policy.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- actions ---- */

START_TEST(every_action_parses_as_it_prints)
{
	for (unsigned i = 0; i < ACTION_COUNT; i++) {
		enum action a = ACTION_COUNT;

		ck_assert_int_eq(action_parse(action_name((enum action)i), &a), 0);
		ck_assert_uint_eq(a, i);
	}
}
END_TEST

START_TEST(action_numbers_and_names_belong_together)
{
	ck_assert_str_eq(action_name(ACTION_SECRETS_GET), "secrets/get");
	ck_assert_str_eq(action_name(ACTION_KEYS_UNWRAP), "keys/unwrap");
	ck_assert_str_eq(action_name(ACTION_CERTIFICATES_PURGE), "certificates/purge");
	ck_assert_str_eq(action_name(ACTION_AUDIT_READ), "audit/read");
	ck_assert_str_eq(action_name(ACTION_COUNT), "unknown");
}
END_TEST

START_TEST(refuses_what_is_no_action)
{
	static const char *const bad[] = { "",           "secrets",     "secrets/",     "/get",         "secrets/gets",
					   "secrets/ge", "Secrets/get", " secrets/get", "secrets/get ", "secrets/*",
					   "*",          "unknown" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		enum action a = ACTION_AUDIT_READ;

		ck_assert_msg(action_parse(bad[i], &a) == -EINVAL, "\"%s\"", bad[i]);
		ck_assert_uint_eq(a, ACTION_AUDIT_READ);
	}
}
END_TEST

START_TEST(a_star_stands_for_every_verb_of_a_noun)
{
	static const struct {
		const char *text;
		int count;
	} rows[] = { { "secrets/*", 9 }, { "keys/*", 16 }, { "certificates/*", 9 }, { "bindings/*", 3 },
		     { "roles/*", 1 },   { "vault/*", 4 }, { "audit/*", 1 },        { "secrets/purge", 1 } };
	action_set all = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		action_set s = 0;

		ck_assert_int_eq(action_set_parse(rows[i].text, &s), 0);
		ck_assert_msg(__builtin_popcountll(s) == rows[i].count, "%s", rows[i].text);
		all |= s;
	}
	ck_assert_uint_eq(all, ACTION_ALL);
}
END_TEST

START_TEST(refuses_stars_in_other_places)
{
	static const char *const bad[] = { "*",        "*/*",        "/*",         "secrets*", "secrets/g*",
					   "secret/*", "secrets/**", "secrets/*x", "*/get",    "" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		action_set s = 7;

		ck_assert_msg(action_set_parse(bad[i], &s) == -EINVAL, "\"%s\"", bad[i]);
		ck_assert_uint_eq(s, 7);
	}
}
END_TEST

/* ---- principals ---- */

static int resolve(enum principal_kind kind, const char *name, void *arg, uint32_t *ret_id)
{
	++*(int *)arg;
	if (kind == PRINCIPAL_USER && !strcmp(name, "alice")) {
		*ret_id = 1001;
		return 0;
	}
	if (kind == PRINCIPAL_GROUP && !strcmp(name, "alice")) {
		*ret_id = 2002;
		return 0;
	}
	if (!strcmp(name, "minus-one")) {
		*ret_id = UINT32_MAX;
		return 0;
	}
	return -ENOENT;
}

START_TEST(principals_print_in_canonical_form)
{
	static const char *const rows[][2] = {
		{ "user:0", "user:0" },
		{ "user:1000", "user:1000" },
		{ "user:4294967294", "user:4294967294" },
		{ "group:5", "group:5" },
		{ "host", "host" },
		{ "everyone", "everyone" },
		{ "host,user:1000", "user:1000,host" },
		{ "everyone,host,group:30,group:4,user:7", "user:7,group:4,group:30,host,everyone" },
		{ "group:10,group:9", "group:9,group:10" },
		{ "user:alice", "user:1001" },
		{ "group:alice,user:alice", "user:1001,group:2002" },
		{ "group:1,group:2,group:3,group:4,group:5,group:6,group:7,group:8",
		  "group:1,group:2,group:3,group:4,group:5,group:6,group:7,group:8" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct principal p;
		char text[PRINCIPAL_TEXT_MAX];
		int calls = 0;

		ck_assert_msg(principal_parse(rows[i][0], resolve, &calls, &p) == 0, "%s", rows[i][0]);
		ck_assert(principal_valid(&p));
		principal_print(&p, text);
		ck_assert_str_eq(text, rows[i][1]);
	}
}
END_TEST

START_TEST(the_longest_principal_prints_whole)
{
	struct principal p;
	char text[PRINCIPAL_TEXT_MAX];
	const char *longest = "user:4294967294,group:4294967289,group:4294967290,group:4294967291,group:4294967292,"
			      "group:4294967293,group:4294967294,host";

	ck_assert_int_eq(principal_parse(longest, NULL, NULL, &p), 0);
	principal_print(&p, text);
	ck_assert_str_eq(text, longest);
}
END_TEST

START_TEST(refuses_what_is_no_principal)
{
	static const struct {
		const char *text;
		int r;
	} rows[] = {
		{ "", -EINVAL },
		{ ",", -EINVAL },
		{ "user:1,", -EINVAL },
		{ ",user:1", -EINVAL },
		{ "user:1,,host", -EINVAL },
		{ "user:", -EINVAL },
		{ "user", -EINVAL },
		{ "users:1", -EINVAL },
		{ "User:1", -EINVAL },
		{ "user:1 ", -ENOENT }, /* a name to be resolved, and nobody's */
		{ " user:1", -EINVAL },
		{ "user:1, host", -EINVAL },
		{ "user:-1", -ENOENT },
		{ "user:+1", -ENOENT },
		{ "user:0x10", -ENOENT },
		{ "user:01", -EINVAL },
		{ "user:00", -EINVAL },
		{ "user:4294967295", -EINVAL },
		{ "group:4294967295", -EINVAL },
		{ "user:4294967296", -EINVAL },
		{ "user:18446744073709551617", -EINVAL },
		{ "user:99999999999999999999999999", -EINVAL },
		{ "user:minus-one", -EINVAL },
		{ "user:bob", -ENOENT },
		{ "user:al\nice", -EINVAL },
		{ "user:al\x7fice", -EINVAL },
		{ "unit:nginx.service", -EINVAL },
		{ "container:x", -EINVAL },
		{ "host:1", -EINVAL },
		{ "hosts", -EINVAL },
		{ "everyone:", -EINVAL },
		{ "nobody", -EINVAL },
		{ "host,host", -EINVAL },
		{ "user:1,user:1", -EINVAL },
		{ "user:1001,user:alice", -EINVAL },
		{ "user:1,user:2", -EINVAL },
		{ "group:3,host,group:3", -EINVAL },
		{ "group:1,group:2,group:3,group:4,group:5,group:6,group:7,group:8,group:9", -EINVAL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct principal p = { .n = 77 };
		int calls = 0;

		ck_assert_msg(principal_parse(rows[i].text, resolve, &calls, &p) == rows[i].r, "\"%s\"", rows[i].text);
		ck_assert_uint_eq(p.n, 77);
	}
}
END_TEST

START_TEST(refuses_a_name_too_long_to_be_one)
{
	struct principal p;
	char text[512] = "user:";
	int calls = 0;

	memset(text + 5, 'a', 255);
	ck_assert_int_eq(principal_parse(text, resolve, &calls, &p), -ENOENT);
	ck_assert_int_eq(calls, 1);
	memset(text + 5, 'a', 256);
	ck_assert_int_eq(principal_parse(text, resolve, &calls, &p), -EINVAL);
	ck_assert_int_eq(calls, 1);
}
END_TEST

START_TEST(names_are_errors_where_nothing_resolves_them)
{
	struct principal p;

	ck_assert_int_eq(principal_parse("user:alice", NULL, NULL, &p), -EINVAL);
	ck_assert_int_eq(principal_parse("user:12", NULL, NULL, &p), 0);
}
END_TEST

START_TEST(numbers_are_never_resolved)
{
	struct principal p;
	int calls = 0;

	ck_assert_int_eq(principal_parse("user:12,group:13", resolve, &calls, &p), 0);
	ck_assert_int_eq(calls, 0);
}
END_TEST

START_TEST(principals_made_by_hand_are_checked)
{
	static const struct principal bad[] = {
		{ 0 },
		{ .n = 1 },
		{ .n = 9, .conditions = { { PRINCIPAL_USER, 1 } } },
		{ .n = SIZE_MAX, .conditions = { { PRINCIPAL_USER, 1 } } },
		{ .n = 2, .conditions = { { PRINCIPAL_USER, 1 } } },
		{ .n = 1, .conditions = { { PRINCIPAL_USER, UINT32_MAX } } },
		{ .n = 1, .conditions = { { PRINCIPAL_HOST, 1 } } },
		{ .n = 1, .conditions = { { (enum principal_kind)9, 0 } } },
		{ .n = 2, .conditions = { { PRINCIPAL_HOST, 0 }, { PRINCIPAL_HOST, 0 } } },
	};
	static const struct principal good = { .n = 2, .conditions = { { PRINCIPAL_HOST, 0 }, { PRINCIPAL_USER, 1 } } };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!principal_valid(&bad[i]), "row %zu", i);
	ck_assert(principal_valid(&good));
}
END_TEST

START_TEST(principals_match_whom_they_name)
{
	static const uint32_t groups[] = { 4, 27, 100, 4000000000u };
	static const struct policy_caller c = {
		.uid = 1000, .gid = 1000, .groups = groups, .n_groups = 4, .host = true
	};
	static const struct policy_caller root = { .uid = 0, .gid = 0 };
	static const struct {
		const char *text;
		bool matches, matches_root;
	} rows[] = {
		{ "user:1000", true, false },
		{ "user:1001", false, false },
		{ "user:0", false, true },
		{ "group:1000", true, false },
		{ "group:0", false, true },
		{ "group:4", true, false },
		{ "group:27", true, false },
		{ "group:100", true, false },
		{ "group:4000000000", true, false },
		{ "group:5", false, false },
		{ "group:3", false, false },
		{ "group:4000000001", false, false },
		{ "host", true, false },
		{ "everyone", true, true },
		{ "user:1000,host", true, false },
		{ "user:0,host", false, false },
		{ "user:1000,group:27,group:4,host,everyone", true, false },
		{ "user:1000,group:27,group:5", false, false },
		{ "user:1001,everyone", false, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct principal p;

		ck_assert_int_eq(principal_parse(rows[i].text, NULL, NULL, &p), 0);
		ck_assert_msg(principal_match(&p, &c) == rows[i].matches, "%s", rows[i].text);
		ck_assert_msg(principal_match(&p, &root) == rows[i].matches_root, "%s as root", rows[i].text);
	}
}
END_TEST

START_TEST(a_zeroed_principal_matches_nobody)
{
	static const struct principal none = { 0 }, kindless = { .n = 1 }, overlong = { .n = 9 };
	static const struct policy_caller root = { .host = true };

	ck_assert(!principal_match(&none, &root));
	ck_assert(!principal_match(&kindless, &root));
	ck_assert(!principal_match(&overlong, &root));
}
END_TEST

/* ---- scopes ---- */

static const char *repeat(char *buf, char c, size_t n, const char *end)
{
	memset(buf, c, n);
	strcpy(buf + n, end);
	return buf;
}

START_TEST(names_are_as_the_design_says)
{
	static const char *const good[] = { "a",       "Z",   "0",  "db",       "db-password",
					    "a.b_c-d", "a..", "1-", "versions", "current" };
	static const char *const bad[] = { "",    ".",   "..",  ".coffer", "-a",   "_a",        "a/b", "/",
					   "a b", "a\n", "a\t", "a\x7f",   "\x80", "a\xc3\xa9", "*",   "a*",
					   "a+",  "a:b", "a,b", "a@",      "a[",   "a`",        "a{" };
	char buf[256];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_msg(name_valid(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!name_valid(bad[i]), "%s", bad[i]);
	ck_assert(name_valid(repeat(buf, 'x', 127, "")));
	ck_assert(!name_valid(repeat(buf, 'x', 128, "")));
	ck_assert(!name_valid(repeat(buf, 'x', 200, "")));
}
END_TEST

START_TEST(scopes_are_names_prefixes_or_everything)
{
	static const char *const good[] = { "*", "a", "a*", "db-*", "db.*", "db" };
	static const char *const bad[] = {
		"", "**", "a**", "*a", "a*b", "-*", ".*", "_*", "a/*", "a *", " *", "* ", "?"
	};
	char buf[256];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_msg(scope_valid(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!scope_valid(bad[i]), "%s", bad[i]);
	ck_assert(scope_valid(repeat(buf, 'x', 127, "")));
	ck_assert(!scope_valid(repeat(buf, 'x', 128, "")));
	ck_assert(scope_valid(repeat(buf, 'x', 126, "*")));
	ck_assert(!scope_valid(repeat(buf, 'x', 127, "*")));
}
END_TEST

START_TEST(scopes_cover_what_they_say)
{
	static const struct {
		const char *scope, *resource;
		bool covers;
	} rows[] = {
		{ "*", NULL, true },        { "*", "a", true },       { "*", "a*", true },
		{ "*", "*", true },         { "db", "db", true },     { "db", NULL, false },
		{ "db", "d", false },       { "db", "db1", false },   { "db", "DB", false },
		{ "db", "db*", false },     { "db", "*", false },     { "db*", "db", true },
		{ "db*", "db1", true },     { "db*", "d", false },    { "db*", "eb1", false },
		{ "db*", NULL, false },     { "db-*", "db-*", true }, { "db-*", "db-x*", true },
		{ "db-*", "db*", false },   { "db-*", "*", false },   { "db-x", "db-*", false },
		{ "db-x", "db-x*", false }, { "*", "", false },       { "*", ".coffer", false },
		{ "*", "a/b", false },      { "a*", "a**", false },   { "", "a", false },
		{ "**", "a", false },       { "a/*", "a/b", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(scope_covers(rows[i].scope, rows[i].resource) == rows[i].covers, "%s over %s",
			      rows[i].scope, rows[i].resource ? rows[i].resource : "the vault");
}
END_TEST

/* ---- roles ---- */

START_TEST(built_in_roles_are_those_of_the_cloud_vault)
{
	static const struct {
		const char *name;
		const char *actions[10];
	} rows[] = {
		{ "administrator",
		  { "secrets/*", "keys/*", "certificates/*", "bindings/*", "roles/*", "vault/*", "audit/*" } },
		{ "reader",
		  { "secrets/list", "keys/list", "certificates/list", "bindings/list", "vault/status",
		    "vault/metrics" } },
		{ "secrets-officer", { "secrets/*" } },
		{ "secrets-user", { "secrets/get", "secrets/list" } },
		{ "certificates-officer", { "certificates/*" } },
		{ "certificate-user", { "certificates/get", "certificates/list" } },
		{ "crypto-officer", { "keys/*" } },
		{ "crypto-user",
		  { "keys/list", "keys/update", "keys/backup", "keys/encrypt", "keys/decrypt", "keys/wrap",
		    "keys/unwrap", "keys/sign", "keys/verify" } },
		{ "crypto-service-encryption-user", { "keys/list", "keys/wrap", "keys/unwrap" } },
		{ "purge-operator", { "secrets/purge", "keys/purge", "certificates/purge" } },
		{ "data-access-administrator", { "bindings/list", "bindings/create", "bindings/delete" } },
		{ "auditor", { "audit/read", "vault/status", "vault/metrics" } },
		{ "secrets-writer", { "secrets/set", "secrets/list" } },
	};
	size_t n;
	const struct role *roles = role_builtin(&n);

	ck_assert_uint_eq(n, sizeof(rows) / sizeof(rows[0]));
	for (size_t i = 0; i < n; i++) {
		action_set want = 0, one;

		for (size_t k = 0; k < 10 && rows[i].actions[k]; k++) {
			ck_assert_int_eq(action_set_parse(rows[i].actions[k], &one), 0);
			want |= one;
		}
		ck_assert_uint_eq(roles[i].id, i + 1);
		ck_assert_str_eq(roles[i].name, rows[i].name);
		ck_assert_msg(roles[i].actions == want, "%s", rows[i].name);
		ck_assert_ptr_eq(role_builtin_get((uint32_t)i + 1), &roles[i]);
		ck_assert_ptr_eq(role_builtin_find(rows[i].name), &roles[i]);
	}
	ck_assert_ptr_null(role_builtin_get(0));
	ck_assert_ptr_null(role_builtin_get((uint32_t)n + 1));
	ck_assert_ptr_null(role_builtin_get(UINT32_MAX));
	ck_assert_ptr_null(role_builtin_find("Reader"));
	ck_assert_uint_eq(role_builtin_find("administrator")->id, ROLE_ADMINISTRATOR);
}
END_TEST

START_TEST(custom_names_are_checked)
{
	static const char *const good[] = { "a", "ci", "ci-deploy", "a1", "readers", "x-" };
	static const char *const bad[] = { "",    "A",   "1a", "-a",     "a_b",          "a.b",
					   "a b", "a/b", "é",  "reader", "administrator" };
	char buf[128];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_msg(role_name_valid(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!role_name_valid(bad[i]), "%s", bad[i]);
	ck_assert(role_name_valid(repeat(buf, 'x', 63, "")));
	ck_assert(!role_name_valid(repeat(buf, 'x', 64, "")));
}
END_TEST

START_TEST(roles_with_power_over_others_are_no_data_roles)
{
	static const char *const powerful[] = { "administrator", "data-access-administrator", "auditor" };
	static const char *const words[] = { "bindings/create", "bindings/delete", "roles/create",
					     "vault/update",    "vault/seal",      "audit/read" };
	size_t n, found = 0;
	const struct role *roles = role_builtin(&n);

	for (size_t i = 0; i < n; i++)
		found += !role_is_data_role(&roles[i]);
	ck_assert_uint_eq(found, 3);
	for (size_t i = 0; i < 3; i++)
		ck_assert_msg(!role_is_data_role(role_builtin_find(powerful[i])), "%s", powerful[i]);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		struct role r = { .id = ROLE_CUSTOM_FIRST, .name = "x" };

		ck_assert_int_eq(action_set_parse(words[i], &r.actions), 0);
		r.actions |= ACTION_BIT(ACTION_SECRETS_GET);
		ck_assert_msg(!role_is_data_role(&r), "%s", words[i]);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		every_action_parses_as_it_prints,   action_numbers_and_names_belong_together,
		refuses_what_is_no_action,          a_star_stands_for_every_verb_of_a_noun,
		refuses_stars_in_other_places,      principals_print_in_canonical_form,
		the_longest_principal_prints_whole, refuses_what_is_no_principal,
		refuses_a_name_too_long_to_be_one,  names_are_errors_where_nothing_resolves_them,
		numbers_are_never_resolved,         principals_made_by_hand_are_checked,
		principals_match_whom_they_name,    a_zeroed_principal_matches_nobody,
		names_are_as_the_design_says,       scopes_are_names_prefixes_or_everything,
		scopes_cover_what_they_say,         built_in_roles_are_those_of_the_cloud_vault,
		custom_names_are_checked,           roles_with_power_over_others_are_no_data_roles,
	};
	Suite *s = suite_create("policy_words");
	TCase *c = tcase_create("words");

	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(c, tests[i]);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
