/* What a record of the log says. */
#ifndef COFFER_STORE_AUDIT_RECORD_H
#define COFFER_STORE_AUDIT_RECORD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum audit_operation {
	AUDIT_SECRET_GET = 1,
	AUDIT_SECRET_SET,
	AUDIT_SECRET_UPDATE,
	AUDIT_SECRET_LIST,
	AUDIT_SECRET_LIST_VERSIONS,
	AUDIT_SECRET_DELETE,
	AUDIT_SECRET_RECOVER,
	AUDIT_SECRET_PURGE,
	AUDIT_SECRET_BACKUP,
	AUDIT_SECRET_RESTORE,
	AUDIT_SECRET_LIST_DELETED,
	AUDIT_SECRET_DESTROY,
	AUDIT_BINDING_CREATE,
	AUDIT_BINDING_DELETE,
	AUDIT_BINDING_LIST,
	AUDIT_ROLE_CREATE,
	AUDIT_ROLE_LIST,
	AUDIT_VAULT_CREATE,
	AUDIT_VAULT_UPDATE,
	AUDIT_VAULT_SEAL,
	AUDIT_VAULT_UNSEAL,
	AUDIT_VAULT_STATUS,
	AUDIT_VAULT_METRICS,
	AUDIT_VAULT_START,
	AUDIT_VAULT_STOP,
	AUDIT_AUDIT_READ,
	AUDIT_BREAK_GLASS,
	AUDIT_CAN_I,
	AUDIT_WORKER_START,
	AUDIT_PRINCIPAL_BLOCK,
	AUDIT_PRINCIPAL_UNBLOCK,
	AUDIT_HOLDER_LIST,
	AUDIT_SECRET_NEAR_EXPIRY,
	AUDIT_SECRET_EXPIRED,
	AUDIT_ROTATION_SET,
	AUDIT_ROTATION_DELETE,
	AUDIT_ROTATION_LIST,
	AUDIT_HOOK_CREATE,
	AUDIT_HOOK_DELETE,
	AUDIT_HOOK_LIST,
	AUDIT_HOOK_RUN,
	AUDIT_EVENTS_READ,
	AUDIT_SEGMENT,         /* first record of each segment; written by audit itself */
	AUDIT_TORN,            /* names a torn line's length and hash; written by audit itself */
	AUDIT_REQUEST_GIVE_UP, /* two workers died on it */
	AUDIT_SEGMENT_REMOVE,  /* retention is about to remove a segment; written by audit itself */
	AUDIT_TAMPERED,        /* the directory is not as the log left it; written by audit itself */
	/* a head on disk has numbers: what is new goes to the end */
	AUDIT_HISTORY_SET,
	AUDIT_HISTORY_DELETE,
	AUDIT_HISTORY_LIST,
};
const char *audit_operation_name(enum audit_operation op); /* "SecretGet", … */

enum audit_result { AUDIT_DENY = 0, AUDIT_ALLOW, AUDIT_ERROR };

#define AUDIT_GROUPS_MAX      24 /* are listed; of a caller with more, that there are more */
#define AUDIT_CALLER_JSON_MAX 1216
#define AUDIT_ORIGIN_LEN      16

/* Who, as it stands in the record. The strings are raw (audit escapes them) and may be NULL. audit_caller_render fills
 * json once, so that a caller that opens often is not rendered often. */
struct audit_caller {
	uint32_t uid, gid;
	int32_t pid;
	int64_t loginuid; /* -1: none */
	bool has_owner;   /* the process is another user's than uid says: */
	uint32_t owner;
	uint64_t neighbour; /* whose share of the log its records take: what it is the log does not know */
	/* the same for what one process with one identity asks, and for nothing else; zeros: not known, and nothing of
	 * it is folded */
	uint8_t origin[AUDIT_ORIGIN_LEN];
	const char *comm, *exe, *unit, *container;
	bool groups_known;
	const uint32_t *groups; /* supplementary ones */
	size_t n_groups;
	uint16_t json_len; /* 0: not rendered */
	char json[AUDIT_CALLER_JSON_MAX];
};
void audit_caller_render(struct audit_caller *c);

struct audit_event {
	enum audit_operation operation;
	enum audit_result result;
	int error;                         /* positive errno, 0: none */
	const char *secret;                /* raw, NULL: none */
	uint32_t version;                  /* 0: none */
	const struct audit_caller *caller; /* NULL: the daemon itself */
	uint64_t binding;                  /* 0: none */
	const char *role;                  /* NULL: none */
	const char *principal;             /* of the binding: canonical text; NULL: none */
	uint64_t unique;                   /* of the FUSE request, without the resend bit; 0: none */
	/* the request carries the resend bit: if (unique, operation, result) was recorded already, nothing is written
	 * and 0 is returned. What comes to another result than before is recorded: the last record is what the caller
	 * got */
	bool resent;
	uint32_t duration_us;
	const char *detail; /* further words for a person, raw, NULL: none (field "detail") */
	/* of a binding: it can mean the caller (field "self", true; else there is none) */
	bool self_grant;
	/* an administrator's act: may use the reserve (unless it was denied: anybody can be denied) */
	bool privileged;
};

enum audit_durability { AUDIT_DURABILITY_PROCESS = 0, AUDIT_DURABILITY_FDATASYNC };

#endif
