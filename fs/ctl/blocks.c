/* Requests about blocks: who is denied everything, whatever his bindings give. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/internal.h"
#include "policy/policy.h"
#include "store/grants/grants.h"

/* A block takes away what any binding gives, an administrator's too: whoever makes or lifts one must hold all of it
 * himself. */
static int ask_administrator(struct ctl *c)
{
	char command[256];
	int r = ctl_ask(c, ACTION_BINDINGS_DELETE, NULL);

	if (r != -EACCES && (r < 0 || ctl_ask_administrator(c, NULL) == 0))
		return r;
	ctl_hint(c, "ask an administrator of the vault; to take single bindings back: %s revoke",
		 ctl_command(c, command, sizeof(command)));
	return ctl_fail(c, EACCES,
			"a block overrides every binding, so only an administrator of the vault may make or lift one");
}

/* ---- block ---- */

static int check_block(struct ctl *c)
{
	int r = ctl_check_principal(c, "principal");

	c->args.reason = ctl_string(c, "reason");
	c->args.force = json_is_true(json_object_get(c->in, "force"));
	if (r < 0)
		return r;
	if (!block_principal_valid(&c->args.principal)) {
		ctl_hint(c, "block user:1000 rather than user:1000,host");
		return ctl_fail(c, EINVAL,
				"principal: a block has no host: a caller whose host is in doubt would not be blocked");
	}
	if (c->args.reason && (strlen(c->args.reason) > CTL_REASON_MAX || !ctl_text_clean(c->args.reason)))
		return ctl_fail(c, EINVAL, "reason: at most %d bytes without control characters", CTL_REASON_MAX);
	return 0;
}

static int fail_block(struct ctl *c, int r, const char *principal)
{
	char command[256];

	ctl_command(c, command, sizeof(command));
	if (r == -EEXIST) {
		ctl_hint(c, "see: %s blocks", command);
		return ctl_fail(c, EEXIST, "%s is blocked already", principal);
	}
	if (r == -EBUSY) {
		ctl_hint(c, "make another administrator first: %s grant administrator PRINCIPAL --on '*'", command);
		return ctl_fail(c, EBUSY, "with %s blocked nobody would be left who administers the vault", principal);
	}
	return ctl_fail_store(c, r, "block %s", principal);
}

static int run_block(struct ctl *c)
{
	char principal[PRINCIPAL_TEXT_MAX], by[32], command[256];
	const struct block asked = { .principal = c->args.principal };
	uint64_t id = 0;
	int r;

	principal_print(&c->args.principal, principal);
	if (!c->args.force && block_speaks_of(&asked, &c->who->policy)) {
		ctl_hint(c, "--force does it all the same; another administrator would have to lift it");
		return ctl_fail(c, EBUSY, "%s is yourself, too", principal);
	}
	snprintf(by, sizeof(by), "user:%u", c->who->policy.uid);
	r = store_block_add(c->env->store, &c->args.principal, c->args.reason, by, &id);
	if (r < 0)
		return fail_block(c, r, principal);
	snprintf(c->detail, sizeof(c->detail), "block %llu: %s", (unsigned long long)id, principal);
	ctl_hint(c, "what it has read: %s exposed %s", ctl_command(c, command, sizeof(command)), principal);
	ctl_set(c, "block", json_integer((json_int_t)id));
	ctl_set(c, "principal", json_string(principal));
	return 0;
}

/* ---- unblock ---- */

static int check_unblock(struct ctl *c)
{
	const json_t *id = json_object_get(c->in, "block"), *principal = json_object_get(c->in, "principal");

	if (!id == !principal)
		return ctl_fail(c, EINVAL, "block: either a block's id, or its principal");
	if (principal)
		return ctl_check_principal(c, "principal");
	if (json_integer_value(id) < 1)
		return ctl_fail(c, EINVAL, "block: blocks are numbered from 1 on");
	c->args.binding = (uint64_t)json_integer_value(id);
	return 0;
}

struct search {
	const struct ctl *c;
	char wanted[PRINCIPAL_TEXT_MAX];
	struct block found;
};

static int match_block(const struct block *b, void *arg)
{
	struct search *s = arg;
	char text[PRINCIPAL_TEXT_MAX];

	principal_print(&b->principal, text);
	if (s->c->args.binding ? b->id != s->c->args.binding : strcmp(text, s->wanted) != 0)
		return 0;
	s->found = *b;
	return 1;
}

