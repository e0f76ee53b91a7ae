/* Requests about how much history is kept. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/internal.h"
#include "store/lifecycle/history.h"

/* ---- history-set ---- */

/* A span; "none" and null: not by time. */
static int check_keep_for(struct ctl *c, struct history *h, bool *ret_given)
{
	const json_t *field = json_object_get(c->in, "keep_for");
	const char *text = json_string_value(field);

	*ret_given = field != NULL;
	if (!field || !strcmp(text, "none"))
		return 0;
	if (time_parse_span(text, &h->span) < 0 || h->span < HISTORY_SPAN_LEAST || h->span > HISTORY_SPAN_MAX) {
		ctl_hint(c, "write a span such as 90d or 12w; none takes it away");
		return ctl_fail(c, EINVAL, "keep_for: \"%.64s\" is not a span from one second to a hundred years",
				text);
	}
	return 0;
}

static int check_history_set(struct ctl *c)
{
	const json_t *versions = json_object_get(c->in, "keep_versions");
	struct history *h = &c->args.history;
	int r = ctl_check_scope(c, "on", &c->args.scope);

	if (r == 0)
		r = check_keep_for(c, h, &c->args.has_keep_for);
	if (r < 0)
		return r;
	c->args.has_keep_versions = versions != NULL;
	if (versions && (json_integer_value(versions) < 0 || json_integer_value(versions) > HISTORY_VERSIONS_MAX))
		return ctl_fail(c, EINVAL, "keep_versions: 1 to %u, or 0 for not by number", HISTORY_VERSIONS_MAX);
	if (!versions && !c->args.has_keep_for)
		return ctl_fail(c, EINVAL, "history-set: one of keep_versions and keep_for is needed");
	h->versions = (uint32_t)json_integer_value(versions);
	h->created_by = c->who->uid;
	snprintf(h->scope, sizeof h->scope, "%s", c->args.scope);
	return 0;
}

/* A rule destroys versions, and so does whoever changes one or takes one away: another, wider one may hold then. */
static int ask_history_change(struct ctl *c)
{
	c->secret = c->args.scope;
	return ctl_ask(c, ACTION_SECRETS_PURGE, c->args.scope);
}

/* The rule of this very scope; false: there is none. */
static bool find_rule(struct ctl *c, struct history *ret)
{
	const struct rules *rules;
	bool found = false;

	store_rdlock(c->env->store);
	rules = store_rules(c->env->store);
	for (size_t i = 0; i < rules->n_histories && !found; i++)
		if (!strcmp(rules->histories[i].scope, c->args.scope)) {
			*ret = rules->histories[i];
			found = true;
		}
	store_unlock_tables(c->env->store);
	return found;
}

json_t *ctl_history_json(const struct history *h)
{
	char span[SPAN_TEXT_MAX];

	if (h->span)
		time_print_span(h->span, span);
	return json_pack("{s:I, s:s, s:o, s:o, s:I, s:o}", "id", (json_int_t)h->id, "scope", h->scope, "keep_versions",
			 h->versions ? json_integer(h->versions) : json_null(), "keep_for",
			 h->span ? json_string(span) : json_null(), "created_by", (json_int_t)h->created_by, "created",
			 ctl_time(h->created));
}

static int run_history_set(struct ctl *c)
{
	struct history h = c->args.history, before;
	char span[SPAN_TEXT_MAX] = "", command[256];
	bool protected;
	uint64_t id = 0;
	int r;

	/* what the request does not speak of stays as it is */
	if (find_rule(c, &before)) {
		h.versions = c->args.has_keep_versions ? h.versions : before.versions;
		h.span = c->args.has_keep_for ? h.span : before.span;
	}
	if (!h.versions && !h.span) {
		ctl_hint(c, "to keep everything again: %s history remove '%s'", ctl_command(c, command, sizeof command),
			 h.scope);
		return ctl_fail(c, EINVAL, "a rule on %s would promise nothing", h.scope);
	}
	r = store_history_put(c->env->store, &h, &id);
	if (r == -E2BIG)
		return ctl_fail(c, ENOSPC, "there are %u history rules already: one for a prefix does for many secrets",
				RULES_MAX);
	if (r < 0)
		return ctl_fail_store(c, r, "keep the history rule of %s", h.scope);
	if (h.span)
		time_print_span(h.span, span);
	snprintf(c->detail, sizeof c->detail, "history rule %llu: keeps %u versions, and for %s",
		 (unsigned long long)id, h.versions, h.span ? span : "no time");
	store_rdlock(c->env->store);
	protected = store_settings(c->env->store)->purge_protection;
	store_unlock_tables(c->env->store);
	ctl_set(c, "history", json_integer((json_int_t)id));
	ctl_set(c, "scope", json_string(h.scope));
	ctl_set(c, "keep_versions", h.versions ? json_integer(h.versions) : json_null());
	ctl_set(c, "keep_for", h.span ? json_string(span) : json_null());
	ctl_set(c, "purge_protection", json_boolean(protected));
	return 0;
}

