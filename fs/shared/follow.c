#include "fs/shared/follow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define NO_ENTRY  0u  /* links are index + 1 */
#define LOOK_MOST 64u /* entries that one look goes past: one thread's many files are not another's wait */

static uint64_t make_key(uint32_t object, pid_t id) { return (uint64_t)object << 32 | (uint32_t)id; }

static uint64_t key_of(const struct handle *e, enum follow_by by)
{
	return make_key(e->object, by == FOLLOW_THREAD ? e->tid : e->tgid);
}

static uint32_t *bucket(const struct follow *f, enum follow_by by, uint64_t key)
{
	return &f->heads[by][(uint32_t)((key * f->seed) >> 40) & (f->capacity - 1)];
}

static uint32_t number(const struct follow *f, const struct handle *e) { return (uint32_t)(e - f->entries) + 1; }

static struct handle_link *link_of(const struct follow *f, enum follow_by by, uint32_t n)
{
	return &f->entries[n - 1].follow[by];
}

static void insert(struct follow *f, struct handle *e, enum follow_by by)
{
	uint32_t *head = bucket(f, by, key_of(e, by));

	e->follow[by] = (struct handle_link){ .next = *head, .prev = NO_ENTRY };
	if (*head != NO_ENTRY)
		link_of(f, by, *head)->prev = number(f, e);
	*head = number(f, e);
}

static void take_out(struct follow *f, struct handle *e, enum follow_by by)
{
	const struct handle_link *link = &e->follow[by];

	if (link->prev != NO_ENTRY)
		link_of(f, by, link->prev)->next = link->next;
	else
		*bucket(f, by, key_of(e, by)) = link->next;
	if (link->next != NO_ENTRY)
		link_of(f, by, link->next)->prev = link->prev;
}

void follow_init(struct follow *f, struct handle *entries)
{
	*f = (struct follow){ .entries = entries };
	if (getrandom(&f->seed, sizeof f->seed, GRND_NONBLOCK) != (ssize_t)sizeof f->seed)
		f->seed = (uint64_t)(uintptr_t)f;
	f->seed |= 1;
}

void follow_free(struct follow *f)
{
	for (int by = 0; by < FOLLOWS; by++)
		free(f->heads[by]);
}

/* The last opened is to stay the first: each old chain is gone through from its end. */
static void move_chain(struct follow *f, enum follow_by by, uint32_t head)
{
	uint32_t last = head;

	while (last != NO_ENTRY && link_of(f, by, last)->next != NO_ENTRY)
		last = link_of(f, by, last)->next;
	while (last != NO_ENTRY) {
		struct handle *e = &f->entries[last - 1];
		last = e->follow[by].prev;
		insert(f, e, by);
	}
}

int follow_reserve(struct follow *f, uint32_t capacity)
{
	const struct follow old = *f;
	uint32_t *heads[FOLLOWS] = { calloc(capacity, sizeof(uint32_t)), calloc(capacity, sizeof(uint32_t)) };

	if (!heads[FOLLOW_THREAD] || !heads[FOLLOW_PROCESS]) {
		free(heads[FOLLOW_THREAD]);
		free(heads[FOLLOW_PROCESS]);
		return -ENOMEM;
	}
	f->capacity = capacity;
	for (int by = 0; by < FOLLOWS; by++) {
		f->heads[by] = heads[by];
		for (uint32_t i = 0; i < old.capacity; i++)
			move_chain(f, (enum follow_by)by, old.heads[by][i]);
		free(old.heads[by]);
	}
	return 0;
}

void follow_add(struct follow *f, struct handle *e)
{
	for (int by = 0; by < FOLLOWS; by++)
		insert(f, e, (enum follow_by)by);
}

void follow_drop(struct follow *f, struct handle *e)
{
	for (int by = 0; by < FOLLOWS; by++)
		take_out(f, e, (enum follow_by)by);
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = (*(struct handle *const *)a)->order, y = (*(struct handle *const *)b)->order;

	return (x > y) - (x < y);
}

void follow_add_all(struct follow *f, struct handle **all, uint32_t n)
{
	qsort(all, n, sizeof(struct handle *), compare);
	for (uint32_t i = 0; i < n; i++)
		follow_add(f, all[i]);
}

const struct handle *follow_last(const struct follow *f, enum follow_by by, uint32_t object, pid_t id)
{
	const uint64_t key = make_key(object, id);
	uint32_t at = f->capacity ? *bucket(f, by, key) : NO_ENTRY;

	for (uint32_t n = 0; at != NO_ENTRY && n < LOOK_MOST; n++) {
		if (key_of(&f->entries[at - 1], by) == key)
			return &f->entries[at - 1];
		at = link_of(f, by, at)->next;
	}
	return NULL;
}
