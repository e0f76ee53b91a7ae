#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/policy.h"
#include "store/core/acts.h"
#include "store/core/database.h"
#include "store/core/follow.h"
#include "store/core/row_change.h"
#include "store/core/schema.h"
#include "store/core/settings.h"
#include "store/core/transaction.h"
#include "store/crypto/secbuf.h"
#include "store/grants/grants.h"
#include "store/keys/envelope.h"
#include "store/objects/objects.h"
#include "store/store.h"
#include "store_main.h"

static const struct catalog_secret *get(uint32_t id) { return store_get(fx.store, id); }

START_TEST(new_store_is_sealed_and_empty)
{
	struct store_config config = { .dir = fx.dir, .conf = &fx.conf };
	struct store *s = NULL;
	struct store_counts counts;
	char why[256];

	ck_assert_int_eq(store_open(&config, &s, why, sizeof why), 0);
	ck_assert(store_sealed(s));
	ck_assert_int_eq(store_begin(s), -ENOKEY);
	store_counts(s, &counts);
	ck_assert_uint_eq(counts.secrets, 0);
	ck_assert_uint_eq(store_settings(s)->retention_days, 90);
	ck_assert_int_eq(store_unlock(s, fx.keys, why, sizeof why), 0);
	ck_assert(!store_sealed(s));
	store_counts(s, &counts);
	ck_assert_uint_eq(counts.bindings, 1);
	store_close(s);
}
END_TEST

START_TEST(value_reads_back_after_reopening)
{
	uint32_t id = add_secret(fx.store, "db", "hunter2");

	ck_assert_int_eq(value_is(fx.store, id, 1, "hunter2"), 0);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_ptr_nonnull(store_find(fx.store, "db"));
	ck_assert_uint_eq(store_find(fx.store, "db")->id, id);
	ck_assert_uint_eq(store_find(fx.store, "db")->current, 1);
	ck_assert_uint_eq(store_find(fx.store, "db")->versions[0].size, 7);
	ck_assert(!store_version_ready(fx.store, id, 1));
	ck_assert_int_eq(value_is(fx.store, id, 1, "hunter2"), 0);
	ck_assert(store_version_ready(fx.store, id, 1));
	ck_assert_int_eq(value_is(fx.store, id, 1, "hunter2"), 0);
}
END_TEST

START_TEST(versions_are_numbered_and_current_is_the_newest_enabled)
{
	uint32_t id = add_secret(fx.store, "db", "one");

	ck_assert_uint_eq(add_version(fx.store, id, "two"), 2);
	ck_assert_uint_eq(add_version(fx.store, id, "three"), 3);
	ck_assert_uint_eq(get(id)->n_versions, 3);
	ck_assert_uint_eq(get(id)->current, 3);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_enable(fx.store, id, 3, false), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_uint_eq(get(id)->current, 2);
	ck_assert(!catalog_version(get(id), 3)->enabled);
	for (uint32_t v = 1; v <= 3; v++)
		ck_assert_int_eq(value_is(fx.store, id, v, v == 1 ? "one" : v == 2 ? "two" : "three"), 0);
	ck_assert_int_eq(value_is(fx.store, id, 4, ""), -ENOENT);
	ck_assert_int_eq(value_is(fx.store, id + 1, 1, ""), -ENOENT);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_uint_eq(get(id)->current, 2);
}
END_TEST

START_TEST(empty_binary_and_largest_values_are_exact)
{
	static uint8_t big[VALUE_MAX + 1];
	struct secbuf *plain = NULL;
	uint32_t id, version;

	for (size_t i = 0; i < sizeof big; i++)
		big[i] = (uint8_t)(i * 7 + i / 251);
	id = add_secret(fx.store, "db", NULL);
	ck_assert_uint_eq(get(id)->current, 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_add(fx.store, id, "", 0, NULL, &version), 0);
	ck_assert_int_eq(store_version_add(fx.store, id, big, VALUE_MAX, NULL, &version), 0);
	ck_assert_int_eq(store_version_add(fx.store, id, big, VALUE_MAX + 1, NULL, &version), -EFBIG);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(value_is(fx.store, id, 1, ""), 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(store_version_read(fx.store, id, 2, &plain), 0);
		ck_assert_uint_eq(secbuf_len(plain), VALUE_MAX);
		ck_assert_int_eq(memcmp(secbuf_cdata(plain), big, VALUE_MAX), 0);
		plain = secbuf_free(plain);
	}
}
END_TEST

