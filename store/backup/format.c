/* A backup. Integers are unsigned and big-endian; a text is its length, u32, and its bytes, or the length 0xffffffff
 * for none.
 *
 *   header       in the clear
 *        0     4  "CFBK"
 *        4     4  format: 2; a reader takes 1 as well
 *        8     4  length of the header
 *       12    16  vault
 *       28     8  epoch
 *       36     8  when, nanoseconds since the epoch
 *       44    16  id of the KEK
 *       60    32  the vault's Ed25519 public key
 *       92     1  1: the whole vault, 0: some secrets
 *       93     1  recipient: 1 a key, 2 a passphrase
 *       94     1  scrypt's log2 N (r = 8, p = 1); 0 for a key
 *       95     1  0
 *       96    16  scrypt's salt; zeros for a key
 *      112    32  the recipient's X25519 public key
 *      144    80  the file key, in a box for it (curve.h; label "coffer backup key 1")
 *      224        text: the vault's name; text: the recipient's name
 *   frames       one or more, each:
 *        0     4  bit 31: this is the last frame; bits 0 to 30: n, the bytes of its content, 1 to 65536 (0 also in the
 *                 last)
 *        4     n  content, encrypted
 *      4+n    16  tag
 *   signature    64 bytes: Ed25519 of "coffer backup signature 1" NUL | d
 *
 * Frames are AES-256-GCM under HKDF-SHA-256(file key, "coffer backup stream 1"). Nonce = three zero bytes | the frame's
 * number, u64, from 0 | 1 in the last frame, else 0. AAD = SHA-256(header) | the frame's first 4 bytes. So a frame
 * cannot be moved, left out, or be the last where it is not (the STREAM construction of Hoang, Reyhanitabar, Rogaway
 * and Vizar, CRYPTO 2015). d is a chain: d = SHA-256(header), and for each frame with its first 4 bytes and its tag, d
 * = SHA-256(d | frame). Nothing follows the signature.
 *
 * The contents of the frames, one after the other, are records: type u8 | length u32 | that many bytes. A record may
 * span frames. In the order 1 to 7, 9 to 12, 8; 1 to 5 and 9 to 12 only if the whole vault is backed up, 9 to 11 only
 * from format 2 on, and 12 only from format 3 on (rules come behind the secrets, so that a hook hears of nothing that
 * came with it):
 *   1 settings   retention in days u32 | purge protection u8 | validity is enforced u8 | longest value u32
 *   2 role       text: name | text: its actions' names, with blanks between
 *   3 binding    text: role | text: principal | text: scope | from i64 | until i64 | text: reason | text: by whom |
 *                created i64
 *   4 block      text: principal | text: reason | text: by whom
 *   5 recipient  text: name | X25519 public key[32] | created i64 | text: by whom
 *   6 object     id u64 | kind u8 | text: name | enabled u8 | deleted u8 | deleted at i64 | to be purged at i64 |
 *                created i64 | changed i64 | last version u32
 *   7 version    of the object before it, ascending: number u32 | size u32 | created i64 | not before i64 | expires i64
 *                | enabled u8 | text: content type | text: tags | sealed seed[48] (transport.h) | the envelope, to the
 *                record's end; of a version that was destroyed, or left out, zeros and nothing
 *   8 end        how many of each there were: objects u64 | versions u64 | roles u64 | bindings u64 | blocks u64 |
 *                recipients u64 | settings u64 | from format 2 on also: rotation policies u64 | hooks u64 | near-expiry
 *                days u64; from format 3 on also: history rules u64
 *   9 rotation   text: scope | action u8 (1 rotate, 2 notify) | every i64 | before expiry i64 | expiry i64 | text:
 *                generator | text: command | user u32 | timeout u32 | by uid u32 | created i64
 *   10 hook      text: scope | events u32, a bit (1 << kind) for each | text: command | user u32 | debounce in ms u32 |
 *                timeout u32 | by uid u32 | created i64
 *   11 notice    near-expiry days u32
 *   12 history   text: scope | newest versions u32 | span i64 | by uid u32 | created i64
 * Signed integers are in two's complement. A reader refuses types that it does not know: what is added gets a higher
 * format number. */
#include "store/backup/format.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/core/database.h"
#include "store/crypto/bytes.h"

#define NO_TEXT      UINT32_MAX
#define HEADER_FIXED 224
#define LAST_FRAME   0x80000000u

static const char magic[4] = { 'C', 'F', 'B', 'K' };

/* ---- bytes out ---- */

void buffer_bytes(struct buffer *b, const void *p, size_t n)
{
	size_t capacity = b->capacity ? b->capacity : 4096;
	uint8_t *grown;

	if (b->error)
		return;
	while (capacity < b->len + n)
		capacity *= 2;
	if (capacity != b->capacity) {
		grown = realloc(b->data, capacity);
		if (!grown) {
			b->error = -ENOMEM;
			return;
		}
		b->data = grown;
		b->capacity = capacity;
	}
	if (n > 0)
		memcpy(b->data + b->len, p, n);
	b->len += n;
}

