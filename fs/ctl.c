#include "fs/ctl.h"
#include "fs/ctl_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/shared.h"
#include "policy/scope.h"

/* How a request goes:
 *
 *   parse      JSON, the operation, its fields by table
 *   check      the fields' values; until here nobody was asked and nothing is recorded: a flood of nonsense must not fill the log
 *   ask        the policy; a denial is recorded and answered with the command that would lift it
 *   load       what blocks on the key holder, so that a transaction need not
 *   run        reads: fill the answer, record, reply
 *              changes: begin, ask again (what was allowed before the wait for the lock may have been revoked), look for the id's first answer,
 *              change, keep the answer, record, commit. The record comes before the commit: what happened is in the log, what is in the
 *              log but failed is followed by a second record that says so. */

/* ---- errors ---- */

/* Bytes of the UTF-8 sequence at p, 0 if there is none (RFC 3629 §4). */
static size_t utf8_sequence(const unsigned char *p)
{
	size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/* What a terminal could take for an order, and what is not UTF-8 (a text cut within a character), becomes a question mark. */
static void printable(char *text)
{
	unsigned char *p = (unsigned char *)text;

	while (*p) {
		size_t n = utf8_sequence(p);
		if (n == 0 || *p < 0x20 || *p == 0x7f || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0)) {
			for (size_t i = 0; i < (n ? n : 1); i++)
				p[i] = '?';
		}
		p += n ? n : 1;
	}
}

int ctl_fail(struct ctl *c, int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(c->message, sizeof(c->message), format, ap);
	va_end(ap);
	printable(c->message);
	c->error = error;
	return -error;
}

void ctl_hint(struct ctl *c, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(c->hint, sizeof(c->hint), format, ap);
	va_end(ap);
	printable(c->hint);
}

static const struct { int error; const char *message, *hint; } store_errors[] = {
	{ ENOKEY, "the vault is sealed", "as root, run: coffer unseal" },
	{ ETIMEDOUT, "the key holder did not answer in time", "see `coffer status`, and try again" },
	{ EAGAIN, "too many keys were asked of the key holder", "try again in a moment" },
	{ EBADMSG, "the store is damaged: a seal does not match", "run `coffer fsck` on the store, and restore what it names from a backup" },
	{ ENOSPC, "no space is left for the store", "make room on the store's file system, and try again" },
	{ EROFS, "the store's file system is read-only", "mount it writable, and try again" },
	{ ENOMEM, "memory is short", "try again; `coffer status` shows how much locked memory is in use" },
	{ EIO, "the store could not be read or written", "see the daemon's messages and the kernel's log for the disk" },
};

int ctl_fail_store(struct ctl *c, int r, const char *format, ...)
{
	int error = r == -EBUSY ? EAGAIN : -r;
	size_t n = sizeof(store_errors) / sizeof(store_errors[0]), i = 0;
	char what[CTL_MESSAGE_MAX / 2];
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	while (i < n && store_errors[i].error != error)
		i++;
	if (i == n)
		return ctl_fail(c, error, "cannot %s: %s", what, strerror(error));
	ctl_hint(c, "%s", store_errors[i].hint);
	return ctl_fail(c, error, "cannot %s: %s", what, store_errors[i].message);
}

int ctl_fail_large(struct ctl *c)
{
	uint32_t limit;

	store_rdlock(c->env->store);
	limit = store_settings(c->env->store)->value_max;
	store_unlock_tables(c->env->store);
	ctl_hint(c, "keep the large file elsewhere, encrypted, and its key here");
	return ctl_fail(c, EFBIG, "the value has %llu bytes; this vault's limit is %u", (unsigned long long)c->args.value_length, limit);
}

/* ---- answers ---- */

void ctl_set(struct ctl *c, const char *key, json_t *value)
{
	if (json_object_set_new(c->out, key, value) < 0)
		c->short_of_memory = true;
}

json_t *ctl_time(int64_t ns)
{
	char text[TIME_TEXT_MAX];

	if (ns == INT64_MIN || ns == INT64_MAX)
		return json_null();
	time_print(ns, text);
	return json_string(text);
}

json_t *ctl_version(uint32_t version)
{
	return version ? json_integer(version) : json_null();
}

int64_t ctl_monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

