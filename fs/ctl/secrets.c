/* Requests that change secrets and their versions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/internal.h"
#include "store/crypto/secbuf.h"
#include "store/objects/objects.h"
#include "store/objects/stages.h"

/* ---- looking ---- */

int ctl_find(struct ctl *c, uint32_t version, struct ctl_view *ret)
{
	const struct catalog_secret *s;
	const struct catalog_version *v;
	struct ctl_view view = { 0 };
	bool deleted;
	char command[256];

	store_rdlock(c->env->store);
	s = store_find(c->env->store, c->args.name);
	deleted = !s && store_find_deleted(c->env->store, c->args.name);
	if (s) {
		view = (struct ctl_view){ .id = s->id,
					  .current = s->current,
					  .n_versions = s->n_versions,
					  .enabled = s->enabled,
					  .created = s->created,
					  .changed = s->changed,
					  .settings = *store_settings(c->env->store) };
		v = catalog_version(s, version ? version : s->current);
		if (v)
			view.v = *v;
	}
	store_unlock_tables(c->env->store);

	ctl_command(c, command, sizeof(command));
	if (deleted) {
		ctl_hint(c, "to bring it back: %s recover %s", command, c->args.name);
		return ctl_fail(c, ENOENT, "%s is deleted", c->args.name);
	}
	if (!view.id) {
		ctl_hint(c, "see: %s list", command);
		return ctl_fail(c, ENOENT, "there is no secret %s", c->args.name);
	}
	if (version && view.v.destroyed)
		return ctl_fail(c, ENOENT, "version %u of %s was destroyed: it cannot be brought back", version,
				c->args.name);
	if (version && !view.v.number) {
		ctl_hint(c, "see: %s versions %s", command, c->args.name);
		return ctl_fail(c, ENOENT, "%s has no version %u", c->args.name, version);
	}
	*ret = view;
	return 0;
}

static int fail_disabled(struct ctl *c)
{
	char command[256];

	ctl_hint(c, "to put it back into service: %s enable %s", ctl_command(c, command, sizeof(command)),
		 c->args.name);
	return ctl_fail(c, EACCES, "%s is disabled", c->args.name);
}

int ctl_find_live(struct ctl *c, uint32_t *ret_id)
{
	struct ctl_view view;
	int r = ctl_find(c, 0, &view);

	if (r < 0)
		return r;
	if (!view.enabled)
		return fail_disabled(c);
	*ret_id = view.id;
	return 0;
}

static int check_name_version(struct ctl *c)
{
	int r = ctl_check_name(c, "name", &c->args.name);

	return r < 0 ? r : ctl_check_version(c, &c->args.version);
}

int ctl_ask_named(struct ctl *c, enum action action)
{
	c->secret = c->args.name;
	c->version = c->args.version;
	return ctl_ask(c, action, c->args.name);
}

static int ask_set(struct ctl *c) { return ctl_ask_named(c, ACTION_SECRETS_SET); }

static int ask_update(struct ctl *c) { return ctl_ask_named(c, ACTION_SECRETS_UPDATE); }

/* ---- attributes ---- */

static int check_content_type(struct ctl *c)
{
	const json_t *v = json_object_get(c->in, "content_type");
	const char *text = json_string_value(v);

	c->args.has_content_type = v != NULL;
	for (const char *p = text; p && *p; p++)
		/* also what is not ASCII: the kernel hands it out as an attribute's bytes */
		if (*p < 0x20 || *p == 0x7f)
			return ctl_fail(c, EINVAL, "content_type: only printable ASCII is allowed");
	if (text && strlen(text) > CTL_CONTENT_TYPE_MAX)
		return ctl_fail(c, EINVAL, "content_type: at most %d bytes", CTL_CONTENT_TYPE_MAX);
	c->args.content_type = text && *text ? text : NULL;
	return 0;
}

