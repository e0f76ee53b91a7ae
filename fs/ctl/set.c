/* put-set: several secrets changed in one transaction, so that readers see all of the change or nothing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/internal.h"
#include "store/keys/envelope.h"
#include "store/objects/objects.h"
#include "store/objects/stages.h"

#define SET_MAX 256 /* secrets; a line of 64 KiB has room for as many names of any length */

/* One of the set, and what became of it. name is borrowed from the request. */
struct set_item {
	const char *name;
	uint64_t offset; /* of its value in the stage */
	uint32_t len, version;
	bool created;
	uint64_t binding; /* that let it in */
	uint32_t role;
	char role_name[ROLE_NAME_MAX], principal[PRINCIPAL_TEXT_MAX];
};

static int by_name(const void *a, const void *b)
{
	const struct set_item *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int check_distinct(struct ctl *c)
{
	const struct set_item **sorted = calloc(c->n_ids, sizeof(*sorted));
	int r = 0;

	if (!sorted)
		return ctl_fail_store(c, -ENOMEM, "read the set");
	for (size_t i = 0; i < c->n_ids; i++)
		sorted[i] = &c->set[i];
	qsort(sorted, c->n_ids, sizeof(*sorted), by_name);
	for (size_t i = 1; i < c->n_ids && r == 0; i++)
		if (!strcmp(sorted[i - 1]->name, sorted[i]->name))
			r = ctl_fail(c, EINVAL, "items: %s is there twice", sorted[i]->name);
	free(sorted);
	return r;
}

static int check_item(struct ctl *c, const json_t *item, struct set_item *ret)
{
	const char *name = json_string_value(json_object_get(item, "name"));
	const json_t *len = json_object_get(item, "value_length");

	if (!json_is_object(item) || json_object_size(item) != 2 || !name || !json_is_integer(len))
		return ctl_fail(c, EINVAL, "items: each is an object of name and value_length");
	if (!name_valid(name))
		return ctl_fail(c, EINVAL, "items: \"%.130s\" is not a secret's name", name);
	if (json_integer_value(len) < 0 || json_integer_value(len) > VALUE_MAX)
		return ctl_fail(c, EFBIG, "%s: the value has %lld bytes; the limit is %u", name,
				(long long)json_integer_value(len), VALUE_MAX);
	ret->name = name;
	ret->len = (uint32_t)json_integer_value(len);
	return 0;
}

static int check_set(struct ctl *c)
{
	const json_t *items = json_object_get(c->in, "items");
	size_t n = json_array_size(items);
	uint64_t at = 0;
	int r = 0;

	if (n < 1 || n > SET_MAX)
		return ctl_fail(c, EINVAL, "items: a set has 1 to %d secrets; this one has %zu", SET_MAX, n);
	c->set = calloc(n, sizeof(*c->set));
	if (!c->set)
		return ctl_fail_store(c, -ENOMEM, "read the set");
	c->n_ids = n;
	for (size_t i = 0; i < n && r == 0; i++) {
		r = check_item(c, json_array_get(items, i), &c->set[i]);
		c->set[i].offset = at;
		at += c->set[i].len;
	}
	if (r == 0 && at != c->args.value_length)
		r = ctl_fail(c, EINVAL, "value_length: %llu bytes are announced, and the items' values have %llu",
			     (unsigned long long)c->args.value_length, (unsigned long long)at);
	return r < 0 ? r : check_distinct(c);
}

/* Each name by itself: one that is refused refuses all, and is named in the record. */
static int ask_set(struct ctl *c)
{
	for (size_t i = 0; i < c->n_ids; i++) {
		struct set_item *item = &c->set[i];
		int r;

		c->secret = item->name;
		r = ctl_ask(c, ACTION_SECRETS_SET, item->name);
		if (r < 0)
			return r;
		item->binding = c->binding;
		item->role = c->role;
		memcpy(item->role_name, c->role_name, sizeof(item->role_name));
		memcpy(item->principal, c->principal, sizeof(item->principal));
	}
	return 0;
}

static int put_item(struct ctl *c, struct set_item *item)
{
	static const struct version_attributes plain = { .not_before = INT64_MIN, .expires = INT64_MAX };
	uint32_t id = 0;
	int r;

	c->secret = c->args.name = item->name;
	c->args.value_length = item->len;
	r = ctl_put_secret(c, &id, &item->created);
	if (r < 0)
		return r;
	if (item->len)
		r = store_stage_commit_part(c->env->store, c->request->stage, item->offset, item->len, id, &plain,
					    &item->version);
	else
		r = store_version_add(c->env->store, id, "", 0, &plain, &item->version);
	return r < 0 ? ctl_fail_add(c, r) : 0;
}

static json_t *id_text(const struct ctl *c)
{
	char hex[2 * sizeof(c->id) + 1];

	for (size_t i = 0; i < sizeof(c->id); i++)
		snprintf(hex + 2 * i, 3, "%02x", c->id[i]);
	return json_string(hex);
}

static int run_set(struct ctl *c)
{
	json_t *list = json_array();
	int r = 0;

	for (size_t i = 0; i < c->n_ids && r == 0; i++) {
		const struct set_item *item = &c->set[i];

		r = put_item(c, &c->set[i]);
		if (r == 0 && json_array_append_new(list, json_pack("{s:s, s:I, s:b}", "name", item->name, "version",
								    (json_int_t)item->version, "created_secret",
								    (int)item->created)) < 0)
			c->short_of_memory = true;
	}
	ctl_set(c, "set", id_text(c));
	ctl_set(c, "epoch", json_integer((json_int_t)store_epoch(c->env->store) + 1));
	ctl_set(c, "secrets", list);
	if (r == 0 && c->request->stage && c->request->value_len) {
		r = store_stage_clean(c->env->store, c->request->stage);
		if (r < 0)
			r = ctl_fail_store(c, r, "store the set");
	}
	return r;
}

/* One record for each secret, with its version and the binding that let it in; the set's id ties them together. */
static int record_set(struct ctl *c)
{
	json_t *id = id_text(c);
	int r = id ? 0 : ctl_fail_store(c, -ENOMEM, "record the set");

	for (size_t i = 0; i < c->n_ids && r == 0; i++) {
		const struct set_item *item = &c->set[i];

		c->secret = item->name;
		c->version = item->version;
		c->binding = item->binding;
		c->role = item->role;
		c->part = i;
		memcpy(c->role_name, item->role_name, sizeof(c->role_name));
		memcpy(c->principal, item->principal, sizeof(c->principal));
		snprintf(c->detail, sizeof(c->detail), "set %s, %zu of %zu", json_string_value(id), i + 1, c->n_ids);
		r = ctl_record(c, AUDIT_ALLOW, 0, false);
	}
	c->part = 0;
	json_decref(id);
	return r;
}

static const struct ctl_field set_fields[] = { { "items", CTL_ARRAY, true }, { "value_length", CTL_INT, true }, { 0 } };

const struct ctl_op ctl_set_ops[] = {
	{ .name = "put-set",
	  .operation = AUDIT_SECRET_SET,
	  .changes = true,
	  .fields = set_fields,
	  .check = check_set,
	  .ask = ask_set,
	  .run = run_set,
	  .record = record_set },
	{ 0 },
};
