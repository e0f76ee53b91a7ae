/* Who has a secret open: after a leak one wants to know who still works with the value that is to be thrown away. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/common/clock.h"
#include "fs/ctl/internal.h"
#include "fs/shared/handle.h"

#define HOLDERS_MAX    4096       /* lines of one answer */
#define LOOK_UP_MAX_NS 2000000000 /* for all processes together: each may have to be waited for */

/* One process with one version. */
struct holder {
	uint32_t uid, gid, version, files;
	int32_t tgid;
	uint64_t start_time;
	int64_t since;
	char comm[HANDLE_COMM];
};

struct holders {
	struct holder *items;
	size_t n, room;
	uint32_t version;
	int error;
};

static bool same_holder(const struct holder *h, const struct handle *e)
{
	return h->tgid == e->tgid && h->start_time == e->start_time && h->version == handle_shown(e).version &&
	       h->uid == e->uid;
}

static void collect(uint64_t fh, struct handle *e, void *arg)
{
	struct holders *l = arg;
	struct holder *grown;
	(void)fh;

	if (e->kind != HANDLE_VALUE || (e->open_flags & O_ACCMODE) == O_WRONLY ||
	    (l->version && handle_shown(e).version != l->version) || l->error)
		return;
	for (size_t i = 0; i < l->n; i++)
		if (same_holder(&l->items[i], e)) {
			l->items[i].files++;
			if (e->since < l->items[i].since)
				l->items[i].since = e->since;
			return;
		}
	if (l->n == HOLDERS_MAX) {
		l->error = -E2BIG;
		return;
	}
	if (l->n == l->room) {
		grown = reallocarray(l->items, l->room ? 2 * l->room : 32, sizeof(*grown));
		if (!grown) {
			l->error = -ENOMEM;
			return;
		}
		l->items = grown;
		l->room = l->room ? 2 * l->room : 32;
	}
	l->items[l->n] = (struct holder){ .uid = e->uid,
					  .gid = e->gid,
					  .version = handle_shown(e).version,
					  .files = 1,
					  .tgid = e->tgid,
					  .start_time = e->start_time,
					  .since = e->since };
	memcpy(l->items[l->n++].comm, e->comm, HANDLE_COMM);
}

static int by_age(const void *a, const void *b)
{
	int64_t x = ((const struct holder *)a)->since, y = ((const struct holder *)b)->since;

	return x < y ? -1 : x > y;
}

