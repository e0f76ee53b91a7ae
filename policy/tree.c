#include "policy/tree.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One block: header, child[cap], then one byte for each child (sorted; the byte that leads to it), then the path, the
 * bytes that all keys below have in common at this place. A leaf has a value and no room for children. */
struct tree_node {
	atomic_uint refs;
	uint16_t n, cap;
	uint16_t path_len;
	struct shared *value;
	struct tree_node *child[];
};

struct shared *shared_ref(struct shared *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void shared_unref(struct shared *s)
{
	if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
		free(s);
}

struct tree_node *tree_ref(struct tree_node *root)
{
	if (root)
		atomic_fetch_add_explicit(&root->refs, 1, memory_order_relaxed);
	return root;
}

/* As deep as a key is long at most, and a level of it is a branch: TREE_KEY_MAX bounds the stack. */
void tree_unref(struct tree_node *root)
{
	if (!root || atomic_fetch_sub_explicit(&root->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < root->n; i++)
		tree_unref(root->child[i]);
	shared_unref(root->value);
	free(root);
}

static uint8_t *lead_bytes(const struct tree_node *node) { return (uint8_t *)(uintptr_t)(node->child + node->cap); }

static uint8_t *path_bytes(const struct tree_node *node) { return lead_bytes(node) + node->cap; }

static struct tree_node *node_new(size_t cap, size_t path_len)
{
	struct tree_node *node = malloc(sizeof(*node) + cap * (sizeof(node->child[0]) + 1) + path_len);

	if (!node)
		return NULL;
	atomic_init(&node->refs, 1);
	node->n = 0;
	node->cap = (uint16_t)cap;
	node->path_len = (uint16_t)path_len;
	node->value = NULL;
	return node;
}

static struct tree_node *leaf_new(const uint8_t *path, size_t path_len, struct shared *value)
{
	struct tree_node *leaf = node_new(0, path_len);

	if (!leaf)
		return NULL;
	if (path_len)
		memcpy(path_bytes(leaf), path, path_len);
	leaf->value = shared_ref(value);
	return leaf;
}

/* Another node with the same children and value. Its path is the caller's to fill in. */
static struct tree_node *node_copy(const struct tree_node *old, size_t cap, size_t path_len)
{
	struct tree_node *node = node_new(cap, path_len);

	if (!node)
		return NULL;
	for (size_t i = 0; i < old->n; i++)
		node->child[i] = tree_ref(old->child[i]);
	if (old->n)
		memcpy(lead_bytes(node), lead_bytes(old), old->n);
	node->n = old->n;
	if (old->value)
		node->value = shared_ref(old->value);
	return node;
}

static size_t cap_for(size_t n)
{
	size_t cap = 2;

	while (cap < n)
		cap *= 2;
	return cap;
}

/* Makes *slot a node that this tree alone holds, with room for n children, or returns NULL and changes nothing. The
 * caller came by nodes that it alone holds; so one reference means that nobody else can reach this one, now or later.
 * Acquire: what the last other holder read must have been read before we write. */
static struct tree_node *own(struct tree_node **slot, size_t n)
{
	struct tree_node *old = *slot;

	if (atomic_load_explicit(&old->refs, memory_order_acquire) == 1 && old->cap >= n)
		return old;
	struct tree_node *node = node_copy(old, cap_for(n), old->path_len);
	if (!node)
		return NULL;
	memcpy(path_bytes(node), path_bytes(old), old->path_len);
	*slot = node;
	tree_unref(old);
	return node;
}

static void link_child(struct tree_node *node, uint8_t lead, struct tree_node *child)
{
	uint8_t *leads = lead_bytes(node);
	size_t i = 0;

	assert(node->n < node->cap);
	while (i < node->n && leads[i] < lead)
		i++;
	memmove(leads + i + 1, leads + i, node->n - i);
	memmove(node->child + i + 1, node->child + i, (node->n - i) * sizeof(node->child[0]));
	leads[i] = lead;
	node->child[i] = child;
	node->n++;
}

static void unlink_child(struct tree_node *node, size_t i)
{
	uint8_t *leads = lead_bytes(node);

	tree_unref(node->child[i]);
	node->n--;
	memmove(leads + i, leads + i + 1, node->n - i);
	memmove(node->child + i, node->child + i + 1, (node->n - i) * sizeof(node->child[0]));
}

/* The index of the child that lead leads to, or node->n. Small nodes are the most, and a call of memchr costs more than
 * they do. */
static size_t child_index(const struct tree_node *node, uint8_t lead)
{
	const uint8_t *leads = lead_bytes(node);
	size_t i = 0;

	if (node->n > 8) {
		const uint8_t *found = memchr(leads, lead, node->n);

		return found ? (size_t)(found - leads) : node->n;
	}
	while (i < node->n && leads[i] != lead)
		i++;
	return i;
}

static const struct tree_node *child_at(const struct tree_node *node, uint8_t lead)
{
	size_t i = child_index(node, lead);

	return i < node->n ? node->child[i] : NULL;
}

static struct tree_node **find_child(struct tree_node *node, uint8_t lead)
{
	size_t i = child_index(node, lead);

	return i < node->n ? &node->child[i] : NULL;
}

static size_t common_len(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	size_t max = a_len < b_len ? a_len : b_len;
	size_t i = 0;

	while (i < max && a[i] == b[i])
		i++;
	return i;
}

/* *slot's path parts from the key after `common` bytes: a branch with that common part takes its place. */
static int split(struct tree_node **slot, size_t common, const uint8_t *key, size_t len, struct shared *value)
{
	struct tree_node *old = *slot;
	const uint8_t *path = path_bytes(old);
	size_t rest = old->path_len - common - 1;
	struct tree_node *branch = node_new(2, common);
	struct tree_node *lower = node_copy(old, old->cap, rest);
	struct tree_node *leaf = leaf_new(key + common + 1, len - common - 1, value);

	if (!branch || !lower || !leaf) {
		tree_unref(branch);
		tree_unref(lower);
		tree_unref(leaf);
		return -ENOMEM;
	}
	memcpy(path_bytes(branch), path, common);
	memcpy(path_bytes(lower), path + common + 1, rest);
	link_child(branch, path[common], lower);
	link_child(branch, key[common], leaf);
	*slot = branch;
	tree_unref(old);
	return 0;
}

int tree_insert(struct tree_node **root, const uint8_t *key, size_t len, struct shared *value)
{
	struct tree_node **slot = root;

	if (len == 0 || len > TREE_KEY_MAX)
		return -EINVAL;
	if (!*root) {
		*root = leaf_new(key, len, value);
		return *root ? 0 : -ENOMEM;
	}
	for (;;) {
		struct tree_node *node = *slot;
		size_t common = common_len(path_bytes(node), node->path_len, key, len);

		if (common < node->path_len)
			return common < len ? split(slot, common, key, len, value) : -EINVAL;
		key += common;
		len -= common;
		if (node->value)
			return len ? -EINVAL : -EEXIST;
		if (!len)
			return -EINVAL;

		bool there = find_child(node, key[0]) != NULL;
		node = own(slot, node->n + (there ? 0u : 1u));
		if (!node)
			return -ENOMEM;
		if (!there) {
			struct tree_node *leaf = leaf_new(key + 1, len - 1, value);

			if (!leaf)
				return -ENOMEM;
			link_child(node, key[0], leaf);
			return 0;
		}
		slot = find_child(node, key[0]);
		key++;
		len--;
	}
}

/* Child i leaves the branch in *slot. A branch with one child left is none: that child takes its place with a longer
 * path. */
static int drop_child(struct tree_node **slot, size_t i)
{
	struct tree_node *branch = own(slot, (*slot)->n);

	if (!branch)
		return -ENOMEM;
	if (branch->n > 2) {
		unlink_child(branch, i);
		return 0;
	}
	const struct tree_node *other = branch->child[1 - i];
	size_t head = branch->path_len;
	struct tree_node *merged = node_copy(other, other->cap, head + 1 + other->path_len);
	if (!merged)
		return -ENOMEM;
	memcpy(path_bytes(merged), path_bytes(branch), head);
	path_bytes(merged)[head] = lead_bytes(branch)[1 - i];
	memcpy(path_bytes(merged) + head + 1, path_bytes(other), other->path_len);
	*slot = merged;
	tree_unref(branch);
	return 0;
}

int tree_remove(struct tree_node **root, const uint8_t *key, size_t len)
{
	struct tree_node **slot = root;

	if (!tree_find(*root, key, len))
		return -ENOENT;
	if ((*root)->value) {
		tree_unref(*root);
		*root = NULL;
		return 0;
	}
	for (;;) { /* *slot is a branch, and the key is below it */
		size_t skip = (*slot)->path_len;
		struct tree_node **child = find_child(*slot, key[skip]);

		if ((*child)->value)
			return drop_child(slot, (size_t)(child - (*slot)->child));
		if (!own(slot, (*slot)->n))
			return -ENOMEM;
		slot = find_child(*slot, key[skip]);
		key += skip + 1;
	}
}

struct tree_cursor tree_cursor(const struct tree_node *root) { return (struct tree_cursor){ .node = root, .at = 0 }; }

static int each(const struct tree_node *node, tree_fn fn, void *arg)
{
	int r = 0;

	if (node->value)
		return fn(node->value, arg);
	for (size_t i = 0; i < node->n && !r; i++)
		r = each(node->child[i], fn, arg);
	return r;
}

int tree_each(struct tree_cursor c, tree_fn fn, void *arg) { return c.node ? each(c.node, fn, arg) : 0; }

bool tree_step(struct tree_cursor *c, const uint8_t *bytes, size_t len)
{
	const struct tree_node *node = c->node;
	size_t at = c->at;

	for (size_t i = 0; node && i < len; i++) {
		if (at < node->path_len) {
			if (path_bytes(node)[at++] != bytes[i])
				node = NULL;
			continue;
		}
		node = child_at(node, bytes[i]);
		at = 0;
	}
	c->node = node;
	c->at = at;
	return node != NULL;
}

/* any: what is written so far is above what was asked for, so that the least will do. As deep as len. */
static bool next(const struct tree_node *node, size_t at, uint8_t *bytes, size_t len, bool any)
{
	for (; len && at < node->path_len; at++, bytes++, len--) {
		const uint8_t b = path_bytes(node)[at];

		if (!any && b < *bytes)
			return false;
		any |= b > *bytes;
		*bytes = b;
	}
	if (!len)
		return true;
	const uint8_t least = any ? 0 : *bytes;
	for (size_t i = 0; i < node->n; i++) {
		*bytes = lead_bytes(node)[i];
		if (*bytes >= least && next(node->child[i], 0, bytes + 1, len - 1, any || *bytes > least))
			return true;
	}
	return false;
}

bool tree_next(struct tree_cursor c, uint8_t *bytes, size_t len)
{
	return c.node && next(c.node, c.at, bytes, len, false);
}

/* Where a path is common to all keys below, a mark on it means that all of them bear it here: none goes on with bytes.
 */
bool tree_walk(struct tree_cursor *c, const uint8_t *bytes, size_t len, uint8_t mark, tree_fn fn, void *arg)
{
	const struct tree_node *node = c->node;
	size_t at = c->at;

	for (size_t i = 0; node; i++) {
		if (at < node->path_len) {
			const uint8_t next = path_bytes(node)[at];

			if (next == mark)
				each(node, fn, arg);
			if (i == len)
				break;
			if (next != bytes[i])
				node = NULL;
			at++;
			continue;
		}
		const struct tree_node *marked = child_at(node, mark);
		if (marked)
			each(marked, fn, arg);
		if (i == len)
			break;
		node = child_at(node, bytes[i]);
		at = 0;
	}
	c->node = node;
	c->at = at;
	return node != NULL;
}

struct shared *tree_find(const struct tree_node *root, const uint8_t *key, size_t len)
{
	struct tree_cursor c = tree_cursor(root);

	if (!tree_step(&c, key, len) || c.at < c.node->path_len)
		return NULL;
	return c.node->value;
}
