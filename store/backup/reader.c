#include "store/backup/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/core/database.h"
#include "store/crypto/bytes.h"
#include "store/crypto/secbuf.h"
#include "store/keys/transport.h"

#define BLOCK (1u << 20) /* of the source at a time: as the pieces of a restore are */

struct backup_reader {
	struct backup_source source;
	struct backup_header header;
	size_t header_len;
	uint8_t header_bytes[BACKUP_HEADER_MAX];
	struct stream_cipher *cipher; /* locked memory */
	uint8_t *block;
	uint64_t block_at; /* offset of block in the stream */
	size_t block_len;
	uint64_t offset; /* what is read next */
	uint64_t size;   /* of the whole stream, once it was verified */
	bool last;       /* the last frame was opened */
	uint8_t frame[FRAME_MAX + FRAME_OVERHEAD];
	struct buffer plain;
	size_t taken; /* of plain */
};

/* ---- bytes ---- */

/* Up to len bytes at the offset; less only at the end. */
static int take(struct backup_reader *r, void *ret, size_t len, size_t *ret_len)
{
	uint8_t *to = ret;
	size_t got = 0, n;
	int e;

	while (got < len) {
		if (r->offset < r->block_at || r->offset >= r->block_at + r->block_len) {
			r->block_at = r->offset;
			r->block_len = 0;
			e = r->source.read(r->source.arg, r->offset, r->block, BLOCK, &r->block_len);
			if (e < 0)
				return e;
			if (r->block_len == 0)
				break;
		}
		n = (size_t)(r->block_at + r->block_len - r->offset);
		n = n < len - got ? n : len - got;
		memcpy(to + got, r->block + (r->offset - r->block_at), n);
		got += n;
		r->offset += n;
	}
	*ret_len = got;
	return 0;
}

static int take_all(struct backup_reader *r, void *ret, size_t len)
{
	size_t got = 0;
	int e = take(r, ret, len, &got);

	return e < 0 ? e : got == len ? 0 : -ENODATA;
}

/* ---- opening ---- */

int reader_open(const struct backup_source *source, struct backup_reader **ret_reader, char *why, size_t why_len)
{
	struct backup_reader *r = calloc(1, sizeof *r);
	size_t got = 0;
	int e = -ENOMEM;

	if (!r)
		return e;
	r->source = *source;
	r->block = malloc(BLOCK);
	r->cipher = secmem_alloc(sizeof *r->cipher);
	if (!r->block || !r->cipher)
		goto out;
	e = take(r, r->header_bytes, sizeof r->header_bytes, &got);
	if (e == 0)
		e = backup_header_parse(r->header_bytes, got, &r->header, &r->header_len, why, why_len);
	if (e < 0)
		goto out;
	r->offset = r->header_len;
	*ret_reader = r;
	return 0;
out:
	reader_close(r);
	return e;
}

void reader_close(struct backup_reader *r)
{
	if (!r)
		return;
	if (r->cipher)
		secmem_free(r->cipher, sizeof *r->cipher);
	buffer_free(&r->plain);
	free(r->block);
	free(r);
}

const struct backup_header *reader_header(const struct backup_reader *r) { return &r->header; }

uint64_t reader_offset(const struct backup_reader *r) { return r->offset; }

/* ---- the signature ---- */

/* The next frame into r->frame. -ENODATA: the stream ends within it. */
static int next_frame(struct backup_reader *r, size_t *ret_len, bool *ret_last)
{
	int e = take_all(r, r->frame, 4);

	if (e == 0)
		e = frame_length(r->frame, ret_len, ret_last);
	return e < 0 ? e : take_all(r, r->frame + 4, *ret_len - 4);
}

static int walk_frames(struct backup_reader *r, struct stream_hash *hash)
{
	size_t len = 0;
	bool last = false;
	int e = stream_hash_add(hash, r->header_bytes, r->header_len);

	while (e == 0 && !last) {
		e = next_frame(r, &len, &last);
		if (e == 0)
			e = stream_hash_add(hash, r->frame, len);
	}
	return e;
}