static int check_tags(struct ctl *c)
{
	json_t *tags = json_object_get(c->in, "tags"), *value;
	const char *key;

	c->args.has_tags = tags != NULL;
	c->args.tags = json_is_object(tags) ? tags : NULL;
	if (!c->args.tags)
		return 0;
	json_object_foreach(tags, key, value) {
		if (!*key || strlen(key) > CTL_TAG_MAX || !ctl_text_clean(key))
			return ctl_fail(c, EINVAL, "tags: a tag's name has 1 to %d bytes and no control characters",
					CTL_TAG_MAX);
		if (!json_is_string(value) && !json_is_null(value))
			return ctl_fail(c, EINVAL, "tags: the value of \"%.64s\" is not a string", key);
		if (json_is_string(value) &&
		    (strlen(json_string_value(value)) > CTL_TAG_MAX || !ctl_text_clean(json_string_value(value))))
			return ctl_fail(
				c, EINVAL,
				"tags: the value of \"%.64s\" is longer than %d bytes, or has control characters", key,
				CTL_TAG_MAX);
	}
	return 0;
}

static int check_attributes(struct ctl *c)
{
	struct ctl_args *a = &c->args;
	int r;

	if ((r = check_content_type(c)) < 0 || (r = check_tags(c)) < 0 ||
	    (r = ctl_check_time(c, "not_before", INT64_MIN, &a->not_before, &a->has_not_before)) < 0 ||
	    (r = ctl_check_time(c, "expires", INT64_MAX, &a->expires, &a->has_expires)) < 0)
		return r;
	return 0;
}

/* The tags that were, with what the request changes, as the store keeps them: text for *ret_text (malloc'd), NULL for
 * none. */
static int merge_tags(struct ctl *c, const char *before, char **ret_text)
{
	json_t *all = before && (!c->args.has_tags || c->args.tags) ? json_loads(before, 0, NULL) : json_object(),
	       *value;
	const char *key;
	char *text = NULL;
	size_t len;
	int r = 0;

	if (!all) /* the store let only JSON in, and its seal was checked */
		return ctl_fail_store(c, -ENOMEM, "read the tags of %s", c->args.name);
	json_object_foreach((json_t *)(uintptr_t)c->args.tags, key, value) {
		if (json_is_null(value))
			json_object_del(all, key);
		else if (json_object_set(all, key, value) < 0)
			c->short_of_memory = true;
	}
	if (json_object_size(all) > CTL_TAGS_MAX)
		r = ctl_fail(c, EINVAL, "tags: %s would have %zu of them; the limit is %d", c->args.name,
			     json_object_size(all), CTL_TAGS_MAX);
	else if (json_object_size(all) && !(text = ctl_dump(all, JSON_COMPACT | JSON_SORT_KEYS, &len)))
		c->short_of_memory = true;
	if (r == 0 && c->short_of_memory)
		r = ctl_fail_store(c, -ENOMEM, "change the tags");
	json_decref(all);
	if (r < 0) {
		free(text);
		return r;
	}
	*ret_text = text;
	return 0;
}

static int check_window(struct ctl *c, int64_t not_before, int64_t expires)
{
	if (expires <= not_before)
		return ctl_fail(c, EINVAL, "expires: the version would expire before it is valid");
	return 0;
}

/* Taken all the same: old values are brought here with their times, and who wants a version expired may say so. */
static void warn_expired(struct ctl *c, int64_t expires)
{
	if (expires <= c->now)
		ctl_hint(c, "expires lies in the past: the version has expired already");
}

/* ---- put ---- */

static int check_put(struct ctl *c)
{
	int r;

	if ((r = ctl_check_name(c, "name", &c->args.name)) < 0 || (r = check_attributes(c)) < 0)
		return r;
	return check_window(c, c->args.not_before, c->args.expires);
}

int ctl_put_secret(struct ctl *c, uint32_t *ret_id, bool *ret_created)
{
	const struct catalog_secret *s;
	bool deleted, enabled = true;
	uint32_t id = 0;
	char command[256];
	int r;

	store_rdlock(c->env->store);
	s = store_find(c->env->store, c->args.name);
	deleted = !s && store_find_deleted(c->env->store, c->args.name);
	if (s) {
		id = s->id;
		enabled = s->enabled;
	}
	store_unlock_tables(c->env->store);

	if (deleted) {
		ctl_command(c, command, sizeof(command));
		ctl_hint(c, "to bring it back: %s recover %s; to free the name: %s purge %s", command, c->args.name,
			 command, c->args.name);
		return ctl_fail(c, EEXIST, "%s was deleted, and keeps its name until it is recovered or purged",
				c->args.name);
	}
	if (!enabled)
		return fail_disabled(c);
	*ret_created = id == 0;
	if (id == 0) {
		r = store_secret_create(c->env->store, c->args.name, &id);
		if (r < 0)
			return ctl_fail_store(c, r, "make the secret %s", c->args.name);
	}
	*ret_id = id;
	return 0;
}

