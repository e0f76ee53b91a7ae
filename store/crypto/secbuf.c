/* Buffers in locked memory. */
#include <errno.h>
#include <string.h>

#include "store/crypto/secbuf.h"

struct secbuf {
	uint8_t *data;
	size_t len, capacity;
};

int secbuf_new(size_t capacity, struct secbuf **ret_buf)
{
	struct secbuf *b = secmem_alloc(sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->data = secmem_alloc(capacity);
	if (!b->data) {
		secmem_free(b, sizeof(*b));
		return -ENOMEM;
	}
	b->capacity = capacity;
	*ret_buf = b;
	return 0;
}

struct secbuf *secbuf_free(struct secbuf *b)
{
	if (b) {
		secmem_free(b->data, b->capacity);
		secmem_free(b, sizeof(*b));
	}
	return NULL;
}

uint8_t *secbuf_data(struct secbuf *b) { return b->data; }

const uint8_t *secbuf_cdata(const struct secbuf *b) { return b->data; }

size_t secbuf_len(const struct secbuf *b) { return b->len; }

size_t secbuf_capacity(const struct secbuf *b) { return b->capacity; }

int secbuf_set_len(struct secbuf *b, size_t len)
{
	if (len > b->capacity)
		return -EINVAL;
	if (len < b->len)
		secmem_wipe(b->data + len, b->len - len);
	b->len = len;
	return 0;
}

int secbuf_reserve(struct secbuf **b, size_t capacity)
{
	struct secbuf *buf = *b;
	uint8_t *data;

	if (capacity <= buf->capacity)
		return 0;
	data = secmem_alloc(capacity);
	if (!data)
		return -ENOMEM;
	memcpy(data, buf->data, buf->capacity);
	secmem_free(buf->data, buf->capacity);
	buf->data = data;
	buf->capacity = capacity;
	return 0;
}
