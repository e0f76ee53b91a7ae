/* Rules as they are in memory: rotation policies, hooks and rules of history. Few rows, held as one immutable snapshot
 * that is replaced when one of them changes. */
#ifndef COFFER_STORE_CORE_RULES_TABLE_H
#define COFFER_STORE_CORE_RULES_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/scope.h"
#include "store/core/integrity.h"

struct store;

/* Does the scope cover the name, and more narrowly than the best one so far (NULL: none)? */
bool rule_nearer(const char *scope, const char *best, const char *name);

struct rules *rules_new(void);    /* none; NULL: no memory */
void rules_free(struct rules *r); /* accepts NULL */
/* All rules, in the transaction that db is in; row is asked about each row first (0, or the error that ends it). */
int rules_load(struct db *db, int (*row)(enum row_kind kind, const struct query *q, void *arg), void *arg,
	       struct rules **ret_rules);

enum event_kind {
	EVENT_NEW_VERSION = 1, /* NewVersionCreated */
	EVENT_NEAR_EXPIRY,
	EVENT_EXPIRED,
	EVENT_DELETED,
	EVENT_RECOVERED,
	EVENT_PURGED,
	EVENT_BINDING_CHANGED,
	EVENT_ROTATION_FAILED,
	EVENT_HOOK_FAILED,
	EVENT_AUDIT_TAMPERED,    /* AuditTampered: of the log, not of a secret */
	EVENT_SELF_GRANTED,      /* SelfGranted: a binding whose principal can mean who made it */
	EVENT_VERSION_DESTROYED, /* VersionDestroyed: by a history rule */
	EVENT_KINDS
};
#define EVENT_BIT(kind) (1u << (kind))
#define EVENTS_ALL      ((EVENT_BIT(EVENT_KINDS) - 1) & ~1u)

#define RULES_MAX          1024 /* of each kind */
#define HOOK_COMMAND_MAX   512  /* bytes with the NUL */
#define GENERATOR_TEXT_MAX 64
/* no program runs as it: any process of nobody could take what the program prints (pidfd_getfd(2), ptrace(2)) */
#define HOOK_USER_NOBODY   65534
/* no user was named: the daemon's own for programs, PREFIX-hooks, which the runner knows */
#define HOOK_USER_ABSENT   UINT32_MAX

#define HOOK_TIMEOUT_MAX     3600                              /* s */
#define HOOK_DEBOUNCE_MAX    (3600 * 1000)                     /* ms */
#define ROTATION_LEAST_NS    (7 * 86400 * (int64_t)1000000000) /* after creation */
#define EXPIRY_LEAST_NS      (28 * 86400 * (int64_t)1000000000)
#define NEAR_EXPIRY_DAYS     30 /* unless the vault has another number */
#define NEAR_EXPIRY_DAYS_MAX 365

enum rotation_action { ROTATION_ROTATE = 1, ROTATION_NOTIFY };

/* Either a time after the version's creation or one before its expiry. */
struct rotation {
	uint64_t id;
	char scope[NAME_LEN_MAX + 2];
	enum rotation_action action;
	int64_t every;  /* ns after creation, 0: not by this */
	int64_t before; /* ns before expiry, 0: not by this */
	/* ns: how long the new version is to live; 0: as long as the last one was to, if it was */
	int64_t expiry;
	char generator[GENERATOR_TEXT_MAX]; /* see store/crypto/generate.h; "": the command makes the value */
	char command[HOOK_COMMAND_MAX];     /* "": none */
	uint32_t user;
	uint32_t timeout;    /* s */
	uint32_t created_by; /* uid */
	int64_t created;
};

struct hook {
	uint64_t id;
	char scope[NAME_LEN_MAX + 2];
	uint32_t events; /* EVENT_BIT */
	char command[HOOK_COMMAND_MAX];
	uint32_t user;
	uint32_t debounce; /* ms */
	uint32_t timeout;  /* s */
	uint32_t created_by;
	int64_t created;
};

/* How much of a secret's history is kept. Each number is a promise: a version stays as long as either keeps it, and
 * what neither keeps is destroyed. The version that current serves (where none is, the newest) stays whatever the rule
 * says; so does everything under purge protection, and of a deleted secret. */
struct history {
	uint64_t id;
	char scope[NAME_LEN_MAX + 2];
	uint32_t versions;   /* the newest so many that have content, 0: not by this */
	int64_t span;        /* ns since a version was replaced, 0: not by this */
	uint32_t created_by; /* uid */
	int64_t created;
	/* what the vault's own clock showed then: from here on the span is counted, so that a wall clock that is set
	 * ahead destroys nothing */
	int64_t counted;
};
#define HISTORY_VERSIONS_MAX 1000000u
#define HISTORY_SPAN_LEAST   ((int64_t)1000000000)
#define HISTORY_SPAN_MAX     ((int64_t)36500 * 86400 * 1000000000)
/* whoever opened a version just before it was replaced can read it to its end */
#define HISTORY_GRACE_NS     (5 * (int64_t)1000000000)

struct rules {
	uint32_t near_days;         /* how long before a version expires NearExpiry is raised */
	struct rotation *rotations; /* ascending by id */
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

/* history.c: the rule of a secret, as rules_rotation; in the place of the one with its scope, as store_rotation_put. */
const struct history *rules_history(const struct rules *r, const char *name);

#endif