START_TEST(names_are_checked_and_unique)
{
	static const char *const bad[] = { "", ".x", "a/b", "a b", "\xc3\xa4", "-a" };
	char name[NAME_LEN_MAX + 2];
	uint32_t id;

	add_secret(fx.store, "db", NULL);
	ck_assert_int_eq(store_begin(fx.store), 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ck_assert_int_eq(store_secret_create(fx.store, bad[i], &id), -EINVAL);
	memset(name, 'a', sizeof name);
	name[NAME_LEN_MAX + 1] = 0;
	ck_assert_int_eq(store_secret_create(fx.store, name, &id), -EINVAL);
	ck_assert_int_eq(store_secret_create(fx.store, "db", &id), -EEXIST);
	ck_assert_int_eq(store_secret_create(fx.store, name + 1, &id), 0);
	ck_assert_int_eq(store_secret_create(fx.store, name + 1, &id), -EEXIST);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_ptr_nonnull(store_find(fx.store, name + 1));
}
END_TEST

START_TEST(rollback_leaves_everything_as_it_was)
{
	uint32_t id = add_secret(fx.store, "db", "one"), other, version;
	uint64_t epoch = store_epoch(fx.store);

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_secret_create(fx.store, "other", &other), 0);
	ck_assert_int_eq(store_version_add(fx.store, id, "two", 3, NULL, &version), 0);
	store_rollback(fx.store);
	ck_assert_uint_eq(store_epoch(fx.store), epoch);
	ck_assert_ptr_null(store_find(fx.store, "other"));
	ck_assert_uint_eq(get(id)->n_versions, 1);
	ck_assert_uint_eq(add_version(fx.store, id, "two"), 2);
	ck_assert_uint_eq(store_epoch(fx.store), epoch + 1);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(value_is(fx.store, id, 2, "two"), 0);
}
END_TEST

START_TEST(touched_names_each_changed_secret_once)
{
	uint32_t a = add_secret(fx.store, "a", "1"), b = add_secret(fx.store, "b", "1"), version;

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_add(fx.store, b, "2", 1, NULL, &version), 0);
	ck_assert_int_eq(store_version_add(fx.store, b, "3", 1, NULL, &version), 0);
	ck_assert_int_eq(store_secret_enable(fx.store, a, false), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_uint_eq(store_touched_next(fx.store, 0), a);
	ck_assert_uint_eq(store_touched_next(fx.store, a), b);
	ck_assert_uint_eq(store_touched_next(fx.store, b), 0);
	ck_assert(!get(a)->enabled);
	add_binding(fx.store, 1, "secrets-user", "a");
	ck_assert_uint_eq(store_touched_next(fx.store, 0), 0);
}
END_TEST

START_TEST(next_walks_in_ascending_order)
{
	uint32_t ids[3] = { add_secret(fx.store, "zz", NULL), add_secret(fx.store, "aa", NULL),
			    add_secret(fx.store, "mm", NULL) };
	const struct catalog_secret *c;
	size_t n = 0;

	for (uint32_t after = 0; (c = store_next(fx.store, after, false)); after = c->id)
		ck_assert_uint_eq(c->id, ids[n++]);
	ck_assert_uint_eq(n, 3);
	ck_assert_ptr_null(store_next(fx.store, 0, true));
}
END_TEST

