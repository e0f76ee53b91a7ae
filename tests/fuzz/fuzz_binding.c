/* Bindings and questions made of bytes. A snapshot takes a binding exactly when it is valid, gives it back as it was,
 * and answers as the binding itself does when it is asked by hand. */
#include "policy/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BINDINGS_MAX 12

struct input {
	const uint8_t *data;
	size_t size;
};

static uint8_t byte(struct input *in)
{
	if (!in->size)
		return 0;
	in->size--;
	return *in->data++;
}

static void must(bool condition)
{
	if (!condition)
		abort();
}

static uint32_t some_id(struct input *in)
{
	static const uint32_t ids[] = { 0, 1, 255, 256, 1000, 4294967294u, 4294967295u };

	return ids[byte(in) % 7];
}

static void some_scope(struct input *in, char *to, size_t room)
{
	static const char letters[] = "aab-*.Z/";
	size_t n = byte(in);

	n = n < 0xf0 ? n % 6 : n - 0xf0 + 120; /* now and then at the limit */
	if (n >= room)
		n = room - 1;
	for (size_t i = 0; i < n; i++)
		to[i] = letters[byte(in) % 8];
	to[n] = '\0';
}

static int64_t some_time(struct input *in)
{
	uint8_t b = byte(in);

	return b == 0xff ? INT64_MAX : b == 0xfe ? INT64_MIN : (int64_t)(b % 16) - 4;
}

static struct binding some_binding(struct input *in)
{
	struct binding b = { .id = byte(in) % 16 };

	b.role = byte(in) % 14;
	b.principal.n = byte(in) % 10 % 4;
	for (size_t i = 0; i < b.principal.n; i++) {
		b.principal.conditions[i].kind = (enum principal_kind)(byte(in) % 6);
		if (b.principal.conditions[i].kind == PRINCIPAL_USER ||
		    b.principal.conditions[i].kind == PRINCIPAL_GROUP)
			b.principal.conditions[i].id = some_id(in);
	}
	some_scope(in, b.scope, sizeof(b.scope));
	b.from = some_time(in);
	b.until = some_time(in);
	return b;
}

/* What policy_apply must say of a binding whose id is new. */
static int verdict(const struct binding *b)
{
	if (!b->id || !principal_valid(&b->principal) || !scope_valid(b->scope) || b->from >= b->until)
		return -EINVAL;
	return role_builtin_get(b->role) ? 0 : -ENOENT;
}

static void same(const struct binding *a, const struct binding *b)
{
	char text[PRINCIPAL_TEXT_MAX], again[PRINCIPAL_TEXT_MAX];
	struct principal parsed;

	must(a && a->id == b->id && a->role == b->role && a->from == b->from && a->until == b->until);
	must(!strcmp(a->scope, b->scope));
	principal_print(&a->principal, text);
	must(principal_parse(text, NULL, NULL, &parsed) == 0);
	principal_print(&parsed, again);
	must(!strcmp(text, again));
}

static void question(const struct policy *p, const struct binding *bindings, size_t n, struct input *in)
{
	uint32_t groups[2] = { 1, 256 };
	struct policy_caller c = {
		.uid = some_id(in), .gid = some_id(in), .groups = groups, .n_groups = byte(in) % 3, .host = byte(in) & 1
	};
	char name[140];
	const struct binding *best = NULL;
	enum action action = (enum action)(byte(in) % ACTION_COUNT);
	struct policy_answer answer;
	action_set actions = 0;

	some_scope(in, name, sizeof(name));
	const char *resource = byte(in) % 8 ? name : NULL;
	int64_t now = some_time(in);
	for (size_t i = 0; i < n; i++) {
		const struct binding *b = &bindings[i];

		if (now < b->from || (b->until != BINDING_FOREVER && now >= b->until) ||
		    !principal_match(&b->principal, &c) || !scope_covers(b->scope, resource))
			continue;
		actions |= role_builtin_get(b->role)->actions;
		if (role_builtin_get(b->role)->actions & ACTION_BIT(action))
			if (!best || b->until > best->until || (b->until == best->until && b->id < best->id))
				best = b;
	}
	policy_decide(p, &c, action, resource, now, &answer);
	must(answer.decision == (best ? POLICY_ALLOW : POLICY_DENY));
	must(answer.binding == (best ? best->id : 0));
	must(answer.valid_until == (best ? best->until : 0));
	must(policy_actions(p, &c, resource, now) == actions);
	must(!best || policy_decide_any(p, &c, action, now) == POLICY_ALLOW);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct binding kept[BINDINGS_MAX];
	struct policy *p = policy_new();
	size_t n = 0;

	while (p && in.size && n < BINDINGS_MAX) {
		struct policy_change c = { .kind = POLICY_ADD_BINDING, .binding = some_binding(&in) };
		struct policy *next = NULL;
		int want = verdict(&c.binding);

		if (!want && policy_binding(p, c.binding.id))
			want = -EEXIST;
		int r = policy_apply(p, &c, 1, &next);
		must(r == want || r == -ENOMEM);
		if (r < 0) {
			must(!next);
		} else {
			same(policy_binding(next, c.binding.id), &c.binding);
			kept[n++] = c.binding;
			policy_unref(p);
			p = next;
		}
		question(p, kept, n, &in);
	}
	while (p && n) {
		struct policy_change c = { .kind = POLICY_REMOVE_BINDING, .binding.id = kept[--n].id };
		struct policy *next = NULL;

		if (policy_apply(p, &c, 1, &next) < 0)
			break;
		must(!policy_binding(next, c.binding.id));
		policy_unref(p);
		p = next;
		question(p, kept, n, &in);
	}
	policy_unref(p);
	return 0;
}
