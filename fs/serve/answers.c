#include "fs/serve/answers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fs/common/shares.h"

#define BUCKETS 256u

struct answer {
	struct answer *next;
	uint64_t fh;
	char *text;
	size_t len;
	uint64_t neighbour;
	uint32_t blocks; /* that are counted */
};
struct answers {
	pthread_mutex_t lock;
	struct shares *shares;
	struct answer *buckets[BUCKETS];
};

int answers_new(struct answers **ret_answers)
{
	struct answers *a = calloc(1, sizeof *a);
	if (!a)
		return -ENOMEM;
	const struct shares_config config = { .units = ANSWERS_MAX, .reserve = ANSWERS_RESERVE };
	if (shares_new(&config, &a->shares)) {
		free(a);
		return -ENOMEM;
	}
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
	shares_free(a->shares);
	free(a);
}

static struct answer **place(struct answers *a, uint64_t fh)
{
	struct answer **at = &a->buckets[fh % BUCKETS];
	while (*at && (*at)->fh != fh)
		at = &(*at)->next;
	return at;
}

static bool take_share(struct answers *a, const struct answer *x)
{
	return shares_take(a->shares, x->neighbour, x->blocks, SHARE_ORDINARY) ||
	       (x->neighbour == NEIGHBOUR_ROOT && shares_take(a->shares, x->neighbour, x->blocks, SHARE_RESERVED));
}

static int put(struct answers *a, const struct answer *answer)
{
	struct answer *x = malloc(sizeof *x), *old = NULL;

	if (!x) {
		free(answer->text);
		return -ENOMEM;
	}
	*x = *answer;
	pthread_mutex_lock(&a->lock);
	const bool may = take_share(a, x);
	if (may) {
		struct answer **at = place(a, x->fh);
		old = *at;
		x->next = old ? old->next : NULL;
		*at = x;
		if (old)
			shares_give(a->shares, old->neighbour, old->blocks);
	}
	pthread_mutex_unlock(&a->lock);
	if (!may)
		old = x;
	if (old)
		destroy(old);
	return may ? 0 : -EAGAIN;
}

static uint32_t blocks_of(size_t len)
{
	return len / ANSWERS_BLOCK < ANSWERS_MAX ? (uint32_t)(len / ANSWERS_BLOCK) + 1 : ANSWERS_MAX;
}

int answers_put(struct answers *a, uint64_t fh, uint64_t neighbour, char *text, size_t len)
{
	return put(a, &(struct answer){
			      .fh = fh, .neighbour = neighbour, .text = text, .len = len, .blocks = blocks_of(len) });
}

int answers_put_done(struct answers *a, uint64_t fh, uint64_t neighbour, char *text, size_t len)
{
	return put(a, &(struct answer){ .fh = fh,
					.neighbour = neighbour,
					.text = text,
					.len = len,
					.blocks = len <= ANSWER_SMALL ? 0 : blocks_of(len) });
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

int answers_size(struct answers *a, uint64_t fh, size_t *ret_len)
{
	pthread_mutex_lock(&a->lock);
	const struct answer *x = *place(a, fh);
	if (x)
		*ret_len = x->len;
	pthread_mutex_unlock(&a->lock);
	return x ? 0 : -ENOENT;
}

void answers_drop(struct answers *a, uint64_t fh)
{
	pthread_mutex_lock(&a->lock);
	struct answer **at = place(a, fh), *x = *at;
	if (x) {
		*at = x->next;
		shares_give(a->shares, x->neighbour, x->blocks);
	}
	pthread_mutex_unlock(&a->lock);
	if (x)
		destroy(x);
}