char *ctl_dump(const json_t *value, size_t flags, size_t *ret_len)
{
	size_t len = json_dumpb(value, NULL, 0, flags);
	char *text = len ? malloc(len + 1) : NULL;

	if (!text)
		return NULL;
	if (json_dumpb(value, text, len, flags) != len) {
		free(text);
		return NULL;
	}
	text[len] = '\0';
	*ret_len = len;
	return text;
}

/* object as one line; extra (may be NULL) is further fields as text, without the first comma. */
static int render(const json_t *object, const char *extra, size_t extra_len, char **ret_answer, size_t *ret_len)
{
	size_t len;
	char *head = ctl_dump(object, JSON_COMPACT, &len), *answer;

	if (!head)
		return -ENOMEM;
	answer = realloc(head, len + extra_len + 3);
	if (!answer) {
		free(head);
		return -ENOMEM;
	}
	if (extra_len) {
		answer[len - 1] = ',';
		memcpy(answer + len, extra, extra_len);
		len += extra_len;
		answer[len++] = '}';
	}
	answer[len++] = '\n';
	answer[len] = '\0';
	*ret_answer = answer;
	*ret_len = len;
	return 0;
}

static int render_error(int error, const char *message, const char *hint, char **ret_answer, size_t *ret_len)
{
	/* to a caller an integrity failure is EIO, as at read(2); the exit status tells them apart */
	const char *symbol = errno_symbol(error == EBADMSG ? EIO : error);
	json_t *o = json_pack("{s:b, s:s, s:i, s:s, s:s}", "ok", 0, "errno", symbol, "exit", (int)exit_for_errno(error),
			      "message", message, "hint", hint);
	int r;

	if (!o)
		return -ENOMEM;
	r = render(o, NULL, 0, ret_answer, ret_len);
	json_decref(o);
	return r;
}

int ctl_error_answer(int error, const char *message, char **ret_answer, size_t *ret_len)
{
	char text[CTL_MESSAGE_MAX];

	if (error < 0)
		error = -error;
	snprintf(text, sizeof(text), "%s", message);
	printable(text);
	return render_error(error ? error : EIO, text, "", ret_answer, ret_len);
}

/* ---- the policy ---- */

const char *ctl_command(const struct ctl *c, char *buf, size_t len)
{
	const char *mount = c->env->shared ? c->env->shared->keeper.mount : "";

	if (!*mount || !strcmp(mount, "/vault") || strlen(mount) > len - sizeof("coffer -m "))
		snprintf(buf, len, "coffer");
	else
		snprintf(buf, len, "coffer -m %.*s", (int)(len - sizeof("coffer -m ")), mount);
	return buf;
}

/* A role that only looks gives less away than one that reads; then the fewer actions the better. */
static unsigned role_weight(const struct role *role)
{
	const action_set looks = ACTION_BIT(ACTION_SECRETS_LIST) | ACTION_BIT(ACTION_KEYS_LIST) | ACTION_BIT(ACTION_CERTIFICATES_LIST) |
				 ACTION_BIT(ACTION_BINDINGS_LIST) | ACTION_BIT(ACTION_VAULT_STATUS) | ACTION_BIT(ACTION_VAULT_METRICS);

	return (unsigned)__builtin_popcountll(role->actions & looks) + 16 * (unsigned)__builtin_popcountll(role->actions & ~looks);
}

static const char *least_role(enum action action)
{
	const struct role *least = NULL, *roles;
	size_t n;

	roles = role_builtin(&n);
	for (size_t i = 0; i < n; i++)
		if ((roles[i].actions & ACTION_BIT(action)) && (!least || role_weight(&roles[i]) < role_weight(least)))
			least = &roles[i];
	return least ? least->name : "administrator";
}

void ctl_grant_command(const struct ctl *c, enum action action, const char *name, const char *principal, char ret[CTL_COMMAND_MAX])
{
	char command[256];
	/* only the vault's own actions are asked of the whole vault; a star needs quotes in a shell */
	const char *scope = name ? name : "*", *quote = strchr(scope, '*') ? "'" : "";

	snprintf(ret, CTL_COMMAND_MAX, "%s grant %s %s --on %s%s%s", ctl_command(c, command, sizeof(command)), least_role(action),
		 principal, quote, scope, quote);
}

void ctl_deny(struct ctl *c)
{
	c->denied = true;
	c->binding = 0;
	c->role = 0;
	c->role_name[0] = '\0';
}

