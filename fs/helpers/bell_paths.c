/* The paths that the bell has something to do for, and the queue of them. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/common/clock.h"
#include "fs/helpers/bell_internal.h"

static struct path **bucket_of(struct bell *b, const char *name)
{
	uint32_t h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return &b->buckets[h % BUCKETS];
}

/* Made where there is none. NULL: memory is short. */
struct path *bell_path_find(struct bell *b, const char *name)
{
	struct path **bucket = bucket_of(b, name), *p = *bucket;

	while (p && strcmp(p->name, name) != 0)
		p = p->next_in_bucket;
	if (p)
		return p;
	p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	p->fd = -1;
	memcpy(p->name, name, strlen(name) + 1);
	p->next_in_bucket = *bucket;
	*bucket = p;
	b->n_paths++;
	return p;
}

bool bell_path_has_work(const struct path *p)
{
	return p->touch || p->attrib || p->mark || p->touch_dir || p->remove || p->make || p->hold || p->let_go ||
	       p->look;
}

void bell_path_enqueue(struct bell *b, struct path *p)
{
	if (p->queued || p->busy) /* whoever is at it looks again */
		return;
	p->queued = true;
	p->next = NULL;
	*b->last = p;
	b->last = &p->next;
}

/* Nothing is to be done for it, and nothing held. */
void bell_path_forget(struct bell *b, struct path *p)
{
	struct path **link = bucket_of(b, p->name);

	while (*link != p)
		link = &(*link)->next_in_bucket;
	*link = p->next_in_bucket;
	b->n_paths--;
	free(p);
}

/* Whoever lists the vault's directory can hold its lock: one thread hangs then, and not all. */
bool bell_path_can_begin(const struct bell *b, const struct path *p, int64_t now)
{
	return p->again_ms <= now && !(p->make && b->making) && !(p->mark && b->n_marking >= MARKS);
}

/* The next that is due. NULL: none is. */
struct path *bell_path_take(struct bell *b)
{
	const int64_t now = clock_ms();

	for (struct path **link = &b->first, *p; (p = *link); link = &p->next) {
		if (!bell_path_can_begin(b, p, now))
			continue;
		*link = p->next;
		if (b->last == &p->next)
			b->last = link;
		p->queued = false;
		return p;
	}
	return NULL;
}
