/* Private to ctl*.c and text.c: one request on its way through check, ask, load, run. */
#ifndef COFFER_FS_CTL_INTERNAL_H
#define COFFER_FS_CTL_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>

#include "fs/ctl/ctl.h"
#include "fs/common/exitcode.h"
#include "fs/common/timefmt.h"
#include "policy/role.h"
#include "policy/scope.h"
#include "store/backup/backup.h"
#include "store/core/rules_table.h"
#include "store/core/tables.h"

struct set_item;

#define CTL_DEPTH_MAX        4 /* the deepest request there is has two levels */
#define CTL_MESSAGE_MAX      512
#define CTL_COMMAND_MAX      768 /* a command line in a hint */
#define CTL_REASON_MAX       512 /* bytes of a binding's reason */
#define CTL_CONTENT_TYPE_MAX 255
#define CTL_TAGS_MAX         15
#define CTL_TAG_MAX          512 /* bytes of a tag's name, and of its value */

struct ctl;

/* What a field may be; json_typeof in bits. */
#define CTL_STRING (1u << JSON_STRING)
#define CTL_NULL   (1u << JSON_NULL)
#define CTL_BOOL   (1u << JSON_TRUE | 1u << JSON_FALSE)
#define CTL_INT    (1u << JSON_INTEGER)
#define CTL_OBJECT (1u << JSON_OBJECT)
#define CTL_ARRAY  (1u << JSON_ARRAY)

struct ctl_field {
	const char *name;
	unsigned types;
	bool required;
};

/* One operation. The hooks return 0, or -errno after ctl_fail; all but run may be NULL. */
struct ctl_op {
	const char *name;
	enum audit_operation operation;
	bool changes; /* carries an id; run is in a transaction */
	bool while_sealed;
	bool while_read_only;           /* a change all the same */
	const struct ctl_field *fields; /* ends with a NULL name */
	int (*check)(struct ctl *c);    /* pure: the fields' values into args. Before anything is asked or told */
	int (*ask)(struct ctl *c);      /* the policy. For changes it is called again in the transaction */
	int (*load)(struct ctl *c);     /* what may block for long, before the transaction */
	int (*run)(struct ctl *c);      /* does it, and fills the answer */
	int (*record)(struct ctl *c);   /* where one record is not all, before the commit; NULL: ctl_record */
	int (*after)(struct ctl *c);    /* after the commit */
};

/* The tables of the files that are named so; each ends with a NULL name. */
extern const struct ctl_op ctl_look_ops[], ctl_secrets_ops[], ctl_set_ops[], ctl_holders_ops[], ctl_bindings_ops[],
	ctl_can_i_ops[], ctl_blocks_ops[], ctl_vault_ops[], ctl_rotation_ops[], ctl_hooks_ops[], ctl_roles_ops[],
	ctl_history_ops[], ctl_backup_ops[], ctl_restore_ops[];
extern const struct ctl_op *const ctl_tables[]; /* all of these; ends with NULL */

/* The request's fields, checked. Strings and json_t are borrowed from ctl.in. */
struct ctl_args {
	const char *name;
	uint32_t version; /* 0: not given */
	bool deleted;
	uint64_t value_length;
	bool has_content_type, has_not_before, has_expires, has_tags;
	const char *content_type; /* NULL: none */
	int64_t not_before, expires;
	const json_t *tags; /* NULL: none */
	const char *role, *scope, *reason;
	const char *principal_text; /* NULL: not given */
	struct principal principal;
	int64_t from, until;
	uint64_t binding; /* or block; 0: not given */
	bool force;
	action_set actions;
	enum action action;
	bool has_value_max, has_enforce_validity, enforce_validity, has_purge_protection, purge_protection;
	uint32_t value_max;
	uint32_t near_days; /* 0: not given */
	struct rotation rotation;
	struct hook hook;
	struct history history;
	bool has_keep_versions, has_keep_for;
};

