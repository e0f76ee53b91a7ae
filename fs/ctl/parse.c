/* From a line of JSON to an operation and its fields. Nothing is asked here, told or recorded. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/ctl/internal.h"
#include "policy/policy.h"
#include "store/keys/envelope.h"
#include "store/objects/stages.h"

/* ---- fields ---- */

/* ---- parsing ---- */

/* jansson's parser recurses up to 2048 levels; no request is that deep, and threads' stacks are small. */
static bool too_deep(const char *line, size_t len)
{
	bool string = false;
	int depth = 0;

	for (size_t i = 0; i < len; i++) {
		if (string) {
			if (line[i] == '\\')
				i++;
			else if (line[i] == '"')
				string = false;
		} else if (line[i] == '"') {
			string = true;
		} else if (line[i] == '{' || line[i] == '[') {
			if (++depth > CTL_DEPTH_MAX)
				return true;
		} else if (line[i] == '}' || line[i] == ']') {
			depth--;
		}
	}
	return false;
}

static int parse_line(const char *line, size_t len, json_t **ret_object, char *why, size_t why_len)
{
	json_error_t error;
	json_t *object;

	if (len >= CTL_LINE_MAX) {
		snprintf(why, why_len, "the request is longer than %d bytes", CTL_LINE_MAX);
		return -EINVAL;
	}
	if (too_deep(line, len)) {
		snprintf(why, why_len, "the request nests deeper than any request does");
		return -EINVAL;
	}
	/* without JSON_ALLOW_NUL an escaped NUL is an error, so that a string ends where C thinks it does */
	object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	if (!object) {
		/* jansson quotes the input, which is nobody's business in a message */
		if (json_error_code(&error) == json_error_out_of_memory)
			return -ENOMEM;
		if (json_error_code(&error) == json_error_duplicate_key)
			snprintf(why, why_len, "a field appears twice in the request");
		else
			snprintf(why, why_len, "the request is not a line of JSON (byte %d)", error.position);
		return -EINVAL;
	}
	if (!json_is_object(object)) {
		json_decref(object);
		snprintf(why, why_len, "the request is not a JSON object");
		return -EINVAL;
	}
	*ret_object = object;
	return 0;
}

static int value_length(const json_t *object, uint64_t *ret_len, char *why, size_t why_len)
{
	const json_t *v = json_object_get(object, "value_length");
	const char *op = json_string_value(json_object_get(object, "op"));
	const bool set = op && !strcmp(op, "put-set");
	const json_int_t limit = set ? STAGE_SET_MAX : VALUE_MAX;

	if (!v) {
		*ret_len = 0;
		return 0;
	}
	if (!op || (!set && strcmp(op, "put") && strcmp(op, "restore-put"))) {
		snprintf(why, why_len,
			 "value_length: only put and put-set carry a value, and restore-put a piece of a backup");
		return -EINVAL;
	}
	if (!json_is_integer(v) || json_integer_value(v) < 0) {
		snprintf(why, why_len, "value_length: a number of bytes is expected");
		return -EINVAL;
	}
	if (json_integer_value(v) > limit) {
		snprintf(why, why_len, "the value%s %lld bytes; the limit is %lld", set ? "s have" : " has",
			 (long long)json_integer_value(v), (long long)limit);
		return -EFBIG;
	}
	*ret_len = (uint64_t)json_integer_value(v);
	return 0;
}

int ctl_value_length(const char *line, size_t len, uint64_t *ret_len, char *why, size_t why_len)
{
	json_t *object = NULL;
	int r = parse_line(line, len, &object, why, why_len);

	if (r == 0)
		r = value_length(object, ret_len, why, why_len);
	json_decref(object);
	return r;
}

bool ctl_may_stage(const struct ctl_env *env, const struct identity *who, const char *line, size_t len)
{
	struct policy_answer answer = { 0 };
	const json_t *items, *item;
	json_t *object = NULL;
	bool may = false;
	char why[128];
	size_t i;

	if (parse_line(line, len, &object, why, sizeof(why)) < 0)
		return false;
	const char *op = json_string_value(json_object_get(object, "op"));
	items = json_object_get(object, "items");
	store_rdlock(env->store);
	if (op && !strcmp(op, "restore-put")) {
		may = policy_decide_any(store_policy(env->store), &who->policy, ACTION_SECRETS_RESTORE, time_now()) ==
		      POLICY_ALLOW;
	} else if (json_is_array(items)) {
		may = json_array_size(items) > 0;
		json_array_foreach(items, i, item) {
			policy_decide(store_policy(env->store), &who->policy, ACTION_SECRETS_SET,
				      json_string_value(json_object_get(item, "name")), time_now(), &answer);
			may = may && answer.decision == POLICY_ALLOW;
		}
	} else {
		policy_decide(store_policy(env->store), &who->policy, ACTION_SECRETS_SET,
			      json_string_value(json_object_get(object, "name")), time_now(), &answer);
		may = answer.decision == POLICY_ALLOW;
	}
	store_unlock_tables(env->store);
	json_decref(object);
	return may;
}

