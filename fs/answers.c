#include "fs/answers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 256u

struct answer { struct answer *next; uint64_t fh; char *text; size_t len; };
struct answers { pthread_mutex_t lock; struct answer *buckets[BUCKETS]; };

int answers_new(struct answers **ret_answers)
{
	struct answers *a = calloc(1, sizeof *a);
	if (!a)
		return -ENOMEM;
	pthread_mutex_init(&a->lock, NULL);
	*ret_answers = a;
	return 0;
}

static void destroy(struct answer *x)
{
	free(x->text);
	free(x);
}

void answers_free(struct answers *a)
{
	if (!a)
		return;
	for (size_t b = 0; b < BUCKETS; b++)
		for (struct answer *x = a->buckets[b], *next; x; x = next) {
			next = x->next;
			destroy(x);
		}
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static struct answer **place(struct answers *a, uint64_t fh)
{
	struct answer **at = &a->buckets[fh % BUCKETS];
	while (*at && (*at)->fh != fh)
		at = &(*at)->next;
	return at;
}

int answers_put(struct answers *a, uint64_t fh, char *text, size_t len)
{
	struct answer *x = calloc(1, sizeof *x);
	if (!x) {
		free(text);
		return -ENOMEM;
	}
	*x = (struct answer){ .fh = fh, .text = text, .len = len };
	pthread_mutex_lock(&a->lock);
	struct answer **at = place(a, fh), *old = *at;
	if (old)
		x->next = old->next;
	*at = x;
	pthread_mutex_unlock(&a->lock);
	if (old)
		destroy(old);
	return 0;
}

int answers_read(struct answers *a, uint64_t fh, uint64_t offset, size_t want, char **ret_piece, size_t *ret_len)
{
	int r = -ENOENT;
	pthread_mutex_lock(&a->lock);
	struct answer *x = *place(a, fh);
	if (x) {
		size_t n = offset < x->len ? x->len - (size_t)offset : 0;
		if (n > want)
			n = want;
		char *piece = malloc(n ? n : 1);
		r = piece ? 0 : -ENOMEM;
		if (piece) {
			memcpy(piece, n ? x->text + offset : "", n);
			*ret_piece = piece;
			*ret_len = n;
		}
	}
	pthread_mutex_unlock(&a->lock);
	return r;
}

void answers_drop(struct answers *a, uint64_t fh)
{
	pthread_mutex_lock(&a->lock);
	struct answer **at = place(a, fh), *x = *at;
	if (x)
		*at = x->next;
	pthread_mutex_unlock(&a->lock);
	if (x)
		destroy(x);
}