/* A process names itself, with any bytes. */
static json_t *harmless(const char *text)
{
	char copy[256];

	if (!text || !*text)
		return json_null();
	snprintf(copy, sizeof(copy), "%s", text);
	for (char *p = copy; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	return json_string(copy);
}

/* The user of the machine whose process it is, or was by its uid. */
static json_t *owner_json(const struct ctl *c, const struct holder *h, const struct identity *who)
{
	const uint32_t owner = who               ? who->owner
			       : c->env->callers ? neighbours_owner(callers_neighbours(c->env->callers), h->uid, NULL)
						 : h->uid;

	return owner == OWNER_UNKNOWN ? json_null() : json_integer(owner);
}

/* The opener as it is now; where that is another process, or none, what stands in the handle is left. A descriptor that
 * a child inherited is the child's business: no file system is told of it. */
static json_t *holder_json(struct ctl *c, const struct holder *h, bool look_up)
{
	struct identity *who = NULL;
	const char *why;
	bool running = false;
	json_t *o;

	if (look_up && c->env->callers && !caller_resolve(c->env->callers, h->uid, h->gid, h->tgid, &who, &why))
		running = who->start_time == h->start_time;
	o = json_pack("{s:i, s:I, s:o, s:o, s:o, s:o, s:I, s:o, s:I, s:o}", "pid", (int)h->tgid, "uid",
		      (json_int_t)h->uid, "owner", owner_json(c, h, running ? who : NULL), "comm",
		      harmless(running && who->audit.comm ? who->audit.comm : h->comm), "container",
		      harmless(running ? who->audit.container : NULL), "unit",
		      harmless(running ? who->audit.unit : NULL), "version", (json_int_t)h->version, "since",
		      ctl_time(h->since), "files", (json_int_t)h->files, "running",
		      look_up ? json_boolean(running) : json_null());
	identity_unref(who);
	return o;
}

static int find_secret(struct ctl *c, uint32_t *ret_id)
{
	const struct catalog_secret *s;
	bool version = false;
	char command[256];
	uint32_t id = 0;

	store_rdlock(c->env->store);
	s = store_find(c->env->store, c->args.name);
	if (!s)
		s = store_find_deleted(c->env->store, c->args.name); /* it may be open all the same */
	if (s) {
		id = s->id;
		version = !c->args.version || catalog_version(s, c->args.version);
	}
	store_unlock_tables(c->env->store);
	ctl_command(c, command, sizeof(command));
	if (!id) {
		ctl_hint(c, "see: %s list", command);
		return ctl_fail(c, ENOENT, "there is no secret %s", c->args.name);
	}
	if (!version) {
		ctl_hint(c, "see: %s versions %s", command, c->args.name);
		return ctl_fail(c, ENOENT, "%s has no version %u", c->args.name, c->args.version);
	}
	*ret_id = id;
	return 0;
}

static int check(struct ctl *c)
{
	int r = ctl_check_name(c, "name", &c->args.name);

	return r < 0 ? r : ctl_check_version(c, &c->args.version);
}

/* ---- holders ---- */

/* It tells what the log tells: who opened what. */
static int ask_holders(struct ctl *c)
{
	c->secret = c->args.name;
	c->version = c->args.version;
	return ctl_ask(c, ACTION_AUDIT_READ, NULL);
}

static int run_holders(struct ctl *c)
{
	struct holders l = { .version = c->args.version };
	int64_t began = clock_monotonic();
	json_t *list = json_array();
	uint32_t id = 0;
	int r = find_secret(c, &id);

	if (r == 0 && c->env->handles)
		handle_each(c->env->handles, id, collect, &l);
	if (r == 0 && l.error)
		r = l.error == -E2BIG ? ctl_fail(c, E2BIG, "more than %d processes have %s open: ask for one version",
						 HOLDERS_MAX, c->args.name)
				      : ctl_fail_store(c, l.error, "list the holders");
	if (r == 0 && l.n)
		qsort(l.items, l.n, sizeof(*l.items), by_age);
	for (size_t i = 0; r == 0 && i < l.n; i++)
		if (json_array_append_new(list,
					  holder_json(c, &l.items[i], clock_monotonic() - began < LOOK_UP_MAX_NS)) < 0)
			c->short_of_memory = true;
	ctl_set(c, "holders", list);
	if (r == 0)
		snprintf(c->detail, sizeof(c->detail), "%zu holders", l.n);
	free(l.items);
	return r;
}

/* ---- drained ---- */

static int check_drained(struct ctl *c)
{
	int r = check(c);

	if (r == 0 && !c->args.version)
		r = ctl_fail(c, EINVAL, "version: drained needs one");
	return r;
}

static int ask_drained(struct ctl *c)
{
	c->secret = c->args.name;
	c->version = c->args.version;
	return ctl_ask(c, ACTION_SECRETS_LIST, c->args.name);
}

/* A number of open files, asked for again and again by who waits: not worth a record each time. */
static int run_drained(struct ctl *c)
{
	uint32_t id = 0;
	int r = find_secret(c, &id);

	if (r < 0)
		return r;
	c->unrecorded = true;
	ctl_set(c, "name", json_string(c->args.name));
	ctl_set(c, "version", json_integer(c->args.version));
	ctl_set(c, "open", json_integer(c->env->handles ? handle_readers(c->env->handles, id, c->args.version) : 0));
	return 0;
}

/* ---- the table ---- */

static const struct ctl_field holders_fields[] = { { "name", CTL_STRING, true },
						   { "version", CTL_INT | CTL_NULL, false },
						   { 0 } };
static const struct ctl_field drained_fields[] = { { "name", CTL_STRING, true }, { "version", CTL_INT, true }, { 0 } };

const struct ctl_op ctl_holders_ops[] = {
	{ .name = "holders",
	  .operation = AUDIT_HOLDER_LIST,
	  .fields = holders_fields,
	  .check = check,
	  .ask = ask_holders,
	  .run = run_holders },
	{ .name = "drained",
	  .operation = AUDIT_HOLDER_LIST,
	  .fields = drained_fields,
	  .check = check_drained,
	  .ask = ask_drained,
	  .run = run_drained },
	{ 0 },
};
