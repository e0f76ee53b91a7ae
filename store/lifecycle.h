/* What happens to secrets by themselves, and who hears of it: rotation policies, events, hooks, and what was told already.
 *
 * Policies and hooks are rules: member rows like bindings, held in memory as one immutable snapshot (struct rules) that is replaced when one of them changes.
 * Events are one stream of lines of JSON, written in the transaction of what they tell of. Marks say per secret what a clock has caused already; the place of each
 * hook in the stream is kept beside it. Both are written in the transaction that they belong to, so that whatever dies, nothing is told, or rotated, twice.
 *
 * Errors are those of store.h. */
#ifndef COFFER_STORE_LIFECYCLE_H
#define COFFER_STORE_LIFECYCLE_H

#include "store/store.h"

/* ---- events ---- */

enum event_kind {
	EVENT_NEW_VERSION = 1,	/* NewVersionCreated */
	EVENT_NEAR_EXPIRY,
	EVENT_EXPIRED,
	EVENT_DELETED,
	EVENT_RECOVERED,
	EVENT_PURGED,
	EVENT_BINDING_CHANGED,
	EVENT_ROTATION_FAILED,
	EVENT_HOOK_FAILED,
	EVENT_AUDIT_TAMPERED,	/* AuditTampered: of the log, not of a secret */
	EVENT_SELF_GRANTED,	/* SelfGranted: a binding whose principal can mean who made it */
	EVENT_VERSION_DESTROYED,	/* VersionDestroyed: by a history rule */
	EVENT_KINDS
};
#define EVENT_BIT(kind) (1u << (kind))
#define EVENTS_ALL      ((EVENT_BIT(EVENT_KINDS) - 1) & ~1u)

const char *event_name(enum event_kind kind);			/* "NewVersionCreated", … */
int event_parse(const char *name, enum event_kind *ret_kind);	/* 0 or -EINVAL */

#define EVENT_LINE_MAX   1024		/* bytes of a line, with its newline */
#define EVENT_DETAIL_MAX 256
#define EVENTS_KEPT      (16u << 20)	/* bytes of the stream: the oldest lines beyond go, … */
#define EVENTS_KEPT_MOST (256u << 20)	/* … unless a hook has yet to hear of them: a restore can make more at once */

struct event {
	enum event_kind kind;
	uint32_t secret, version;	/* 0: none */
	const char *name;		/* a secret's name, or a scope */
	const char *detail;		/* for a person; NULL: none. Never of a value */
	bool same;			/* of a new version: its value is the one that was served before */
};
/* In the transaction of what it tells of. */
int store_event_add(struct store *s, const struct event *e);
/* The same about an object, by its name. */
int store_event_add_of(struct store *s, enum event_kind kind, uint32_t id, uint32_t version, bool same);

/* The stream: bytes [first, end) of all that ever was. Atomic, no lock needed. */
void store_events_range(const struct store *s, uint64_t *ret_first, uint64_t *ret_end);
/* Its bytes from `at` on, each line verified. *ret_read 0: the end. -ESTALE: it went already; -EBADMSG; -ENOKEY. */
int store_events_read(struct store *s, uint64_t at, void *ret, size_t len, size_t *ret_read);

struct event_row {
	uint64_t at, next;		/* where its line begins, and the line after it */
	int64_t time;
	enum event_kind kind;
	uint32_t secret, version;
	bool same;
	char name[NAME_LEN_MAX + 2];
};
/* At most n events from `at` on, or from the oldest if that is later. */
int store_events_next(struct store *s, uint64_t at, struct event_row *ret_rows, size_t n, size_t *ret_n);

/* ---- rules ---- */

#define RULES_MAX         1024		/* of each kind */
#define HOOK_COMMAND_MAX  512		/* bytes with the NUL */
#define GENERATOR_TEXT_MAX 64
#define HOOK_USER_NOBODY  65534		/* no program runs as it: any process of nobody could take what the program prints (pidfd_getfd(2), ptrace(2)) */
#define HOOK_USER_ABSENT  UINT32_MAX	/* no user was named: the daemon's own for programs, PREFIX-hooks, which the runner knows */
#define HOOK_WHY_MAX      256
#define HOOK_TIMEOUT_MAX  3600		/* s */
#define HOOK_DEBOUNCE_MAX (3600 * 1000)	/* ms */
#define ROTATION_LEAST_NS (7 * 86400 * (int64_t)1000000000)	/* after creation */
#define EXPIRY_LEAST_NS   (28 * 86400 * (int64_t)1000000000)
#define NEAR_EXPIRY_DAYS  30		/* unless the vault has another number */
#define NEAR_EXPIRY_DAYS_MAX 365

enum rotation_action { ROTATION_ROTATE = 1, ROTATION_NOTIFY };

/* Either a time after the version's creation or one before its expiry. */
struct rotation {
	uint64_t id;
	char scope[NAME_LEN_MAX + 2];
	enum rotation_action action;
	int64_t every;		/* ns after creation, 0: not by this */
	int64_t before;		/* ns before expiry, 0: not by this */
	int64_t expiry;		/* ns: how long the new version is to live; 0: as long as the last one was to, if it was */
	char generator[GENERATOR_TEXT_MAX];	/* see store/generate.h; "": the command makes the value */
	char command[HOOK_COMMAND_MAX];		/* "": none */
	uint32_t user;
	uint32_t timeout;	/* s */
	uint32_t created_by;	/* uid */
	int64_t created;
};