int ctl_fail_add(struct ctl *c, int r)
{
	char command[256];

	if (r == -EALREADY) {
		ctl_hint(c, "see: %s versions %s", ctl_command(c, command, sizeof(command)), c->args.name);
		return ctl_fail(c, EIO, "this value was stored before, and the answer of that time is gone");
	}
	if (r != -EFBIG)
		return ctl_fail_store(c, r, "store a version of %s", c->args.name);
	return ctl_fail_large(c);
}

static int run_put(struct ctl *c)
{
	struct version_attributes a = { .content_type = c->args.content_type,
					.not_before = c->args.not_before,
					.expires = c->args.expires };
	char *tags = NULL;
	uint32_t id = 0, version = 0, limit;
	bool created = false;
	int r;

	store_rdlock(c->env->store);
	limit = store_settings(c->env->store)->value_max;
	store_unlock_tables(c->env->store);
	if (c->args.value_length > limit)
		return ctl_fail_add(c, -EFBIG);
	if ((r = merge_tags(c, NULL, &tags)) < 0)
		return r;
	a.tags_json = tags;
	r = ctl_put_secret(c, &id, &created);
	if (r < 0)
		goto out;
	if (c->args.value_length)
		r = store_stage_commit(c->env->store, c->request->stage, id, &a, &version);
	else
		r = store_version_add(c->env->store, id, "", 0, &a, &version);
	if (r < 0) {
		r = ctl_fail_add(c, r);
		goto out;
	}
	c->version = version;
	warn_expired(c, a.expires);
	ctl_set(c, "name", json_string(c->args.name));
	ctl_set(c, "version", json_integer(version));
	ctl_set(c, "created_secret", json_boolean(created));
out:
	free(tags);
	return r;
}

/* ---- attr ---- */

static int check_attr(struct ctl *c)
{
	int r;

	if ((r = check_name_version(c)) < 0 || (r = check_attributes(c)) < 0)
		return r;
	if (!c->args.has_content_type && !c->args.has_tags && !c->args.has_not_before && !c->args.has_expires)
		return ctl_fail(c, EINVAL, "attr: one of content_type, not_before, expires, tags is needed");
	return 0;
}

static int fail_no_current(struct ctl *c)
{
	char command[256];

	ctl_command(c, command, sizeof(command));
	ctl_hint(c, "see: %s versions %s; to make one: %s put %s", command, c->args.name, command, c->args.name);
	return ctl_fail(c, ENOENT, "%s has no version in service", c->args.name);
}

static int run_attr(struct ctl *c)
{
	const struct ctl_args *in = &c->args;
	struct store_attributes before = { 0 };
	struct version_attributes a;
	struct ctl_view view;
	char *tags = NULL;
	int r = ctl_find(c, in->version, &view);

	if (r < 0)
		return r;
	if (!view.v.number)
		return fail_no_current(c);
	c->version = view.v.number;
	r = store_version_attributes(c->env->store, view.id, view.v.number, &before);
	if (r < 0)
		return ctl_fail_store(c, r, "read the attributes of %s", in->name);
	r = merge_tags(c, before.tags_json, &tags);
	if (r < 0)
		goto out;
	a = (struct version_attributes){
		.content_type = in->has_content_type ? in->content_type : before.content_type,
		.tags_json = tags,
		.not_before = in->has_not_before ? in->not_before : view.v.not_before,
		.expires = in->has_expires ? in->expires : view.v.expires,
	};
	r = check_window(c, a.not_before, a.expires);
	if (r < 0)
		goto out;
	r = store_version_set_attributes(c->env->store, view.id, view.v.number, &a);
	if (r < 0) {
		r = ctl_fail_store(c, r, "change the attributes of %s", in->name);
		goto out;
	}
	if (in->has_expires)
		warn_expired(c, a.expires);
	ctl_set(c, "name", json_string(in->name));
	ctl_set(c, "version", json_integer(view.v.number));
out:
	store_attributes_free(&before);
	free(tags);
	return r;
}