/* ---- histories ---- */

static int check_histories(struct ctl *c)
{
	return json_object_get(c->in, "name") ? ctl_check_name(c, "name", &c->args.name) : 0;
}

static int ask_histories(struct ctl *c)
{
	c->secret = c->args.name;
	return c->args.name ? ctl_ask(c, ACTION_SECRETS_LIST, c->args.name) : ctl_ask_any(c, ACTION_SECRETS_LIST);
}

/* Of each rule whoever may list its whole scope is told; of a name's, whoever may list that. */
static int run_histories(struct ctl *c)
{
	struct history *copy, *only = NULL;
	const struct rules *rules;
	json_t *list = json_array();
	size_t n;

	store_rdlock(c->env->store);
	rules = store_rules(c->env->store);
	n = rules->n_histories;
	copy = reallocarray(NULL, n + 1, sizeof *copy);
	for (size_t i = 0; copy && i < n; i++)
		copy[i] = rules->histories[i];
	const struct history *h = copy && c->args.name ? rules_history(rules, c->args.name) : NULL;
	if (h)
		only = &copy[h - rules->histories];
	store_unlock_tables(c->env->store);
	c->short_of_memory |= !copy;
	for (size_t i = 0; copy && i < n; i++) {
		if (c->args.name ? &copy[i] != only : !ctl_may(c, ACTION_SECRETS_LIST, copy[i].scope))
			continue;
		if (json_array_append_new(list, ctl_history_json(&copy[i])) < 0)
			c->short_of_memory = true;
	}
	ctl_set(c, "histories", list);
	free(copy);
	return 0;
}

/* ---- history-remove ---- */

static int check_history_remove(struct ctl *c) { return ctl_check_scope(c, "on", &c->args.scope); }

static int run_history_remove(struct ctl *c)
{
	struct history h = { 0 };
	char command[256];
	int r = find_rule(c, &h) ? store_history_remove(c->env->store, h.id) : -ENOENT;

	if (r == -ENOENT) {
		ctl_hint(c, "see: %s history list", ctl_command(c, command, sizeof command));
		return ctl_fail(c, ENOENT, "there is no history rule on %s", c->args.scope);
	}
	if (r < 0)
		return ctl_fail_store(c, r, "remove the history rule of %s", c->args.scope);
	snprintf(c->detail, sizeof c->detail, "history rule %llu", (unsigned long long)h.id);
	ctl_set(c, "history", json_integer((json_int_t)h.id));
	ctl_set(c, "scope", json_string(c->args.scope));
	return 0;
}

/* ---- the table ---- */

static const struct ctl_field set_fields[] = {
	{ "on", CTL_STRING, true }, { "keep_versions", CTL_INT, false }, { "keep_for", CTL_STRING, false }, { 0 }
};
static const struct ctl_field histories_fields[] = { { "name", CTL_STRING, false }, { 0 } };
static const struct ctl_field scoped[] = { { "on", CTL_STRING, true }, { 0 } };

const struct ctl_op ctl_history_ops[] = {
	{ .name = "history-set",
	  .operation = AUDIT_HISTORY_SET,
	  .changes = true,
	  .fields = set_fields,
	  .check = check_history_set,
	  .ask = ask_history_change,
	  .run = run_history_set },
	{ .name = "histories",
	  .operation = AUDIT_HISTORY_LIST,
	  .fields = histories_fields,
	  .check = check_histories,
	  .ask = ask_histories,
	  .run = run_histories },
	{ .name = "history-remove",
	  .operation = AUDIT_HISTORY_DELETE,
	  .changes = true,
	  .fields = scoped,
	  .check = check_history_remove,
	  .ask = ask_history_change,
	  .run = run_history_remove },
	{ 0 },
};
