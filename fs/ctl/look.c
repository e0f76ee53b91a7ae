/* Requests that look at secrets and their versions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/internal.h"
#include "policy/policy.h"
#include "store/core/clock.h"
#include "store/objects/objects.h"

/* ---- list ---- */

static int check_list(struct ctl *c)
{
	c->args.deleted = json_is_true(json_object_get(c->in, "deleted"));
	if (c->args.deleted)
		c->operation = AUDIT_SECRET_LIST_DELETED;
	return 0;
}

/* The single names are filtered; who may list none at all is told so, and recorded as refused. */
static int ask_list_any(struct ctl *c) { return ctl_ask_any(c, ACTION_SECRETS_LIST); }

struct listed {
	uint32_t id, current;
	bool enabled;
	int64_t created, expires, deleted, purge;
	char name[NAME_LEN_MAX + 1];
};

struct listing {
	struct listed *items;
	size_t n, room;
};

#define LIST_SLICE 1024

static int listing_add(struct ctl *c, struct listing *l, const struct catalog_secret *s)
{
	const struct catalog_version *v = catalog_version(s, s->current);
	struct listed *grown;

	if (l->n == l->room) {
		grown = reallocarray(l->items, l->room ? 2 * l->room : 64, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		l->items = grown;
		l->room = l->room ? 2 * l->room : 64;
	}
	l->items[l->n] = (struct listed){ .id = s->id,
					  .current = s->current,
					  .enabled = s->enabled,
					  .created = s->created,
					  .expires = v ? v->expires : INT64_MAX,
					  .deleted = s->changed,
					  .purge = s->deleted ? store_purge_date(c->env->store, s) : 0 };
	snprintf(l->items[l->n++].name, NAME_LEN_MAX + 1, "%s", s->name);
	return 0;
}

/* In slices, so that a listing of a large vault keeps no commit waiting. */
static int listing_collect(struct ctl *c, struct listing *l)
{
	const struct catalog_secret *s;
	struct policy_answer answer;
	uint32_t after = 0;
	int r = 0;

	do {
		store_rdlock(c->env->store);
		for (size_t i = 0; i < LIST_SLICE && r == 0 && (s = store_next(c->env->store, after, c->args.deleted));
		     i++) {
			after = s->id;
			policy_decide(store_policy(c->env->store), &c->who->policy, ACTION_SECRETS_LIST, s->name,
				      c->now, &answer);
			if (answer.decision == POLICY_ALLOW && s->kind == OBJECT_SECRET)
				r = listing_add(c, l, s);
		}
		s = r == 0 ? store_next(c->env->store, after, c->args.deleted) : NULL;
		store_unlock_tables(c->env->store);
	} while (r == 0 && s);
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

static void print_time_or_null(FILE *f, const char *key, int64_t ns)
{
	char text[TIME_TEXT_MAX];

	if (ns == INT64_MIN || ns == INT64_MAX) {
		fprintf(f, "\"%s\":null", key);
		return;
	}
	time_print(ns, text);
	fprintf(f, "\"%s\":\"%s\"", key, text);
}

/* Names need no escapes (their alphabet has no quote), and tags are a JSON object as the store keeps them. A json_t of
 * 100,000 secrets would take 100 MB. */
static int print_listed(struct ctl *c, FILE *f, const struct listed *s)
{
	struct store_attributes a = { 0 };
	int r = 0;

	if (s->current)
		r = store_version_attributes(c->env->store, s->id, s->current, &a);
	if (r < 0 && r != -ENOENT) /* gone since it was collected: listed as it was */
		return r;
	/* an answer is one line; inside a JSON string they would be escaped */
	for (char *p = a.tags_json; p && (p = strpbrk(p, "\r\n"));)
		*p = ' ';
	fprintf(f, "{\"name\":\"%s\",\"version\":", s->name);
	if (s->current)
		fprintf(f, "%u", s->current);
	else
		fputs("null", f);
	fprintf(f, ",\"enabled\":%s,", s->enabled ? "true" : "false");
	print_time_or_null(f, "created", s->created);
	fputc(',', f);
	print_time_or_null(f, "expires", s->expires);
	fprintf(f, ",\"tags\":%s", a.tags_json ? a.tags_json : "{}");
	if (c->args.deleted) {
		fputc(',', f);
		print_time_or_null(f, "deleted", s->deleted);
		fputc(',', f);
		print_time_or_null(f, "purge", s->purge);
	}
	fputc('}', f);
	store_attributes_free(&a);
	return 0;
}

static int run_list(struct ctl *c)
{
	struct listing l = { 0 };
	FILE *f = NULL;
	int r;

	r = listing_collect(c, &l);
	if (r < 0)
		goto out;
	r = -ENOMEM;
	if (l.n)
		qsort(l.items, l.n, sizeof(*l.items), by_name);
	f = open_memstream(&c->text, &c->text_len);
	if (!f)
		goto out;
	fputs("\"secrets\":[", f);
	r = 0;
	for (size_t i = 0; i < l.n && r == 0; i++) {
		if (i)
			fputc(',', f);
		r = print_listed(c, f, &l.items[i]);
	}
	fputc(']', f);
	if (ferror(f))
		r = -ENOMEM;
	if (fclose(f) != 0)
		r = -ENOMEM;
	snprintf(c->detail, sizeof(c->detail), "%zu%s names", l.n, c->args.deleted ? " deleted" : "");
out:
	free(l.items);
	return r < 0 ? ctl_fail_store(c, r, "list the secrets") : 0;
}

/* ---- show, versions ---- */

static int check_name(struct ctl *c) { return ctl_check_name(c, "name", &c->args.name); }

static int ask_list(struct ctl *c) { return ctl_ask_named(c, ACTION_SECRETS_LIST); }

static json_t *rights(action_set set)
{
	json_t *names = json_array();

	for (int a = 0; names && a < ACTION_COUNT; a++) {
		const char *name = action_name((enum action)a);
		if (!(set & ACTION_BIT(a)) || (strncmp(name, "secrets/", 8) && strncmp(name, "bindings/", 9)))
			continue;
		if (json_array_append_new(names, json_string(name)) < 0) {
			json_decref(names);
			return NULL;
		}
	}
	return names;
}

static int run_show(struct ctl *c)
{
	struct store_attributes a = { 0 };
	struct ctl_view view;
	action_set set;
	struct history kept = { 0 };
	json_t *tags = NULL, *names;
	int r = ctl_find(c, 0, &view);

	if (r < 0)
		return r;
	if (view.v.number) {
		r = store_version_attributes(c->env->store, view.id, view.v.number, &a);
		if (r < 0)
			return ctl_fail_store(c, r, "read the attributes of %s", c->args.name);
	}
	store_rdlock(c->env->store);
	set = policy_actions(store_policy(c->env->store), &c->who->policy, c->args.name, c->now);
	const struct history *rule = rules_history(store_rules(c->env->store), c->args.name);
	if (rule)
		kept = *rule;
	store_unlock_tables(c->env->store);

	tags = a.tags_json ? json_loads(a.tags_json, 0, NULL) : json_object();
	names = rights(set);
	ctl_set(c, "secret",
		json_pack("{s:s, s:b, s:o, s:i, s:o, s:o, s:s?, s:o, s:o, s:o, s:o, s:o, s:I, s:o}", "name",
			  c->args.name, "enabled", (int)view.enabled, "version", ctl_version(view.v.number), "versions",
			  (int)view.n_versions, "created", ctl_time(view.created), "changed", ctl_time(view.changed),
			  "content_type", a.content_type, "not_before",
			  ctl_time(view.v.number ? view.v.not_before : INT64_MIN), "expires",
			  ctl_time(view.v.number ? view.v.expires : INT64_MAX), "size",
			  view.v.number ? json_integer(view.v.size) : json_null(), "history",
			  kept.id ? ctl_history_json(&kept) : json_null(), "tags", tags, "binding",
			  (json_int_t)c->binding, "rights", names));
	store_attributes_free(&a);
	return 0;
}

static json_t *version_json(const struct catalog_version *v)
{
	return json_pack("{s:I, s:b, s:o, s:o, s:o, s:I, s:b}", "version", (json_int_t)v->number, "enabled",
			 (int)v->enabled, "created", ctl_time(v->created), "not_before", ctl_time(v->not_before),
			 "expires", ctl_time(v->expires), "size", (json_int_t)v->size, "destroyed", (int)v->destroyed);
}

static int run_versions(struct ctl *c)
{
	const struct catalog_secret *s;
	struct catalog_version *copy = NULL;
	struct ctl_view view;
	json_t *list = NULL;
	size_t n = 0;
	int r = ctl_find(c, 0, &view);

	if (r < 0)
		return r;
	store_rdlock(c->env->store);
	s = store_find(c->env->store, c->args.name);
	if (s && s->n_versions) {
		copy = reallocarray(NULL, s->n_versions, sizeof(*copy));
		n = copy ? s->n_versions : 0;
		if (copy)
			memcpy(copy, s->versions, n * sizeof(*copy));
		else
			c->short_of_memory = true;
	}
	store_unlock_tables(c->env->store);

	list = json_array();
	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(list, version_json(&copy[i])) < 0)
			c->short_of_memory = true;
	ctl_set(c, "versions", list);
	free(copy);
	return 0;
}

/* ---- deleted ---- */

/* Whoever may do something about a deleted secret may know its dates. */
static int ask_deleted(struct ctl *c)
{
	static const enum action actions[] = { ACTION_SECRETS_RECOVER, ACTION_SECRETS_PURGE, ACTION_SECRETS_DELETE,
					       ACTION_SECRETS_LIST };
	int r = -EACCES;

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]) && r < 0; i++) {
		ctl_forgive(c);
		r = ctl_ask_named(c, actions[i]);
	}
	return r;
}