struct ctl {
	const struct ctl_env *env;
	const struct identity *who;
	const struct ctl_request *request;
	const struct ctl_op *op;
	enum audit_operation operation; /* 0: the op's own */
	json_t *in, *out;
	json_t *begun; /* of backup-read: the request that its backup was begun by */
	char *text;    /* further fields of the answer as text, for answers too long to be a json_t */
	size_t text_len;
	/* bytes that follow the answer's line; no secrets; of operations that change nothing */
	uint8_t *raw;
	size_t raw_len;
	bool short_of_memory;
	struct ctl_args args;
	uint8_t id[16];
	int64_t now;          /* wall clock, ns */
	int64_t started;      /* monotonic, ns */
	struct secbuf *value; /* of rollback and rotate */
	uint32_t value_of;    /* of rollback: the secret that it was read from */
	uint64_t *ids;        /* of revoke */
	size_t n_ids;
	struct set_item *set; /* of put-set */
	uint64_t part;        /* which of several records of one request: 0, 1, 2 … */
	/* what went wrong */
	int error; /* positive; 0: nothing yet */
	char message[CTL_MESSAGE_MAX], hint[CTL_MESSAGE_MAX + CTL_COMMAND_MAX];
	/* for the record */
	bool asked;      /* the policy was asked: from here on the outcome is recorded */
	bool denied;     /* by the policy, not by the state of what was asked for */
	bool unrecorded; /* of no weight: what everybody may know */
	const char *secret;
	uint32_t version;
	bool self_grant; /* a binding that can mean the caller */
	uint64_t binding;
	uint32_t role;
	char role_name[ROLE_NAME_MAX];
	char principal[PRINCIPAL_TEXT_MAX]; /* whom the binding speaks of */
	char detail[CTL_MESSAGE_MAX];
};

/* ---- errors (ctl_answer.c): each returns -error, so that hooks end with `return ctl_fail(…)` ---- */