START_TEST(attributes_are_kept_and_checked)
{
	uint32_t id = add_secret(fx.store, "db", "one"), version;
	struct version_attributes a = { "text/plain", "{\"b\":\"2\", \"a\":\"1\"}", 5, 10 };
	static const char *const bad_tags[] = { "[]", "{\"a\":1}", "{\"a\":\"1\",\"a\":\"2\"}", "{", "{\"\":\"x\"}" };
	struct store_attributes got;

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_add(fx.store, id, "two", 3, &a, &version), 0);
	for (size_t i = 0; i < sizeof bad_tags / sizeof bad_tags[0]; i++) {
		struct version_attributes bad = { NULL, bad_tags[i], INT64_MIN, INT64_MAX };
		ck_assert_int_eq(store_version_set_attributes(fx.store, id, 1, &bad), -EINVAL);
	}
	ck_assert_int_eq(store_version_set_attributes(
				 fx.store, id, 1, &(struct version_attributes){ "a\nb", NULL, INT64_MIN, INT64_MAX }),
			 -EINVAL);
	ck_assert_int_eq(store_version_set_attributes(fx.store, id, 1,
						      &(struct version_attributes){ NULL, NULL, 2, 1 }),
			 -EINVAL);
	ck_assert_int_eq(store_version_set_attributes(fx.store, id, 9, &a), -ENOENT);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(store_version_attributes(fx.store, id, 2, &got), 0);
	ck_assert_str_eq(got.content_type, "text/plain");
	ck_assert_str_eq(got.tags_json, "{\"a\":\"1\",\"b\":\"2\"}");
	store_attributes_free(&got);
	ck_assert_int_eq(catalog_version(get(id), 2)->not_before, 5);
	ck_assert_int_eq(catalog_version(get(id), 2)->expires, 10);
	ck_assert_int_eq(store_version_attributes(fx.store, id, 1, &got), 0);
	ck_assert_ptr_null(got.content_type);
	ck_assert_int_eq(catalog_version(get(id), 1)->expires, INT64_MAX);
}
END_TEST

START_TEST(binding_decides_until_it_is_removed)
{
	uint32_t groups[1] = { 0 };
	struct policy_caller caller = { .uid = 7, .gid = 7, .groups = groups };
	struct policy_answer answer;
	struct store_binding_info info;
	uint64_t id = add_binding(fx.store, 7, "secrets-user", "db");

	policy_decide(store_policy(fx.store), &caller, ACTION_SECRETS_GET, "db", 1, &answer);
	ck_assert_int_eq(answer.decision, POLICY_ALLOW);
	ck_assert_uint_eq(answer.binding, id);
	store_binding_used(fx.store, id, 77);
	ck_assert_int_eq(store_binding_info(fx.store, id, &info), 0);
	ck_assert_str_eq(info.reason, "because");
	ck_assert_str_eq(info.created_by, "uid 1");
	ck_assert_int_eq(info.last_used, 77);
	store_binding_info_free(&info);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(store_binding_info(fx.store, id, &info), 0);
	ck_assert_int_eq(info.last_used, 77);
	store_binding_info_free(&info);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_binding_remove(fx.store, id), 0);
	ck_assert_int_eq(store_binding_remove(fx.store, id), -ENOENT);
	ck_assert_int_eq(store_commit(fx.store), 0);
	policy_decide(store_policy(fx.store), &caller, ACTION_SECRETS_GET, "db", 1, &answer);
	ck_assert_int_eq(answer.decision, POLICY_DENY);
	ck_assert_int_eq(store_binding_info(fx.store, id, &info), -ENOENT);
	ck_assert_uint_gt(add_binding(fx.store, 7, "secrets-user", "db"), id);
}
END_TEST

START_TEST(last_administrator_stays)
{
	uint64_t second;

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_binding_remove(fx.store, 1), -EBUSY);
	store_rollback(fx.store);
	second = add_binding(fx.store, 8, "administrator", "*");
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_binding_remove(fx.store, 1), 0);
	ck_assert_int_eq(store_binding_remove(fx.store, second), -EBUSY);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_ptr_null(policy_binding(store_policy(fx.store), 1));
}
END_TEST