struct hook {
	uint64_t id;
	char scope[NAME_LEN_MAX + 2];
	uint32_t events;	/* EVENT_BIT */
	char command[HOOK_COMMAND_MAX];
	uint32_t user;
	uint32_t debounce;	/* ms */
	uint32_t timeout;	/* s */
	uint32_t created_by;
	int64_t created;
};

/* How much of a secret's history is kept. Each number is a promise: a version stays as long as either keeps it, and what neither keeps is destroyed. The version that current serves (where none is, the
 * newest) stays whatever the rule says; so does everything under purge protection, and of a deleted secret. */
struct history {
	uint64_t id;
	char scope[NAME_LEN_MAX + 2];
	uint32_t versions;	/* the newest so many that have content, 0: not by this */
	int64_t span;		/* ns since a version was replaced, 0: not by this */
	uint32_t created_by;	/* uid */
	int64_t created;
	int64_t counted;	/* what the vault's own clock showed then: from here on the span is counted, so that a wall clock that is set ahead destroys nothing */
};
#define HISTORY_VERSIONS_MAX 1000000u
#define HISTORY_SPAN_LEAST   ((int64_t)1000000000)
#define HISTORY_SPAN_MAX     ((int64_t)36500 * 86400 * 1000000000)
#define HISTORY_GRACE_NS     (5 * (int64_t)1000000000)	/* whoever opened a version just before it was replaced can read it to its end */

struct rules {
	uint32_t near_days;	/* how long before a version expires NearExpiry is raised */
	struct rotation *rotations;	/* ascending by id */
	size_t n_rotations;
	struct hook *hooks;
	size_t n_hooks;
	struct history *histories;
	size_t n_histories;
};
/* Borrowed under the tables' lock; empty until the vault has been opened. */
const struct rules *store_rules(const struct store *s);
/* The policy of a secret: that of its very name, else of the longest prefix; NULL: none. */
const struct rotation *rules_rotation(const struct rules *r, const char *name);

/* Puts a policy in the place of the one with its scope, if there is one. -EINVAL, -E2BIG (RULES_MAX). */
int store_rotation_put(struct store *s, const struct rotation *rotation /* id and created ignored */, uint64_t *ret_id);
int store_rotation_remove(struct store *s, uint64_t id);	/* -ENOENT */
int store_hook_add(struct store *s, const struct hook *hook /* likewise */, uint64_t *ret_id);
int store_hook_remove(struct store *s, uint64_t id);

/* history.c: the rule of a secret, as rules_rotation; in the place of the one with its scope, as store_rotation_put. */
const struct history *rules_history(const struct rules *r, const char *name);
int store_history_put(struct store *s, const struct history *history /* id, created and counted ignored */, uint64_t *ret_id);
int store_history_remove(struct store *s, uint64_t id);	/* -ENOENT */

struct history_clocks { int64_t wall, counted; };
/* Which versions are to be destroyed by now: the first n of them, ascending; *ret_next: when, by the wall clock, to look for further ones (INT64_MAX: never). */
size_t history_goes(const struct history *h, const struct catalog_secret *c, struct history_clocks now, uint32_t *ret_numbers, size_t n, int64_t *ret_next);
/* The same by the rule that the vault has for it, if it has one, and by its clocks. The tables are locked. *ret_rule may be NULL. */
size_t store_history_goes(const struct store *s, const struct catalog_secret *c, uint32_t *ret_numbers, size_t n, int64_t *ret_next, struct history *ret_rule);

int store_near_expiry_put(struct store *s, uint32_t days);	/* 1..NEAR_EXPIRY_DAYS_MAX, else -EINVAL */

/* ---- what was told ---- */

enum { TOLD_NEAR = 1, TOLD_EXPIRED = 2, TOLD_ROTATION = 4 };

/* About the version that current serves. It holds for that version and expiry alone. */
struct mark {
	uint32_t secret, version;
	int64_t expires;
	uint32_t told;		/* TOLD_… */
	uint32_t failures;	/* rotations that failed in a row … */
	int64_t retry;		/* … and when the next is tried, ns */
};
/* Secrets without a mark have a zeroed one. */
int store_mark_get(struct store *s, uint32_t secret, struct mark *ret);
int store_marks_each(struct store *s, int (*fn)(const struct mark *m, void *arg), void *arg);
int store_mark_put(struct store *s, const struct mark *m);	/* in the transaction */

/* What is due next for a secret by its policy (NULL: none), its current version (NULL: none) and its mark. */
enum due_kind { DUE_NOTHING = 0, DUE_NEAR_EXPIRY, DUE_EXPIRED, DUE_NOTIFY, DUE_ROTATE };
struct due { enum due_kind kind; int64_t at; /* ns; INT64_MAX: never */ };
struct due lifecycle_due(const struct rotation *policy, const struct catalog_version *current, const struct mark *mark, uint32_t near_days);

/* The secrets that commits, also of other processes, have touched since the last call: at most STIRRED_MAX ids. *ret_all: more, or rules changed, or the vault was opened: look at all. */
#define STIRRED_MAX 1024u
size_t store_stirred(struct store *s, uint32_t ret_ids[STIRRED_MAX], bool *ret_all);

/* How far a hook has come: everything before `delivered` is done with. */
struct hook_place {
	uint64_t delivered;
	uint32_t attempts;	/* of what comes next, that failed */
	int64_t retry;		/* ns */
	char why[HOOK_WHY_MAX];	/* of the last one that failed; "": none. Nothing that a program said */
};
int store_hook_place(struct store *s, uint64_t hook, struct hook_place *ret);	/* -ENOENT */
int store_hook_place_put(struct store *s, uint64_t hook, const struct hook_place *place);	/* in the transaction */

#endif