static int run_unblock(struct ctl *c)
{
	struct search s = { .c = c };
	char principal[PRINCIPAL_TEXT_MAX], command[256];
	int r;

	if (!c->args.binding)
		principal_print(&c->args.principal, s.wanted);
	store_rdlock(c->env->store);
	policy_each_block(store_policy(c->env->store), match_block, &s);
	store_unlock_tables(c->env->store);
	r = s.found.id ? store_block_remove(c->env->store, s.found.id) : -ENOENT;
	if (r == -ENOENT) {
		ctl_hint(c, "see: %s blocks", ctl_command(c, command, sizeof(command)));
		if (c->args.binding)
			return ctl_fail(c, ENOENT, "there is no block %llu", (unsigned long long)c->args.binding);
		return ctl_fail(c, ENOENT, "%s is not blocked", s.wanted);
	}
	if (r < 0)
		return ctl_fail_store(c, r, "lift the block");
	principal_print(&s.found.principal, principal);
	snprintf(c->detail, sizeof(c->detail), "block %llu: %s", (unsigned long long)s.found.id, principal);
	ctl_set(c, "block", json_integer((json_int_t)s.found.id));
	ctl_set(c, "principal", json_string(principal));
	return 0;
}

/* ---- blocks ---- */

static int ask_blocks(struct ctl *c) { return ctl_ask(c, ACTION_BINDINGS_LIST, NULL); }

struct collected {
	struct block *items;
	size_t n, room;
};

static int collect(const struct block *b, void *arg)
{
	struct collected *l = arg;
	struct block *grown;

	if (l->n == l->room) {
		grown = reallocarray(l->items, l->room ? 2 * l->room : 16, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		l->items = grown;
		l->room = l->room ? 2 * l->room : 16;
	}
	l->items[l->n++] = *b;
	return 0;
}

static int add_block(struct ctl *c, json_t *list, const struct block *b)
{
	struct store_binding_info info = { 0 };
	char principal[PRINCIPAL_TEXT_MAX];
	int r = store_block_info(c->env->store, b->id, &info);

	if (r < 0) /* lifted since it was collected: no block any more */
		return r == -ENOENT ? 0 : r;
	principal_print(&b->principal, principal);
	r = json_array_append_new(list, json_pack("{s:I, s:s, s:s?, s:s?, s:o}", "id", (json_int_t)b->id, "principal",
						  principal, "reason", info.reason, "created_by", info.created_by,
						  "created", ctl_time(info.created)));
	store_binding_info_free(&info);
	return r < 0 ? -ENOMEM : 0;
}

static int run_blocks(struct ctl *c)
{
	struct collected l = { 0 };
	json_t *list = json_array();
	int r;

	store_rdlock(c->env->store);
	r = policy_each_block(store_policy(c->env->store), collect, &l);
	store_unlock_tables(c->env->store);
	for (size_t i = 0; i < l.n && r == 0; i++)
		r = add_block(c, list, &l.items[i]);
	free(l.items);
	ctl_set(c, "blocks", list);
	snprintf(c->detail, sizeof(c->detail), "%zu blocks", l.n);
	return r < 0 ? ctl_fail_store(c, r, "list the blocks") : 0;
}

/* ---- the table ---- */

static const struct ctl_field block_fields[] = { { "principal", CTL_STRING, true },
						 { "reason", CTL_STRING | CTL_NULL, false },
						 { "force", CTL_BOOL, false },
						 { 0 } };
static const struct ctl_field unblock_fields[] = { { "block", CTL_INT, false },
						   { "principal", CTL_STRING, false },
						   { 0 } };
static const struct ctl_field no_fields[] = { { 0 } };

const struct ctl_op ctl_blocks_ops[] = {
	{ .name = "block",
	  .operation = AUDIT_PRINCIPAL_BLOCK,
	  .changes = true,
	  .fields = block_fields,
	  .check = check_block,
	  .ask = ask_administrator,
	  .run = run_block },
	{ .name = "unblock",
	  .operation = AUDIT_PRINCIPAL_UNBLOCK,
	  .changes = true,
	  .fields = unblock_fields,
	  .check = check_unblock,
	  .ask = ask_administrator,
	  .run = run_unblock },
	{ .name = "blocks",
	  .operation = AUDIT_BINDING_LIST,
	  .fields = no_fields,
	  .ask = ask_blocks,
	  .run = run_blocks },
	{ 0 },
};