/* ---- enable, disable ---- */

/* Which version current will serve when `version` (0: the secret) has been switched; the tables in memory move only at
 * the commit. */
static uint32_t current_after(struct ctl *c, uint32_t version, bool enabled)
{
	const struct catalog_secret *s;
	uint32_t current = 0;

	store_rdlock(c->env->store);
	s = store_find(c->env->store, c->args.name);
	for (uint32_t i = s ? s->n_versions : 0; i > 0 && !current; i--)
		if (s->versions[i - 1].number == version ? enabled : s->versions[i - 1].enabled)
			current = s->versions[i - 1].number;
	if (s && !(version ? s->enabled : enabled))
		current = 0;
	store_unlock_tables(c->env->store);
	return current;
}

static int switch_service(struct ctl *c, bool enabled)
{
	uint32_t version = c->args.version, current;
	struct ctl_view view;
	int r = ctl_find(c, version, &view);

	if (r < 0)
		return r;
	if (version)
		r = store_version_enable(c->env->store, view.id, version, enabled);
	else
		r = store_secret_enable(c->env->store, view.id, enabled);
	if (r < 0)
		return ctl_fail_store(c, r, "%s %s", c->op->name, c->args.name);
	current = current_after(c, version, enabled);
	snprintf(c->detail, sizeof(c->detail), "%s", enabled ? "enabled" : "disabled");
	ctl_set(c, "name", json_string(c->args.name));
	if (version)
		ctl_set(c, "version", json_integer(version));
	ctl_set(c, "enabled", json_boolean(enabled));
	ctl_set(c, "current", ctl_version(current));
	return 0;
}

static int run_enable(struct ctl *c) { return switch_service(c, true); }

static int run_disable(struct ctl *c) { return switch_service(c, false); }

/* ---- destroy ---- */

static int ask_purge(struct ctl *c) { return ctl_ask_named(c, ACTION_SECRETS_PURGE); }

static int run_destroy(struct ctl *c)
{
	uint32_t version = c->args.version;
	struct ctl_view view;
	int r = ctl_find(c, version, &view);

	if (r < 0)
		return r;
	r = store_version_destroy(c->env->store, view.id, version);
	if (r == -EPERM) {
		ctl_hint(c, "a version can be disabled; its content is destroyed when the secret is deleted and its "
			    "retention has passed");
		return ctl_fail(c, EPERM, "purge protection is on: no version can be destroyed by itself");
	}
	if (r < 0)
		return ctl_fail_store(c, r, "destroy version %u of %s", version, c->args.name);
	ctl_set(c, "name", json_string(c->args.name));
	ctl_set(c, "version", json_integer(version));
	ctl_set(c, "current", ctl_version(current_after(c, version, false)));
	return 0;
}

/* ---- rollback ---- */

static int ask_rollback(struct ctl *c)
{
	int r = ctl_ask_named(c, ACTION_SECRETS_GET);

	return r < 0 ? r : ctl_ask_named(c, ACTION_SECRETS_SET);
}

/* What could not be read cannot be put back into service either. */
static int find_rollback(struct ctl *c, struct ctl_view *ret)
{
	struct ctl_view view;
	char command[256];
	int r = ctl_find(c, c->args.version, &view);

	if (r < 0)
		return r;
	ctl_command(c, command, sizeof(command));
	if (!view.enabled)
		return fail_disabled(c);
	if (!view.v.enabled) {
		ctl_hint(c, "to put it back into service: %s enable %s --version %u", command, c->args.name,
			 c->args.version);
		return ctl_fail(c, EACCES, "version %u of %s is disabled", c->args.version, c->args.name);
	}
	if (!store_version_valid(&view.settings, &view.v, c->now)) {
		ctl_hint(c, "to change when it expires: %s attr %s --version %u --expires TIME", command, c->args.name,
			 c->args.version);
		return ctl_fail(c, EKEYEXPIRED, "version %u of %s is not valid now", c->args.version, c->args.name);
	}
	*ret = view;
	return 0;
}

static int load_rollback(struct ctl *c)
{
	struct ctl_view view;
	int r = find_rollback(c, &view);

	if (r < 0)
		return r;
	c->value_of = view.id;
	r = store_version_read(c->env->store, view.id, c->args.version, &c->value);
	return r < 0 ? ctl_fail_store(c, r, "read version %u of %s", c->args.version, c->args.name) : 0;
}