void buffer_u8(struct buffer *b, uint8_t v) { buffer_bytes(b, &v, 1); }

void buffer_u32(struct buffer *b, uint32_t v)
{
	uint8_t bytes[4];

	put_be32(bytes, v);
	buffer_bytes(b, bytes, sizeof bytes);
}

void buffer_u64(struct buffer *b, uint64_t v)
{
	uint8_t bytes[8];

	put_be64(bytes, v);
	buffer_bytes(b, bytes, sizeof bytes);
}

void buffer_text(struct buffer *b, const char *text)
{
	size_t n = text ? strlen(text) : 0;

	buffer_u32(b, text ? (uint32_t)n : NO_TEXT);
	buffer_bytes(b, text, n);
}

void buffer_free(struct buffer *b)
{
	free(b->data);
	*b = (struct buffer){ 0 };
}

size_t buffer_record(struct buffer *b, enum record_type type)
{
	size_t at = b->len;

	buffer_u8(b, (uint8_t)type);
	buffer_u32(b, 0);
	return at;
}

void buffer_record_end(struct buffer *b, size_t at)
{
	if (b->error == 0)
		put_be32(b->data + at + 1, (uint32_t)(b->len - at - RECORD_HEAD));
}

/* ---- bytes in ---- */

const uint8_t *field_bytes(struct fields *f, size_t n)
{
	const uint8_t *p = f->p;

	if (f->error || n > f->left) {
		f->error = -EBADMSG;
		return NULL;
	}
	f->p += n;
	f->left -= n;
	return p;
}

uint8_t field_u8(struct fields *f)
{
	const uint8_t *p = field_bytes(f, 1);

	return p ? *p : 0;
}

uint32_t field_u32(struct fields *f)
{
	const uint8_t *p = field_bytes(f, 4);

	return p ? get_be32(p) : 0;
}

uint64_t field_u64(struct fields *f)
{
	const uint8_t *p = field_bytes(f, 8);

	return p ? get_be64(p) : 0;
}

bool field_text(struct fields *f, char *ret, size_t room)
{
	uint32_t n = field_u32(f);
	const uint8_t *p;

	ret[0] = '\0';
	if (f->error || n == NO_TEXT)
		return false;
	if (n >= room) {
		f->error = -EBADMSG;
		return false;
	}
	p = field_bytes(f, n);
	if (!p || memchr(p, '\0', n)) {
		f->error = -EBADMSG;
		return false;
	}
	memcpy(ret, p, n);
	ret[n] = '\0';
	return true;
}

int fields_end(const struct fields *f) { return f->error || f->left ? -EBADMSG : 0; }

/* ---- the header ---- */

int header_print(const struct backup_header *h, uint8_t ret[BACKUP_HEADER_MAX], size_t *ret_len)
{
	struct buffer b = { 0 };
	int r;

	buffer_bytes(&b, magic, sizeof magic);
	buffer_u32(&b, BACKUP_FORMAT);
	buffer_u32(&b, 0);
	buffer_bytes(&b, h->vault, sizeof h->vault);
	buffer_u64(&b, h->epoch);
	buffer_u64(&b, (uint64_t)h->created);
	buffer_bytes(&b, h->kek, sizeof h->kek);
	buffer_bytes(&b, h->signer, sizeof h->signer);
	buffer_u8(&b, h->all);
	buffer_u8(&b, (uint8_t)h->recipient.kind);
	buffer_u8(&b, h->recipient.ln);
	buffer_u8(&b, 0);
	buffer_bytes(&b, h->recipient.salt, sizeof h->recipient.salt);
	buffer_bytes(&b, h->recipient.key, sizeof h->recipient.key);
	buffer_bytes(&b, h->box, sizeof h->box);
	assert(b.error || b.len == HEADER_FIXED);
	buffer_text(&b, h->vault_name);
	buffer_text(&b, h->recipient.name);
	r = b.error;
	if (r == 0) {
		put_be32(b.data + 8, (uint32_t)b.len);
		memcpy(ret, b.data, b.len);
		*ret_len = b.len;
	}
	buffer_free(&b);
	return r;
}

