/* A persistent map from byte strings to shared values: the one data structure under a policy.
 *
 * A radix tree with compressed paths. Nodes are counted and shared between trees: whoever holds a reference to a root
 * sees a tree that never changes. A change copies the nodes from the root to the key, and only those that somebody else
 * holds too, so that a thousand changes in a row to one's own tree copy each node once.
 *
 * Keys must be prefix-free (no key is the beginning of another): callers end a text with a terminator or use fixed
 * lengths. Iteration is in the order of the keys' bytes. A tree is its root; NULL is the empty one.
 *
 * Threads: reading and tree_ref of a tree that is held need no lock; two threads may change two trees that share nodes.
 */
#ifndef COFFER_POLICY_TREE_H
#define COFFER_POLICY_TREE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TREE_KEY_MAX 1024

/* The head of a value. It is released with free() when the last reference is gone, so it must be the first member of
 * one malloc'ed block that owns nothing else. */
struct shared {
	atomic_uint refs;
};

struct shared *shared_ref(struct shared *s);
void shared_unref(struct shared *s); /* accepts NULL */

struct tree_node;

struct tree_node *tree_ref(struct tree_node *root); /* accepts NULL */
void tree_unref(struct tree_node *root);            /* accepts NULL */

/* Puts value at key and takes a reference of its own. *root is replaced where it has to be; on error the tree holds
 * what it held. 0; -EEXIST; -ENOMEM; -EINVAL (empty, too long, or not prefix-free). */
int tree_insert(struct tree_node **root, const uint8_t *key, size_t len, struct shared *value);

/* 0; -ENOENT; -ENOMEM (a removal copies too). */
int tree_remove(struct tree_node **root, const uint8_t *key, size_t len);

/* The value at key, borrowed, or NULL. */
struct shared *tree_find(const struct tree_node *root, const uint8_t *key, size_t len);

/* A place on the way from the root to some key, for walks that look left and right. Valid as long as the tree is held.
 */
struct tree_cursor {
	const struct tree_node *node; /* NULL: nowhere */
	size_t at;                    /* bytes of the node's own path that are behind */
};

struct tree_cursor tree_cursor(const struct tree_node *root);

/* Goes on by len bytes. False when no key continues so; the cursor then is nowhere. */
bool tree_step(struct tree_cursor *c, const uint8_t *bytes, size_t len);

/* The least of the ways on that are len bytes long and not below bytes, written over them. False: there is none, and
 * bytes are anything. No key ends within len bytes. */
bool tree_next(struct tree_cursor c, uint8_t *bytes, size_t len);

/* Calls fn for each value under the cursor, in the order of keys, until it returns non-zero, which is returned. */
typedef int (*tree_fn)(struct shared *value, void *arg);
int tree_each(struct tree_cursor c, tree_fn fn, void *arg);

/* tree_step with an eye on what branches off: before each of the bytes, and after the last, calls fn as tree_each does
 * for the values whose keys go on with mark there. mark is none of the bytes. */
bool tree_walk(struct tree_cursor *c, const uint8_t *bytes, size_t len, uint8_t mark, tree_fn fn, void *arg);

#endif