START_TEST(custom_role_can_be_bound_in_its_own_transaction)
{
	struct binding b = { .from = INT64_MIN,
			     .until = BINDING_FOREVER,
			     .scope = "*",
			     .principal = { .n = 1, .conditions = { { PRINCIPAL_EVERYONE, 0 } } } };
	uint32_t role, again;
	uint64_t id;

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_role_put(fx.store, "lister", ACTION_BIT(ACTION_SECRETS_LIST), &role), 0);
	ck_assert_int_eq(store_role_put(fx.store, "lister", ACTION_BIT(ACTION_SECRETS_GET), &again), -EEXIST);
	ck_assert_int_eq(store_role_put(fx.store, "administrator", 1, &again), -EEXIST);
	ck_assert_int_eq(store_role_put(fx.store, "Bad Name", 1, &again), -EINVAL);
	b.role = role + 1;
	ck_assert_int_eq(store_binding_add(fx.store, &b, NULL, NULL, &id), -ENOENT);
	b.role = role;
	ck_assert_int_eq(store_binding_add(fx.store, &b, NULL, NULL, &id), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_uint_ge(role, ROLE_CUSTOM_FIRST);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_str_eq(policy_role(store_policy(fx.store), role)->name, "lister");
	ck_assert_uint_eq(policy_binding(store_policy(fx.store), id)->role, role);
}
END_TEST

START_TEST(settings_keep_their_one_way_rules)
{
	struct store_settings p = *store_settings(fx.store);
	uint32_t id = add_secret(fx.store, "db", NULL), version;

	p.purge_protection = true;
	p.value_max = 4;
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_settings_put(fx.store, &p), 0);
	ck_assert_int_eq(store_version_add(fx.store, id, "12345", 5, NULL, &version), -EFBIG);
	p.purge_protection = false;
	ck_assert_int_eq(store_settings_put(fx.store, &p), -EPERM);
	p.purge_protection = true;
	p.value_max = 0;
	ck_assert_int_eq(store_settings_put(fx.store, &p), -EINVAL);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert(store_settings(fx.store)->purge_protection);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert(store_settings(fx.store)->purge_protection);
	ck_assert_uint_eq(store_settings(fx.store)->value_max, 4);
}
END_TEST

START_TEST(locked_store_serves_names_only)
{
	uint32_t id = add_secret(fx.store, "db", "one");
	struct store_attributes a;
	char why[256];

	ck_assert_int_eq(value_is(fx.store, id, 1, "one"), 0);
	store_lock(fx.store);
	ck_assert(store_sealed(fx.store));
	ck_assert_ptr_nonnull(store_find(fx.store, "db"));
	ck_assert_int_eq(value_is(fx.store, id, 1, "one"), -ENOKEY);
	ck_assert(!store_version_ready(fx.store, id, 1));
	ck_assert_int_eq(store_version_attributes(fx.store, id, 1, &a), -ENOKEY);
	ck_assert_int_eq(store_begin(fx.store), -ENOKEY);
	ck_assert_ptr_null(policy_binding(store_policy(fx.store), 1));
	ck_assert_int_eq(store_unlock(fx.store, fx.keys, why, sizeof why), 0);
	ck_assert_int_eq(value_is(fx.store, id, 1, "one"), 0);
}
END_TEST

START_TEST(other_vaults_configuration_is_refused)
{
	struct fixture other;
	char why[256];

	vault_make(&other);
	vault_close(&fx);
	other.conf.id[0] ^= 1;
	struct store_config config = { .dir = other.dir, .conf = &other.conf };
	struct store *s = NULL;
	ck_assert_int_eq(store_open(&config, &s, why, sizeof why), -EBADMSG);
	other.conf.id[0] ^= 1;
	ck_assert_int_eq(store_open(&config, &s, why, sizeof why), 0);
	ck_assert_int_eq(store_unlock(s, fx.keys, why, sizeof why) < 0, 1);
	ck_assert(store_sealed(s));
	store_close(s);
	vault_remove(&other);
}
END_TEST

START_TEST(create_refuses_an_existing_store_and_open_a_missing_one)
{
	struct store_settings settings = { .retention_days = 90, .value_max = VALUE_MAX };
	struct store_config config = { .dir = "/nonexistent", .conf = &fx.conf };
	struct store *s = NULL;
	char why[256];

	ck_assert_int_eq(store_create(fx.dir, &fx.conf, fx.keys, &settings, NULL, 0, 0, 0, why, sizeof why), -EEXIST);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(store_open(&config, &s, why, sizeof why), -ENOENT);
	ck_assert_int_ne(why[0], 0);
	vault_close(&fx);
	ck_assert_int_eq(unlink(fx.db), 0);
	config.dir = fx.dir;
	ck_assert_int_eq(store_open(&config, &s, why, sizeof why), -ENOENT);
	copy_file("/proc/self/status", fx.db);
	ck_assert_int_eq(store_open(&config, &s, why, sizeof why), -EBADMSG);
}
END_TEST