static void header_fields(struct fields *f, struct backup_header *h)
{
	const uint8_t *p;

#define TAKE(field)                                      \
	do {                                             \
		p = field_bytes(f, sizeof(field));       \
		if (p)                                   \
			memcpy(field, p, sizeof(field)); \
	} while (0)
	TAKE(h->vault);
	h->epoch = field_u64(f);
	h->created = (int64_t)field_u64(f);
	TAKE(h->kek);
	TAKE(h->signer);
	uint8_t all = field_u8(f), kind = field_u8(f);
	h->recipient.ln = field_u8(f);
	uint8_t zero = field_u8(f);
	TAKE(h->recipient.salt);
	TAKE(h->recipient.key);
	TAKE(h->box);
#undef TAKE
	h->all = all == 1;
	h->recipient.kind = (enum backup_recipient_kind)kind;
	bool named = field_text(f, h->vault_name, sizeof h->vault_name);
	field_text(f, h->recipient.name, sizeof h->recipient.name);
	bool passphrase = kind == BACKUP_TO_PASSPHRASE;
	if (all > 1 || zero || !named || !vault_name_valid(h->vault_name) || (kind != BACKUP_TO_KEY && !passphrase) ||
	    (passphrase ? h->recipient.ln < BACKUP_LN_MIN || h->recipient.ln > BACKUP_LN_MAX : h->recipient.ln != 0) ||
	    (h->recipient.name[0] && !vault_name_valid(h->recipient.name)))
		f->error = -EBADMSG;
}

int backup_header_parse(const uint8_t *data, size_t len, struct backup_header *ret_header, size_t *ret_header_len,
			char *why, size_t why_len)
{
	struct backup_header h = { 0 };
	struct fields f = { data, len, 0 };
	size_t n;

	if (len < 12 || memcmp(data, magic, sizeof magic) != 0) {
		store_why(why, why_len,
			  len < 12 && memcmp(data, magic, len < 4 ? len : 4) == 0 ? "the backup is cut short"
										  : "this is not a backup");
		return -EBADMSG;
	}
	field_bytes(&f, sizeof magic);
	uint32_t format = field_u32(&f);
	n = field_u32(&f);
	if (format < 1 || format > BACKUP_FORMAT) {
		store_why(why, why_len,
			  "the backup has format %u, this coffer knows %u: use the newer coffer that wrote it", format,
			  BACKUP_FORMAT);
		return format > BACKUP_FORMAT ? -EPROTONOSUPPORT : -EBADMSG;
	}
	if (n < HEADER_FIXED || n > BACKUP_HEADER_MAX || n > len) {
		store_why(why, why_len,
			  n > len && n <= BACKUP_HEADER_MAX ? "the backup is cut short"
							    : "the backup is damaged: its header cannot be");
		return -EBADMSG;
	}
	f.left = n - 12;
	h.format = format;
	header_fields(&f, &h);
	if (fields_end(&f) < 0) {
		store_why(why, why_len, "the backup is damaged: its header cannot be");
		return -EBADMSG;
	}
	*ret_header = h;
	*ret_header_len = n;
	return 0;
}

/* ---- frames ---- */

int stream_hash_add(struct stream_hash *h, const void *data, size_t len)
{
	const struct bytes parts[] = { { h->digest, h->begun ? DIGEST_LEN : 0 }, { data, len } };

	h->begun = true;
	return sha256(parts, 2, h->digest);
}

static void frame_nonce(uint64_t counter, bool last, uint8_t ret[NONCE_LEN])
{
	memset(ret, 0, NONCE_LEN);
	put_be64(ret + 3, counter);
	ret[11] = last;
}

static void frame_aad(const struct stream_cipher *c, const uint8_t head[4], uint8_t ret[DIGEST_LEN + 4])
{
	memcpy(ret, c->header_hash, DIGEST_LEN);
	memcpy(ret + DIGEST_LEN, head, 4);
}

int frame_seal(struct stream_cipher *c, const uint8_t *plain, size_t len, bool last, uint8_t *ret)
{
	uint8_t nonce[NONCE_LEN], aad[DIGEST_LEN + 4];

	assert(len <= FRAME_MAX);
	put_be32(ret, (uint32_t)len | (last ? LAST_FRAME : 0));
	frame_nonce(c->counter++, last, nonce);
	frame_aad(c, ret, aad);
	return aead_seal(c->key, nonce, (struct bytes){ aad, sizeof aad }, plain, len, ret + 4, ret + 4 + len);
}

int frame_length(const uint8_t head[4], size_t *ret_len, bool *ret_last)
{
	uint32_t word = get_be32(head), n = word & ~LAST_FRAME;

	if (n > FRAME_MAX || (n == 0 && !(word & LAST_FRAME)))
		return -EBADMSG;
	*ret_len = n + FRAME_OVERHEAD;
	*ret_last = (word & LAST_FRAME) != 0;
	return 0;
}

int frame_open(struct stream_cipher *c, const uint8_t *frame, size_t len, uint8_t *ret, size_t *ret_len)
{
	uint8_t nonce[NONCE_LEN], aad[DIGEST_LEN + 4];
	size_t n = len - FRAME_OVERHEAD;

	frame_nonce(c->counter++, (get_be32(frame) & LAST_FRAME) != 0, nonce);
	frame_aad(c, frame, aad);
	int r = aead_open(c->key, nonce, (struct bytes){ aad, sizeof aad }, frame + 4, n, frame + 4 + n, ret);
	if (r == 0)
		*ret_len = n;
	return r;
}