static int run_rollback(struct ctl *c)
{
	struct store_attributes before = { 0 };
	struct version_attributes a;
	struct ctl_view view;
	uint32_t version = 0;
	int r = find_rollback(c, &view);

	if (r < 0)
		return r;
	/* purged since the value was read, and made anew: who may read this one need not have been allowed that */
	if (view.id != c->value_of)
		return ctl_fail(c, ENOENT, "%s is another secret by now", c->args.name);
	r = store_version_attributes(c->env->store, view.id, c->args.version, &before);
	if (r < 0)
		return ctl_fail_store(c, r, "read the attributes of %s", c->args.name);
	/* an expiry that has passed would take the new version out of service at once */
	a = (struct version_attributes){ .content_type = before.content_type,
					 .tags_json = before.tags_json,
					 .not_before = view.v.not_before,
					 .expires = view.v.expires > c->now ? view.v.expires : INT64_MAX };
	r = store_version_add(c->env->store, view.id, secbuf_cdata(c->value), secbuf_len(c->value), &a, &version);
	store_attributes_free(&before);
	if (r < 0) {
		c->args.value_length = secbuf_len(c->value);
		return ctl_fail_add(c, r);
	}
	c->version = version;
	snprintf(c->detail, sizeof(c->detail), "content of version %u", c->args.version);
	ctl_set(c, "name", json_string(c->args.name));
	ctl_set(c, "version", json_integer(version));
	ctl_set(c, "from", json_integer(c->args.version));
	return 0;
}

/* ---- the table ---- */

#define FIELD_ATTRIBUTES                                                                                  \
	{ "content_type", CTL_STRING | CTL_NULL, false }, { "not_before", CTL_STRING | CTL_NULL, false }, \
		{ "expires", CTL_STRING | CTL_NULL, false },                                              \
	{                                                                                                 \
		"tags", CTL_OBJECT | CTL_NULL, false                                                      \
	}

static const struct ctl_field named_version[] = { { "name", CTL_STRING, true },
						  { "version", CTL_INT | CTL_NULL, false },
						  { 0 } };
static const struct ctl_field needed_version[] = { { "name", CTL_STRING, true }, { "version", CTL_INT, true }, { 0 } };
static const struct ctl_field put_fields[] = {
	{ "name", CTL_STRING, true }, { "value_length", CTL_INT, true }, FIELD_ATTRIBUTES, { 0 }
};
static const struct ctl_field attr_fields[] = {
	{ "name", CTL_STRING, true }, { "version", CTL_INT | CTL_NULL, false }, FIELD_ATTRIBUTES, { 0 }
};

const struct ctl_op ctl_secrets_ops[] = {
	{ .name = "put",
	  .operation = AUDIT_SECRET_SET,
	  .changes = true,
	  .fields = put_fields,
	  .check = check_put,
	  .ask = ask_set,
	  .run = run_put },
	{ .name = "attr",
	  .operation = AUDIT_SECRET_UPDATE,
	  .changes = true,
	  .fields = attr_fields,
	  .check = check_attr,
	  .ask = ask_update,
	  .run = run_attr },
	{ .name = "enable",
	  .operation = AUDIT_SECRET_UPDATE,
	  .changes = true,
	  .fields = named_version,
	  .check = check_name_version,
	  .ask = ask_update,
	  .run = run_enable },
	{ .name = "disable",
	  .operation = AUDIT_SECRET_UPDATE,
	  .changes = true,
	  .fields = named_version,
	  .check = check_name_version,
	  .ask = ask_update,
	  .run = run_disable },
	{ .name = "destroy",
	  .operation = AUDIT_SECRET_DESTROY,
	  .changes = true,
	  .fields = needed_version,
	  .check = check_name_version,
	  .ask = ask_purge,
	  .run = run_destroy },
	{ .name = "rollback",
	  .operation = AUDIT_SECRET_SET,
	  .changes = true,
	  .fields = needed_version,
	  .check = check_name_version,
	  .ask = ask_rollback,
	  .load = load_rollback,
	  .run = run_rollback },
	{ 0 },
};