int ctl_fail(struct ctl *c, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What to do next; also for answers that are no errors. */
void ctl_hint(struct ctl *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "coffer", or "coffer -m MOUNT" where that is not the default. */
const char *ctl_command(const struct ctl *c, char *buf, size_t len);
/* An error of the store, the key holder or memory, in words. what: "read db version 3". */
int ctl_fail_store(struct ctl *c, int r, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The value is longer than this vault takes. */
int ctl_fail_large(struct ctl *c);

/* ---- the record (ctl.c) ---- */

/* again: a second word on what was recorded already. 0, or negative errno after ctl_fail. */
int ctl_record(struct ctl *c, enum audit_result result, int error, bool again);

/* ---- what put and put-set share (ctl_secrets.c) ---- */

/* The secret to put into; a new one if there is none. In the transaction; about args.name. */
int ctl_put_secret(struct ctl *c, uint32_t *ret_id, bool *ret_created);
/* What an error of storing a version says; about args.name and args.value_length. */
int ctl_fail_add(struct ctl *c, int r);

/* ---- the policy (ctl_policy.c) ---- */

/* Asks, and notes the binding that decided. name may be a name, a scope, or NULL for the vault. 0, or -EACCES with
 * message and hint. */
int ctl_ask(struct ctl *c, enum action action, const char *name);
/* The same, content with the right to any name at all: the single names are filtered later. */
int ctl_ask_any(struct ctl *c, enum action action);
/* In the transaction that gives the role to the principal on the scope: does the caller give it to itself, now or by
 * another of its names? Then it is an event, and the record says so. 0 or negative errno. */
int ctl_note_self_grant(struct ctl *c, const struct principal *principal, const char *role, const char *scope);

/* Does the caller hold every right on this scope (NULL: the vault)? Else -EACCES with a hint, and a message to say
 * better. */
int ctl_ask_administrator(struct ctl *c, const char *scope);
/* The bare answer, for what a list shows: nothing is noted. */
bool ctl_may(const struct ctl *c, enum action action, const char *name);
/* Notes that the policy denied: no binding decided. */
void ctl_deny(struct ctl *c);
/* The denial was not the end: forgets it. */
void ctl_forgive(struct ctl *c);
/* "coffer grant secrets-user user:1000 --on 'db'": the command that gives the action, by the least built-in role. */
void ctl_grant_command(const struct ctl *c, enum action action, const char *name, const char *principal,
		       char ret[CTL_COMMAND_MAX]);

/* ---- fields (ctl_parse.c) ---- */

int ctl_check_name(struct ctl *c, const char *field, const char **ret_name);
int ctl_check_scope(struct ctl *c, const char *field, const char **ret_scope);
/* Into args.principal and args.principal_text. */
int ctl_check_principal(struct ctl *c, const char *field);
int ctl_check_version(struct ctl *c, uint32_t *ret_version);
/* Absent: false in *ret_given. null: none. */
int ctl_check_time(struct ctl *c, const char *field, int64_t none, int64_t *ret_ns, bool *ret_given);
/* The text of a string field, or NULL. */
const char *ctl_string(const struct ctl *c, const char *field);
/* Lower-case hex digits of exactly n bytes; check: of a string field. */
int ctl_from_hex(const char *text, uint8_t *ret, size_t n);
int ctl_check_hex(struct ctl *c, const char *field, uint8_t *ret, size_t n);
/* No bytes that move a terminal's cursor or end a line. */
bool ctl_text_clean(const char *text);

/* ---- secrets (ctl_secrets.c) ---- */

/* What requests need of a secret, copied so that no lock is held while they work. */
struct ctl_view {
	uint32_t id, current, n_versions;
	bool enabled;
	int64_t created, changed;
	struct catalog_version v; /* the version that was asked for (0: current); number 0: there is none */
	struct store_settings settings;
};
/* The secret that args.name names, and its version; or -ENOENT after ctl_fail. */
int ctl_find(struct ctl *c, uint32_t version, struct ctl_view *ret);
/* The policy, about args.name; for the record, too. */
int ctl_ask_named(struct ctl *c, enum action action);
/* The secret that args.name names, which is there and not disabled; or -ENOENT, -EACCES after ctl_fail. */
int ctl_find_live(struct ctl *c, uint32_t *ret_id);

/* ---- what a backup hands out (ctl_handout.c) ---- */

/* Decides about each piece as things stand when it is read, and records it. Borrows c. */
struct backup_judge ctl_handout(struct ctl *c);
/* The fields left_out and left_out_more of an answer. */
void ctl_set_left_out(struct ctl *c, const struct backup_left *left, size_t n, uint64_t more);

/* ---- answers (ctl_answer.c) ---- */

/* Puts a field into the answer; takes value, which may be NULL (memory). */
void ctl_set(struct ctl *c, const char *key, json_t *value);
json_t *ctl_time(int64_t ns);                      /* null at either end of the range */
json_t *ctl_history_json(const struct history *h); /* ctl_history.c */
/* Like json_dumps, which forgets to look whether a key could be written and hands out a damaged text when memory is
 * short (jansson 2.14). malloc'd, with a NUL; NULL: no memory. */
json_t *ctl_version(uint32_t version);
char *ctl_dump(const json_t *value, size_t flags, size_t *ret_len);

/* object as one line; extra (may be NULL) is further fields as text, without the first comma. */
int ctl_render(const json_t *object, const char *extra, size_t extra_len, char **ret_answer, size_t *ret_len);
int ctl_render_error(int error, const char *message, const char *hint, char **ret_answer, size_t *ret_len);

/* Parses and checks a line without asking or telling anybody (for fuzzing). */
int ctl_check_line(struct ctl *c);
void ctl_done(struct ctl *c);

/* status.c: the objects behind the texts; NULL when memory is short. */
json_t *text_status_object(const struct ctl_env *env);
/* The vault, or its key holder. */
bool ctl_is_sealed(const struct ctl_env *env);
json_t *text_whoami_object(const struct ctl_env *env, const struct identity *who);

#endif