const struct ctl_op *const ctl_tables[] = {
	ctl_look_ops,  ctl_secrets_ops, ctl_set_ops,    ctl_holders_ops,  ctl_bindings_ops,
	ctl_can_i_ops, ctl_blocks_ops,  ctl_vault_ops,  ctl_rotation_ops, ctl_hooks_ops,
	ctl_roles_ops, ctl_history_ops, ctl_backup_ops, ctl_restore_ops,  NULL,
};

static const struct ctl_op *find_op(const char *name)
{
	for (size_t t = 0; ctl_tables[t]; t++)
		for (const struct ctl_op *op = ctl_tables[t]; op->name; op++)
			if (!strcmp(op->name, name))
				return op;
	return NULL;
}

static const char *types_text(unsigned types)
{
	switch (types & ~CTL_NULL) {
	case CTL_STRING:
		return types & CTL_NULL ? "a string or null" : "a string";
	case CTL_BOOL:
		return "true or false";
	case CTL_INT:
		return types & CTL_NULL ? "a whole number or null" : "a whole number";
	case CTL_OBJECT:
		return types & CTL_NULL ? "an object or null" : "an object";
	default:
		return "an array";
	}
}

static int check_id(struct ctl *c)
{
	const json_t *v = json_object_get(c->in, "id");
	const char *text = json_string_value(v);
	size_t n = 0;

	if (!v && !c->op->changes)
		return 0;
	if (!v)
		return ctl_fail(c, EINVAL, "id: %s changes something, so it needs an id of 32 random hex digits",
				c->op->name);
	for (; text && n < 32; n++) {
		char ch = text[n];
		int digit = ch >= '0' && ch <= '9'   ? ch - '0'
			    : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
			    : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
						     : -1;
		if (digit < 0)
			break;
		c->id[n / 2] = (uint8_t)(c->id[n / 2] << 4 | digit);
	}
	if (n != 32 || text[32])
		return ctl_fail(c, EINVAL, "id: 32 hex digits are expected");
	return 0;
}

static int check_fields(struct ctl *c)
{
	const struct ctl_field *f;
	const char *key;
	json_t *value;

	json_object_foreach(c->in, key, value) {
		if (!strcmp(key, "op") || !strcmp(key, "id"))
			continue;
		for (f = c->op->fields; f->name && strcmp(f->name, key); f++)
			;
		if (!f->name)
			return ctl_fail(c, EINVAL, "%.64s: %s has no such field", key, c->op->name);
		if (!(f->types & 1u << json_typeof(value)))
			return ctl_fail(c, EINVAL, "%s: %s is expected", key, types_text(f->types));
	}
	for (f = c->op->fields; f->name; f++)
		if (f->required && !json_object_get(c->in, f->name))
			return ctl_fail(c, EINVAL, "%s: %s needs this field", f->name, c->op->name);
	return 0;
}

int ctl_check_line(struct ctl *c)
{
	char why[CTL_MESSAGE_MAX];
	const char *name;
	int r;

	r = parse_line(c->request->line, c->request->len, &c->in, why, sizeof(why));
	if (r < 0)
		return r == -ENOMEM ? ctl_fail_store(c, r, "read the request") : ctl_fail(c, -r, "%s", why);
	name = ctl_string(c, "op");
	if (!name)
		return ctl_fail(c, EINVAL, "op: the request names no operation");
	c->op = find_op(name);
	if (!c->op) {
		ctl_hint(c, "`coffer` and `cofferd` may be of different versions: this daemon is " COFFER_VERSION);
		return ctl_fail(c, EINVAL, "op: there is no operation \"%.64s\"", name);
	}
	r = check_id(c);
	if (r == 0)
		r = check_fields(c);
	if (r == 0 && (r = value_length(c->in, &c->args.value_length, why, sizeof(why))) < 0)
		return ctl_fail(c, -r, "%s", why);
	return r == 0 && c->op->check ? c->op->check(c) : r;
}
