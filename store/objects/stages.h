/* Staged writes: encrypted under the daemon's stage key, they survive any process's death but the keeper's. */
#ifndef COFFER_STORE_OBJECTS_STAGES_H
#define COFFER_STORE_OBJECTS_STAGES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct version_attributes;

/* Each call is its own short transaction (synchronous=NORMAL) unless said otherwise; ids are random-free and never
 * reused while the daemon lives. unique deduplicates: a call repeated with the unique of the stage's last call gives
 * the same result and changes nothing. */
int store_stage_new(struct store *s, uint64_t *ret_stage);
/* What a stage's bytes are to the secret's other writers, when they become a version: */
enum stage_manner {
	STAGE_REPLACES, /* the whole value, whatever there is by then: how each stage begins */
	STAGE_EDITS,    /* a copy of a version, changed: -ESTALE if another one is served by then */
	/* a copy of a version, and what goes behind whatever is served by then. What has no copy in it: */
	STAGE_APPENDS,
	STAGE_TAIL, /* appended bytes alone */
};
#define STAGE_NO_BASE   (-1) /* it is a copy of nothing that is served: it replaces that */
#define STAGE_LEFT_BASE (-2) /* no version has its bytes, for others came between */
/* Starts as a copy (of nothing: version 0), clean. manner: STAGE_EDITS or STAGE_APPENDS. */
int store_stage_copy_version(struct store *s, uint64_t stage, uint32_t secret, uint32_t version,
			     enum stage_manner manner);
/* An empty stage is STAGE_TAIL from now on. */
int store_stage_tail(struct store *s, uint64_t stage);
/* One that is STAGE_TAIL gets what is served now before its bytes, and is STAGE_EDITS: for who cuts it somewhere. Any
 * other stays as it is. */
int store_stage_gather(struct store *s, uint64_t stage, uint32_t secret);
#define STAGE_APPEND UINT64_MAX
/* -EFBIG beyond the limit */
int store_stage_write(struct store *s, uint64_t stage, uint64_t unique, uint64_t offset, const void *data, size_t len);
/* The same for a stage that holds the values of a set, one after the other: it may have STAGE_SET_MAX bytes, whatever
 * one value may. */
#define STAGE_SET_MAX (16u << 20)
int store_stage_write_set(struct store *s, uint64_t stage, uint64_t unique, uint64_t offset, const void *data,
			  size_t len);
int store_stage_truncate(struct store *s, uint64_t stage, uint64_t unique, uint64_t len);
int store_stage_read(struct store *s, uint64_t stage, uint64_t offset, void *ret, size_t len, size_t *ret_read);
struct stage_info {
	uint64_t size, unique /* of the last change */, start /* what is in no version yet */;
	int64_t base;
	enum stage_manner manner;
	bool dirty;
};
int store_stage_stat(struct store *s, uint64_t stage, struct stage_info *ret);
/* In the transaction: the stage's bytes become a new version, as its manner says, and the stage is clean, both or
 * neither. -EALREADY: it was clean (nothing done); -ESTALE, -EFBIG. */
int store_stage_commit(struct store *s, uint64_t stage, uint32_t secret, const struct version_attributes *a,
		       uint32_t *ret_version);
/* In the transaction: len bytes at offset become a new version; the stage is clean when store_stage_clean says so, in
 * the same transaction. -EALREADY: it was clean; -EINVAL: beyond its end. */
int store_stage_commit_part(struct store *s, uint64_t stage, uint64_t offset, size_t len, uint32_t secret,
			    const struct version_attributes *a, uint32_t *ret_version);
int store_stage_clean(struct store *s, uint64_t stage);
int store_stage_drop(struct store *s, uint64_t stage);
/* A new worker: stages that no open file names, for whoever made one died before he could say so. keep need not be
 * sorted. */
int store_stages_retain(struct store *s, const uint64_t *keep, size_t n);
int store_stages_clear(struct store *s); /* a new daemon: what is left belongs to a dead key */

#endif