static int deny_blocked(struct ctl *c, uint64_t block)
{
	char command[256];

	ctl_deny(c);
	ctl_hint(c, "an administrator can run: %s unblock %llu", ctl_command(c, command, sizeof(command)), (unsigned long long)block);
	return ctl_fail(c, EACCES, "block %llu denies uid %u everything", (unsigned long long)block, c->who->policy.uid);
}

static int deny(struct ctl *c, enum action action, const char *name)
{
	char principal[32], grant[CTL_COMMAND_MAX], command[256];
	const char *scope = name ? name : "*", *quote = strchr(scope, '*') ? "'" : "";

	snprintf(principal, sizeof(principal), "user:%u", c->who->policy.uid);
	ctl_grant_command(c, action, name, principal, grant);
	ctl_deny(c);
	ctl_hint(c, "an administrator can run: %s; to see what is missing: %s can-i %s %s%s%s", grant,
		 ctl_command(c, command, sizeof(command)), action_name(action), quote, scope, quote);
	if (!name)
		return ctl_fail(c, EACCES, "no binding gives uid %u %s on the vault", c->who->policy.uid, action_name(action));
	return ctl_fail(c, EACCES, "no binding gives uid %u %s on %s", c->who->policy.uid, action_name(action), name);
}

int ctl_ask(struct ctl *c, enum action action, const char *name)
{
	struct policy_answer answer;
	const struct role *role;

	c->asked = true;
	store_rdlock(c->env->store);
	policy_decide(store_policy(c->env->store), &c->who->policy, action, name, c->now, &answer);
	role = answer.decision == POLICY_ALLOW ? policy_role(store_policy(c->env->store), answer.role) : NULL;
	if (role)
		memcpy(c->role_name, role->name, sizeof(c->role_name));
	store_unlock_tables(c->env->store);

	if (answer.block)
		return deny_blocked(c, answer.block);
	if (answer.decision != POLICY_ALLOW)
		return deny(c, action, name);
	c->binding = answer.binding;
	c->role = answer.role;
	store_binding_used(c->env->store, answer.binding, c->now);
	return 0;
}

bool ctl_may(const struct ctl *c, enum action action, const char *name)
{
	struct policy_answer answer;

	store_rdlock(c->env->store);
	policy_decide(store_policy(c->env->store), &c->who->policy, action, name, c->now, &answer);
	store_unlock_tables(c->env->store);
	return answer.decision == POLICY_ALLOW;
}

int ctl_ask_any(struct ctl *c, enum action action)
{
	enum policy_decision decision;
	int r = ctl_ask(c, action, NULL);

	if (r == 0)
		return 0;
	store_rdlock(c->env->store);
	decision = policy_decide_any(store_policy(c->env->store), &c->who->policy, action, c->now);
	store_unlock_tables(c->env->store);
	if (decision != POLICY_ALLOW)
		return r;
	ctl_forgive(c);
	return 0;
}

void ctl_forgive(struct ctl *c)
{
	c->denied = false;
	c->error = 0;
	c->message[0] = c->hint[0] = '\0';
}

/* ---- fields ---- */

const char *ctl_string(const struct ctl *c, const char *field)
{
	return json_string_value(json_object_get(c->in, field));
}

bool ctl_text_clean(const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f || (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0))	/* C0, DEL, C1 */
			return false;
	return true;
}

int ctl_check_name(struct ctl *c, const char *field, const char **ret_name)
{
	const char *name = ctl_string(c, field);

	if (!name_valid(name)) {
		ctl_hint(c, "a name is a letter or digit, then letters, digits, dots, underscores or hyphens: at most %d bytes", NAME_LEN_MAX);
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
			return ctl_fail(c, EINVAL, "%s: \"%.64s\" is too far away: times end in the year 2262", field, json_string_value(v));
		if (r < 0) {
			ctl_hint(c, "write RFC 3339 with an offset (2027-01-31T12:00:00Z), or a span from now (90d, 12h)");
			return ctl_fail(c, EINVAL, "%s: \"%.64s\" is not a time", field, json_string_value(v));
		}
	}
	*ret_ns = ns;
	*ret_given = v != NULL;
	return 0;
}

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
		snprintf(why, why_len, "value_length: only put and put-set carry a value, and restore-put a piece of a backup");
		return -EINVAL;
	}
	if (!json_is_integer(v) || json_integer_value(v) < 0) {
		snprintf(why, why_len, "value_length: a number of bytes is expected");
		return -EINVAL;
	}
	if (json_integer_value(v) > limit) {
		snprintf(why, why_len, "the value%s %lld bytes; the limit is %lld", set ? "s have" : " has", (long long)json_integer_value(v), (long long)limit);
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
		may = policy_decide_any(store_policy(env->store), &who->policy, ACTION_SECRETS_RESTORE, time_now()) == POLICY_ALLOW;
	} else if (json_is_array(items)) {
		may = json_array_size(items) > 0;
		json_array_foreach(items, i, item) {
			policy_decide(store_policy(env->store), &who->policy, ACTION_SECRETS_SET, json_string_value(json_object_get(item, "name")), time_now(), &answer);
			may = may && answer.decision == POLICY_ALLOW;
		}
	} else {
		policy_decide(store_policy(env->store), &who->policy, ACTION_SECRETS_SET, json_string_value(json_object_get(object, "name")), time_now(), &answer);
		may = answer.decision == POLICY_ALLOW;
	}
	store_unlock_tables(env->store);
	json_decref(object);
	return may;
}