static int run_deleted(struct ctl *c)
{
	const struct catalog_secret *s;
	int64_t deleted = 0, purge = 0;
	uint32_t id = 0, n_versions = 0;
	bool protected;
	char command[256];

	store_rdlock(c->env->store);
	s = store_find_deleted(c->env->store, c->args.name);
	protected = store_settings(c->env->store)->purge_protection;
	if (s) {
		id = s->id;
		n_versions = s->n_versions;
		deleted = s->changed;
		purge = store_purge_date(c->env->store, s);
	}
	store_unlock_tables(c->env->store);
	if (!id) {
		ctl_hint(c, "see: %s list --deleted", ctl_command(c, command, sizeof(command)));
		return ctl_fail(c, ENOENT, "there is no deleted secret %s", c->args.name);
	}
	ctl_set(c, "secret",
		json_pack("{s:s, s:o, s:o, s:i, s:b}", "name", c->args.name, "deleted", ctl_time(deleted), "purge",
			  ctl_time(purge), "versions", (int)n_versions, "purge_protection", (int)protected));
	return 0;
}

/* ---- the table ---- */

static const struct ctl_field named[] = { { "name", CTL_STRING, true }, { 0 } };
static const struct ctl_field list_fields[] = { { "deleted", CTL_BOOL, false }, { 0 } };

const struct ctl_op ctl_look_ops[] = {
	{ .name = "list",
	  .operation = AUDIT_SECRET_LIST,
	  .fields = list_fields,
	  .check = check_list,
	  .ask = ask_list_any,
	  .run = run_list },
	{ .name = "show",
	  .operation = AUDIT_SECRET_LIST,
	  .fields = named,
	  .check = check_name,
	  .ask = ask_list,
	  .run = run_show },
	{ .name = "versions",
	  .operation = AUDIT_SECRET_LIST_VERSIONS,
	  .fields = named,
	  .check = check_name,
	  .ask = ask_list,
	  .run = run_versions },
	{ .name = "deleted",
	  .operation = AUDIT_SECRET_LIST_DELETED,
	  .fields = named,
	  .check = check_name,
	  .ask = ask_deleted,
	  .run = run_deleted },
	{ 0 },
};
