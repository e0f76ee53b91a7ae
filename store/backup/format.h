/* The codec of backups; for backup*.c and their tests. The format is described in backup_format.c. */
#ifndef COFFER_STORE_BACKUP_FORMAT_H
#define COFFER_STORE_BACKUP_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/backup/backup.h"
#include "store/keys/envelope.h"

#define BACKUP_FORMAT  3      /* written; read from 1 on */
#define FRAME_MAX      65536u /* bytes of plaintext in a frame */
#define FRAME_OVERHEAD (4u + TAG_LEN)
#define RECORD_MAX     (VALUE_MAX + (256u << 10)) /* a version with the longest value and the longest tags */
#define RECORD_HEAD    5

enum record_type {
	RECORD_SETTINGS = 1,
	RECORD_ROLE,
	RECORD_BINDING,
	RECORD_BLOCK,
	RECORD_RECIPIENT,
	RECORD_OBJECT,
	RECORD_VERSION,
	RECORD_END,
	RECORD_ROTATION, /* from format 2 on, before the end */
	RECORD_HOOK,
	RECORD_NOTICE,
	RECORD_HISTORY, /* from format 3 on, before the end */
};

/* Bytes that grow. error is kept: callers look once. */
struct buffer {
	uint8_t *data;
	size_t len, capacity;
	int error;
};
void buffer_bytes(struct buffer *b, const void *p, size_t n);
void buffer_u8(struct buffer *b, uint8_t v);
void buffer_u32(struct buffer *b, uint32_t v);
void buffer_u64(struct buffer *b, uint64_t v);
void buffer_text(struct buffer *b, const char *text); /* NULL: none */
void buffer_free(struct buffer *b);
/* A record's head, with a length that buffer_record_end puts in. */
size_t buffer_record(struct buffer *b, enum record_type type);
void buffer_record_end(struct buffer *b, size_t at);

/* Fields of a record, from its front. error is kept. Texts are copied into the room given. */
struct fields {
	const uint8_t *p;
	size_t left;
	int error;
};
uint8_t field_u8(struct fields *f);
uint32_t field_u32(struct fields *f);
uint64_t field_u64(struct fields *f);
const uint8_t *field_bytes(struct fields *f, size_t n);
/* At most room - 1 bytes without a NUL; false: none. */
bool field_text(struct fields *f, char *ret, size_t room);
int fields_end(const struct fields *f); /* 0, or -EBADMSG: an error, or something is left */

/* The header's bytes. */
int header_print(const struct backup_header *h, uint8_t ret[BACKUP_HEADER_MAX], size_t *ret_len);

/* The hash that is signed, as it grows. */
struct stream_hash {
	uint8_t digest[DIGEST_LEN];
	bool begun;
};
int stream_hash_add(struct stream_hash *h, const void *data, size_t len); /* the header first, then each frame */

struct stream_cipher { /* in locked memory */
	uint8_t key[KEY_LEN];
	uint8_t header_hash[DIGEST_LEN];
	uint64_t counter;
};
/* ret holds len + FRAME_OVERHEAD bytes. */
int frame_seal(struct stream_cipher *c, const uint8_t *plain, size_t len, bool last, uint8_t *ret);
/* frame is a whole one, whose length was read from it. ret holds FRAME_MAX bytes. */
int frame_open(struct stream_cipher *c, const uint8_t *frame, size_t len, uint8_t *ret, size_t *ret_len);
/* The length of the frame that begins with these 4 bytes, and whether it is the last: 0 or -EBADMSG. */
int frame_length(const uint8_t head[4], size_t *ret_len, bool *ret_last);

#endif