int reader_verify(struct backup_reader *r, const uint8_t *signer, char *why, size_t why_len)
{
	uint8_t signature[SIGNATURE_LEN], fingerprint[DIGEST_LEN], more;
	struct stream_hash hash = { 0 };
	size_t got = 0;
	int e;

	r->offset = r->header_len;
	e = walk_frames(r, &hash);
	if (e == 0)
		e = take_all(r, signature, sizeof signature);
	if (e == 0)
		e = signer_verify(r->header.signer, hash.digest, signature);
	if (e == -ENODATA) {
		store_why(why, why_len, "the backup is cut short");
		return -EBADMSG;
	}
	if (e == 0) {
		r->size = r->offset;
		e = take(r, &more, 1, &got);
		if (e == 0 && got > 0)
			e = -EBADMSG;
	}
	if (e == -EBADMSG)
		store_why(why, why_len, "the backup is damaged: its signature is not that of what was written");
	if (e < 0)
		return e;
	e = signer_fingerprint(r->header.signer, fingerprint);
	if (e == 0 && signer && memcmp(fingerprint, signer, DIGEST_LEN) != 0) {
		store_why(why, why_len, "the backup was signed by another vault");
		e = -EKEYREJECTED;
	}
	return e;
}

int backup_verify(const struct backup_source *source, const uint8_t *signer, struct backup_header *ret_header,
		  uint64_t *ret_size, char *why, size_t why_len)
{
	struct backup_reader *r = NULL;
	int e = reader_open(source, &r, why, why_len);

	if (e == 0)
		e = reader_verify(r, signer, why, why_len);
	if (e == 0) {
		*ret_header = r->header;
		*ret_size = r->size;
	}
	reader_close(r);
	return e;
}

/* ---- records ---- */

int reader_rewind(struct backup_reader *r, const uint8_t stream_key[KEY_LEN])
{
	r->offset = r->header_len;
	r->last = false;
	r->plain.len = r->taken = 0;
	r->cipher->counter = 0;
	memcpy(r->cipher->key, stream_key, KEY_LEN);
	return sha256(&(struct bytes){ r->header_bytes, r->header_len }, 1, r->cipher->header_hash);
}

/* Opens another frame behind what is in plain. */
static int more_plain(struct backup_reader *r)
{
	static const uint8_t room[FRAME_MAX];
	size_t len = 0, n = 0;
	bool last = false;
	int e;

	if (r->last)
		return -EBADMSG;
	if (r->taken > 0) {
		memmove(r->plain.data, r->plain.data + r->taken, r->plain.len - r->taken);
		r->plain.len -= r->taken;
		r->taken = 0;
	}
	e = next_frame(r, &len, &last);
	if (e < 0)
		return e == -ENODATA ? -EBADMSG : e;
	buffer_bytes(&r->plain, room, sizeof room);
	if (r->plain.error)
		return r->plain.error;
	r->plain.len -= sizeof room;
	e = frame_open(r->cipher, r->frame, len, r->plain.data + r->plain.len, &n);
	r->plain.len += n;
	r->last = last;
	return e;
}

static int have(struct backup_reader *r, size_t n)
{
	int e = 0;

	while (e == 0 && r->plain.len - r->taken < n)
		e = more_plain(r);
	return e;
}

int reader_record(struct backup_reader *r, enum record_type *ret_type, struct fields *ret_fields)
{
	uint32_t len;
	uint8_t type;
	int e;

	while (r->plain.len == r->taken && !r->last) {
		e = more_plain(r);
		if (e < 0)
			return e;
	}
	if (r->plain.len == r->taken)
		return 0;
	e = have(r, RECORD_HEAD);
	if (e < 0)
		return e;
	type = r->plain.data[r->taken];
	len = get_be32(r->plain.data + r->taken + 1);
	if (type < RECORD_SETTINGS || type > RECORD_HISTORY || len > RECORD_MAX)
		return -EBADMSG;
	e = have(r, RECORD_HEAD + len);
	if (e < 0)
		return e;
	*ret_type = (enum record_type)type;
	*ret_fields = (struct fields){ r->plain.data + r->taken + RECORD_HEAD, len, 0 };
	r->taken += RECORD_HEAD + len;
	return 1;
}