START_TEST(newer_schema_is_refused)
{
	struct store_config config = { .dir = fx.dir, .conf = &fx.conf };
	struct store *s = NULL;
	char why[256];

	vault_close(&fx);
	raw(&fx, "PRAGMA user_version=99");
	ck_assert_int_eq(store_open(&config, &s, why, sizeof why), -EPROTONOSUPPORT);
	ck_assert_ptr_nonnull(strstr(why, "newer"));
	char sql[160];
	snprintf(sql, sizeof sql,
		 "PRAGMA user_version=%d; CREATE TRIGGER t AFTER INSERT ON bindings BEGIN DELETE FROM bindings; END",
		 schema_current()->version);
	raw(&fx, sql);
	ck_assert_int_eq(store_open(&config, &s, why, sizeof why), -EBADMSG);
}
END_TEST

static void note(uint32_t secret, void *arg)
{
	uint32_t *seen = arg;

	seen[0]++;
	seen[1] = secret;
}

START_TEST(follower_sees_what_another_connection_committed)
{
	struct fixture other = fx;
	uint32_t seen[2] = { 0 };
	uint32_t id = add_secret(fx.store, "db", "one");

	ck_assert_int_eq(vault_open(&other), 0);
	ck_assert_int_eq(store_follow(other.store, note, seen), 0);
	ck_assert_uint_eq(seen[0], 0);
	add_version(fx.store, id, "two");
	add_version(fx.store, id, "three");
	uint64_t binding = add_binding(fx.store, 9, "secrets-user", "db");
	ck_assert_int_eq(store_follow(other.store, note, seen), 0);
	ck_assert_uint_eq(seen[0], 1);
	ck_assert_uint_eq(seen[1], id);
	ck_assert_uint_eq(store_epoch(other.store), store_epoch(fx.store));
	ck_assert_uint_eq(store_find(other.store, "db")->current, 3);
	ck_assert_ptr_nonnull(policy_binding(store_policy(other.store), binding));
	ck_assert_int_eq(value_is(other.store, id, 3, "three"), 0);
	/* And without follow: a transaction begins from what is there. */
	add_version(fx.store, id, "four");
	ck_assert_uint_eq(add_version(other.store, id, "five"), 5);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_binding_remove(fx.store, binding), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(store_follow(other.store, note, seen), 0);
	ck_assert_ptr_null(policy_binding(store_policy(other.store), binding));
	vault_close(&other);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

START_TEST(follower_that_fell_far_behind_reloads)
{
	struct fixture other = fx;
	uint32_t id = add_secret(fx.store, "db", "one"), seen[2] = { 0 };

	ck_assert_int_eq(vault_open(&other), 0);
	for (unsigned i = 0; i < CHANGES_KEPT + 20; i++) {
		ck_assert_int_eq(store_begin(fx.store), 0);
		ck_assert_int_eq(store_secret_enable(fx.store, id, i % 2), 0);
		ck_assert_int_eq(store_commit(fx.store), 0);
	}
	ck_assert_int_le(raw_int(&fx, "SELECT count(*) FROM changes"), CHANGES_KEPT + 1);
	ck_assert_int_eq(store_follow(other.store, note, seen), 0);
	ck_assert_uint_eq(seen[1], id);
	ck_assert_uint_eq(store_epoch(other.store), store_epoch(fx.store));
	vault_close(&other);
}
END_TEST

START_TEST(large_transaction_is_followed_by_reloading)
{
	struct fixture other = fx;
	uint32_t seen[2] = { 0 }, id;
	char name[32];

	ck_assert_int_eq(vault_open(&other), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	for (unsigned i = 0; i <= CHANGES_LISTED; i++) {
		snprintf(name, sizeof name, "s%06u", i);
		ck_assert_int_eq(store_secret_create(fx.store, name, &id), 0);
	}
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(store_follow(other.store, note, seen), 0);
	ck_assert_uint_eq(seen[0], CHANGES_LISTED + 1);
	ck_assert_ptr_nonnull(store_find(other.store, "s004096"));
	add_version(fx.store, id, "x");
	ck_assert_int_eq(store_follow(other.store, note, seen), 0);
	ck_assert_uint_eq(store_find(other.store, "s004096")->current, 1);
	/* The change table does not say which; the versions do. */
	seen[0] = 0;
	ck_assert_int_eq(store_changed_since(fx.store, 1, note, seen), 0);
	ck_assert_uint_eq(seen[0], 1);
	ck_assert_uint_eq(seen[1], id);
	vault_close(&other);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

static int collect(uint64_t id, const char *act, void *arg)
{
	struct store *s = fx.store;

	strcat(arg, act);
	return store_pending_act_done(s, id);
}

START_TEST(sealed_store_follows_names)
{
	struct fixture other = fx;

	ck_assert_int_eq(vault_open(&other), 0);
	store_lock(other.store);
	add_secret(fx.store, "db", "one");
	ck_assert_int_eq(store_follow(other.store, NULL, NULL), 0);
	ck_assert_ptr_nonnull(store_find(other.store, "db"));
	ck_assert_int_eq(value_is(other.store, 1, 1, "one"), -ENOKEY);
	vault_close(&other);
}
END_TEST

START_TEST(pending_acts_come_once_and_in_order)
{
	char acts[64] = "";

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_pending_act_add(fx.store, "{1}"), 0);
	ck_assert_int_eq(store_pending_act_add(fx.store, "{2}"), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(store_pending_acts(fx.store, collect, acts), 0);
	ck_assert_str_eq(acts, "{1}{2}");
	ck_assert_int_eq(store_pending_acts(fx.store, collect, acts), 0);
	ck_assert_str_eq(acts, "{1}{2}");
}
END_TEST

static struct principal principal_of(const char *text)
{
	struct principal p;

	ck_assert_int_eq(principal_parse(text, NULL, NULL, &p), 0);
	return p;
}

static int block_in_transaction(const char *text, uint64_t *ret_id)
{
	struct principal p = principal_of(text);
	int r;

	ck_assert_int_eq(store_begin(fx.store), 0);
	r = store_block_add(fx.store, &p, "leaked", "user:1000", ret_id);
	if (r == 0)
		r = store_commit(fx.store);
	else
		store_rollback(fx.store);
	return r;
}

static struct policy_answer ask_get(uint32_t uid)
{
	struct policy_caller caller = { .uid = uid, .gid = uid };
	struct policy_answer a;

	store_rdlock(fx.store);
	policy_decide(store_policy(fx.store), &caller, ACTION_SECRETS_GET, "db", 0, &a);
	store_unlock_tables(fx.store);
	return a;
}

START_TEST(block_denies_moves_the_epoch_and_outlives_a_restart)
{
	struct store_binding_info info;
	struct store_counts counts;
	uint64_t id = 0, epoch;

	add_secret(fx.store, "db", "one");
	add_binding(fx.store, 5, "secrets-user", "db");
	epoch = store_epoch(fx.store);
	ck_assert_int_eq(block_in_transaction("user:5", &id), 0);
	ck_assert_uint_eq(store_epoch(fx.store), epoch + 1);
	ck_assert_uint_eq(ask_get(5).block, id);
	ck_assert_int_eq(block_in_transaction("user:5", &id), -EEXIST);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_uint_eq(ask_get(5).block, id);
	store_counts(fx.store, &counts);
	ck_assert_uint_eq(counts.blocks, 1);
	ck_assert_int_eq(store_block_info(fx.store, id, &info), 0);
	ck_assert_str_eq(info.reason, "leaked");
	ck_assert_str_eq(info.created_by, "user:1000");
	store_binding_info_free(&info);
	ck_assert_int_eq(fsck_quiet(&fx, false), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_block_remove(fx.store, id), 0);
	ck_assert_int_eq(store_block_remove(fx.store, id), -ENOENT);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(ask_get(5).decision, POLICY_ALLOW);
	store_counts(fx.store, &counts);
	ck_assert_uint_eq(counts.blocks, 0);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(ask_get(5).decision, POLICY_ALLOW);
}
END_TEST

START_TEST(block_that_leaves_no_administrator_is_refused)
{
	static const char *const refused[] = { "user:1000", "everyone" };
	struct binding other = { .role = ROLE_ADMINISTRATOR,
				 .principal = principal_of("user:7,group:8"),
				 .scope = "*",
				 .from = INT64_MIN,
				 .until = BINDING_FOREVER };
	uint64_t id = 0, binding = 0;

	for (size_t i = 0; i < 2; i++)
		ck_assert_int_eq(block_in_transaction(refused[i], &id), -EBUSY);
	ck_assert_int_eq(block_in_transaction("user:5,host", &id), -EINVAL);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_binding_add(fx.store, &other, NULL, NULL, &binding), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(block_in_transaction("user:1000", &id), 0);
	/* now the other one is the last: neither to be blocked, nor revoked */
	ck_assert_int_eq(block_in_transaction("group:8", &id), -EBUSY);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_binding_remove(fx.store, binding), -EBUSY);
	store_rollback(fx.store);
}
END_TEST

static uint32_t at(uint32_t secret, uint64_t epoch)
{
	const struct catalog_version *v;
	uint32_t n;

	store_rdlock(fx.store);
	v = catalog_version_at(store_get(fx.store, secret), epoch);
	n = v ? v->number : 0;
	store_unlock_tables(fx.store);
	return n;
}

static void switch_version(uint32_t id, uint32_t version, bool enabled)
{
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_enable(fx.store, id, version, enabled), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
}

START_TEST(versions_know_the_epoch_that_made_them)
{
	uint64_t before = store_epoch(fx.store), e[5];
	uint32_t id = add_secret(fx.store, "db", "one");

	e[0] = store_epoch(fx.store);
	add_version(fx.store, id, "two");
	e[1] = store_epoch(fx.store);
	add_secret(fx.store, "other", "x");
	add_version(fx.store, id, "three");
	e[2] = store_epoch(fx.store);
	switch_version(id, 3, false);
	e[3] = store_epoch(fx.store);
	switch_version(id, 3, false); /* withdrawn it was already: since then, not since now */
	switch_version(id, 2, false);
	e[4] = store_epoch(fx.store);
	for (int again = 0; again < 2; again++) {
		ck_assert_uint_eq(at(id, before), 0);
		ck_assert_uint_eq(at(id, e[0]), 1);
		ck_assert_uint_eq(at(id, e[1]), 2);
		ck_assert_uint_eq(at(id, e[2] - 1), 2);
		ck_assert_uint_eq(at(id, e[2]), 3);
		ck_assert_uint_eq(at(id, e[3]), 2);
		ck_assert_uint_eq(at(id, e[4]), 1);
		ck_assert_int_eq(vault_reopen(&fx), 0);
	}
	switch_version(id, 3, true);
	ck_assert_uint_eq(at(id, e[4]), 3);
	ck_assert_uint_eq(at(id, e[1]), 2);
}
END_TEST

START_TEST(fsck_finds_nothing_in_a_sound_store)
{
	add_secret(fx.store, "db", "one");
	add_binding(fx.store, 7, "secrets-user", "db");
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
	store_lock(fx.store);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

STORE_TESTS("store", 120, new_store_is_sealed_and_empty, value_reads_back_after_reopening,
	    versions_are_numbered_and_current_is_the_newest_enabled, empty_binary_and_largest_values_are_exact,
	    names_are_checked_and_unique, rollback_leaves_everything_as_it_was, touched_names_each_changed_secret_once,
	    next_walks_in_ascending_order, attributes_are_kept_and_checked, binding_decides_until_it_is_removed,
	    last_administrator_stays, custom_role_can_be_bound_in_its_own_transaction,
	    settings_keep_their_one_way_rules, locked_store_serves_names_only, other_vaults_configuration_is_refused,
	    create_refuses_an_existing_store_and_open_a_missing_one, newer_schema_is_refused,
	    follower_sees_what_another_connection_committed, follower_that_fell_far_behind_reloads,
	    large_transaction_is_followed_by_reloading, sealed_store_follows_names, pending_acts_come_once_and_in_order,
	    block_denies_moves_the_epoch_and_outlives_a_restart, block_that_leaves_no_administrator_is_refused,
	    versions_know_the_epoch_that_made_them, fsck_finds_nothing_in_a_sound_store)