static const struct ctl_op *find_op(const char *name)
{
	static const struct ctl_op *const tables[] = { ctl_secrets_ops, ctl_set_ops, ctl_holders_ops, ctl_bindings_ops, ctl_blocks_ops, ctl_vault_ops, ctl_rotation_ops, ctl_backup_ops, ctl_restore_ops };

	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct ctl_op *op = tables[t]; op->name; op++)
			if (!strcmp(op->name, name))
				return op;
	return NULL;
}

static const char *types_text(unsigned types)
{
	switch (types & ~CTL_NULL) {
	case CTL_STRING: return types & CTL_NULL ? "a string or null" : "a string";
	case CTL_BOOL: return "true or false";
	case CTL_INT: return types & CTL_NULL ? "a whole number or null" : "a whole number";
	case CTL_OBJECT: return types & CTL_NULL ? "an object or null" : "an object";
	default: return "an array";
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
		return ctl_fail(c, EINVAL, "id: %s changes something, so it needs an id of 32 random hex digits", c->op->name);
	for (; text && n < 32; n++) {
		char ch = text[n];
		int digit = ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : -1;
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

void ctl_done(struct ctl *c)
{
	json_decref(c->in);
	json_decref(c->out);
	json_decref(c->begun);
	free(c->text);
	free(c->ids);
	free(c->raw);
	free(c->set);
	secbuf_free(c->value);
}

/* ---- the record ---- */

int ctl_record(struct ctl *c, enum audit_result result, int error, bool again)
{
	int64_t us = (ctl_monotonic() - c->started) / 1000;
	struct audit_event e = {
		.operation = c->operation ? c->operation : c->op->operation, .result = result, .error = error, .secret = c->secret, .version = c->version,
		.caller = &c->who->audit, .binding = c->binding, .role = c->role_name[0] ? c->role_name : NULL, .unique = c->request->unique ? c->request->unique + (c->part << AUDIT_PART_SHIFT) : 0,
		.resent = c->request->resent && !again, .duration_us = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us,
		.detail = c->detail[0] ? c->detail : NULL,
		/* looking does not eat the reserve, but for the look that tells that the log is full */
		.privileged = c->role == ROLE_ADMINISTRATOR && (c->op->changes || c->op->operation == AUDIT_VAULT_STATUS),
	};
	uint32_t delay = 0;
	int r = audit_append(c->env->audit, &e, &delay);

	if (r == 0 && c->request->delay_ms)
		*c->request->delay_ms = delay;
	if (r < 0) {
		ctl_hint(c, "make room for the log (STORE/audit); `coffer status` shows audit.failing; nothing is served that cannot be recorded");
		ctl_fail(c, EIO, "the audit log cannot be written (%s), so nothing was done", strerror(-r));
	}
	return r;
}

/* Records a failure, if the policy was asked: by then it is known who may cause how many of them. The answer stays what it is, unless the log fails. */
static void record_failure(struct ctl *c, bool again)
{
	int error = c->error;

	if (!c->asked || c->unrecorded)
		return;
	if (c->denied && c->env->shared)
		atomic_fetch_add(&c->env->shared->denials, 1);
	if (!c->detail[0])
		snprintf(c->detail, sizeof(c->detail), "%s", c->message);
	ctl_record(c, c->denied ? AUDIT_DENY : AUDIT_ERROR, error, again);
}

/* ---- changes ---- */

#define DIGEST_CHUNK 65536

/* A chain of SHA-256 over the staged value: each link covers the one before and the next chunk, so that the value never needs to be in one piece. */
static int value_digest(struct ctl *c, uint8_t ret[DIGEST_LEN])
{
	struct secbuf *chunk = NULL;
	uint8_t digest[DIGEST_LEN] = { 0 };
	uint64_t at = 0;
	size_t n = 0;
	int r = 0;

	if (c->request->stage && c->request->value_len)
		r = secbuf_new(DIGEST_CHUNK, &chunk);
	while (r == 0 && chunk && at < c->request->value_len) {
		r = store_stage_read(c->env->store, c->request->stage, at, secbuf_data(chunk), DIGEST_CHUNK, &n);
		if (r == 0 && n == 0)
			r = -EIO;
		if (r < 0)
			break;
		r = sha256((const struct bytes[]){ { digest, sizeof(digest) }, { secbuf_cdata(chunk), n } }, 2, digest);
		at += n;
	}
	secbuf_free(chunk);
	if (r < 0)
		return r;
	memcpy(ret, digest, sizeof(digest));
	return 0;
}

static int request_digest(struct ctl *c, uint8_t ret[DIGEST_LEN])
{
	uint8_t value[DIGEST_LEN];
	uint64_t len = c->request->value_len;
	int r = value_digest(c, value);

	if (r < 0)
		return r;
	return sha256((const struct bytes[]){ { c->request->line, c->request->len }, { &len, sizeof(len) }, { value, sizeof(value) } }, 3, ret);
}

static struct request_key request_key(const struct ctl *c)
{
	struct request_key key = { .uid = c->who->uid, .user_ns = c->who->user_ns };

	memcpy(key.id, c->id, sizeof(key.id));
	return key;
}

/* The first answer under this id. 1: *ret_answer; 0: there is none. */
static int first_answer(struct ctl *c, const uint8_t digest[DIGEST_LEN], char **ret_answer, size_t *ret_len)
{
	struct request_key key = request_key(c);
	int r = store_request_find(c->env->store, &key, digest, ret_answer);

	if (r == 0) {
		*ret_len = strlen(*ret_answer);
		return 1;
	}
	if (r == -ENOENT)
		return 0;
	if (r == -EEXIST) {
		ctl_hint(c, "make a new random id for each request");
		return ctl_fail(c, EEXIST, "id: another request was made under this id");
	}
	return ctl_fail_store(c, r, "look for an earlier answer");
}

/* In the transaction: everything up to the commit. 1: the answer is that of the first time, nothing was done. */
static int change_in_transaction(struct ctl *c, const uint8_t digest[DIGEST_LEN], char **ret_answer, size_t *ret_len)
{
	struct request_key key = request_key(c);
	int r;

	if (c->op->ask && (r = c->op->ask(c)) < 0)
		return r;
	r = first_answer(c, digest, ret_answer, ret_len);
	if (r != 0)
		return r;
	r = c->op->run(c);
	if (r < 0)
		return r;
	if (c->hint[0])
		ctl_set(c, "hint", json_string(c->hint));
	if (c->short_of_memory || (r = render(c->out, c->text, c->text_len, ret_answer, ret_len)) < 0)
		return ctl_fail_store(c, -ENOMEM, "answer");
	if (*ret_len >= REQUEST_ANSWER_MAX)
		return ctl_fail(c, E2BIG, "the answer would be too long: ask for less at a time");
	r = store_request_put(c->env->store, &key, digest, *ret_answer);
	if (r < 0)
		return ctl_fail_store(c, r, "keep the answer");
	return 0;
}

static int change(struct ctl *c, char **ret_answer, size_t *ret_len)
{
	uint8_t digest[DIGEST_LEN];
	char *answer = NULL;
	size_t len = 0;
	int r;

	r = request_digest(c, digest);
	if (r < 0)
		return ctl_fail_store(c, r, "read the request");
	r = first_answer(c, digest, ret_answer, ret_len);
	if (r != 0)
		return r;
	if (c->op->load && (r = c->op->load(c)) < 0)
		return r;
	r = c->role == ROLE_ADMINISTRATOR ? store_begin_privileged(c->env->store) : store_begin(c->env->store);
	if (r < 0)
		return ctl_fail_store(c, r, "begin a change");
	r = change_in_transaction(c, digest, &answer, &len);
	if (r != 0) {
		store_rollback(c->env->store);
		goto out;
	}
	r = c->op->record ? c->op->record(c) : ctl_record(c, AUDIT_ALLOW, 0, false);
	if (r < 0) {
		store_rollback(c->env->store);
		c->unrecorded = true;
		goto out;
	}
	r = c->env->commit ? c->env->commit(c->env->arg) : store_commit(c->env->store);
	if (r < 0) {
		ctl_fail_store(c, r, "commit");
		c->detail[0] = '\0';
		record_failure(c, true);
		c->unrecorded = true;
		goto out;
	}
	if (c->op->after && (r = c->op->after(c)) < 0) {
		c->detail[0] = '\0';
		record_failure(c, true);
		c->unrecorded = true;
	}
	if (c->env->changed)
		c->env->changed(c->env->arg);
out:
	if (r < 0) {
		free(answer);
		return r;
	}
	*ret_answer = answer;
	*ret_len = len;
	return 0;
}

/* ---- the whole ---- */

/* Bytes after the line, as a request has them. */
static int append_raw(struct ctl *c, char **answer, size_t *len)
{
	char *grown;

	if (!c->raw)
		return 0;
	grown = realloc(*answer, *len + c->raw_len);
	if (!grown) {
		free(*answer);
		return -ENOMEM;
	}
	memcpy(grown + *len, c->raw, c->raw_len);
	*answer = grown;
	*len += c->raw_len;
	return 0;
}

static int look(struct ctl *c, char **ret_answer, size_t *ret_len)
{
	int r = c->op->run(c);

	if (r < 0)
		return r;
	if (c->asked && !c->unrecorded && (r = ctl_record(c, AUDIT_ALLOW, 0, false)) < 0) {
		c->unrecorded = true;
		return r;
	}
	if (c->hint[0])
		ctl_set(c, "hint", json_string(c->hint));
	if (c->short_of_memory || render(c->out, c->text, c->text_len, ret_answer, ret_len) < 0 || append_raw(c, ret_answer, ret_len) < 0)
		return ctl_fail_store(c, -ENOMEM, "answer");
	return 0;
}

/* A sealed vault knows no policy. Sealing it again does nothing, so whoever lost the answer may have it; that it is sealed is no secret. */
static int sealed(struct ctl *c, char **ret_answer, size_t *ret_len)
{
	if (c->op->operation == AUDIT_VAULT_SEAL)
		return look(c, ret_answer, ret_len);
	c->asked = true;
	c->secret = c->args.name ? c->args.name : c->args.scope;
	return ctl_fail_store(c, -ENOKEY, "%s", c->op->name);
}

static int execute(struct ctl *c, char **ret_answer, size_t *ret_len)
{
	int r = ctl_check_line(c);

	if (r < 0)
		return r;
	/* a sealed vault takes no bytes either: that it is sealed is the better word */
	if (!c->op->while_sealed && store_sealed(c->env->store))
		return sealed(c, ret_answer, ret_len);
	if (c->request->value_error == -EFBIG)
		return ctl_fail_large(c);
	if (c->request->value_error)
		return ctl_fail_store(c, c->request->value_error, "take the value");
	if (c->request->refused) {
		if (c->op->ask && (r = c->op->ask(c)) < 0)
			return r;
		return ctl_fail(c, EAGAIN, "your rights changed while the value was on its way; send it again");
	}
	if (c->request->value_len != c->args.value_length || (c->request->value_len && !c->request->stage))
		return ctl_fail(c, EINVAL, "value_length: %llu bytes were announced and %llu came", (unsigned long long)c->args.value_length,
				(unsigned long long)c->request->value_len);
	if (c->op->ask && (r = c->op->ask(c)) < 0)
		return r;
	return c->op->changes ? change(c, ret_answer, ret_len) : look(c, ret_answer, ret_len);
}

int ctl_execute(const struct ctl_env *env, const struct identity *who, const struct ctl_request *request, char **ret_answer, size_t *ret_len)
{
	struct ctl c = { .env = env, .who = who, .request = request, .now = time_now(), .started = ctl_monotonic() };
	int r = -ENOMEM;

	c.out = json_pack("{s:b}", "ok", 1);
	if (c.out) {
		r = execute(&c, ret_answer, ret_len);
		if (r < 0) {
			record_failure(&c, false);
			r = render_error(c.error, c.message, c.hint, ret_answer, ret_len);
		}
	}
	ctl_done(&c);
	return r < 0 ? r : 0;
}
