/* The columns of each table, in the order in which rows are read and MACed (integrity.c). Rows are read by these names,
 * so that a column that comes in between shifts nothing. Behind them stands the mac. A column that comes with a later
 * schema stands last (schema.sql). */
#ifndef COFFER_STORE_CORE_COLUMNS_H
#define COFFER_STORE_CORE_COLUMNS_H

#define SETTINGS_COLUMNS(COLUMN)                              \
	COLUMN(SETTINGS_ID, "id")                             \
	COLUMN(SETTINGS_VAULT, "vault")                       \
	COLUMN(SETTINGS_NAME, "name")                         \
	COLUMN(SETTINGS_RETENTION_DAYS, "retention_days")     \
	COLUMN(SETTINGS_PURGE_PROTECTION, "purge_protection") \
	COLUMN(SETTINGS_ENFORCE_VALIDITY, "enforce_validity") \
	COLUMN(SETTINGS_VALUE_MAX, "value_max")

#define OBJECTS_COLUMNS(COLUMN)                      \
	COLUMN(OBJECTS_ID, "id")                     \
	COLUMN(OBJECTS_KIND, "kind")                 \
	COLUMN(OBJECTS_NAME, "name")                 \
	COLUMN(OBJECTS_INCARNATION, "incarnation")   \
	COLUMN(OBJECTS_ENABLED, "enabled")           \
	COLUMN(OBJECTS_DELETED_AT, "deleted_at")     \
	COLUMN(OBJECTS_PURGE_AT, "purge_at")         \
	COLUMN(OBJECTS_CREATED, "created")           \
	COLUMN(OBJECTS_CHANGED, "changed")           \
	COLUMN(OBJECTS_LAST_VERSION, "last_version") \
	COLUMN(OBJECTS_SERVED, "served")

#define VERSIONS_COLUMNS(COLUMN)                        \
	COLUMN(VERSIONS_ID, "id")                       \
	COLUMN(VERSIONS_SIZE, "size")                   \
	COLUMN(VERSIONS_CREATED, "created")             \
	COLUMN(VERSIONS_NOT_BEFORE, "not_before")       \
	COLUMN(VERSIONS_EXPIRES, "expires")             \
	COLUMN(VERSIONS_ENABLED, "enabled")             \
	COLUMN(VERSIONS_CONTENT_TYPE, "content_type")   \
	COLUMN(VERSIONS_TAGS, "tags")                   \
	COLUMN(VERSIONS_KEK, "kek")                     \
	COLUMN(VERSIONS_DEK_RECORD, "dek_record")       \
	COLUMN(VERSIONS_ENVELOPE_HASH, "envelope_hash") \
	COLUMN(VERSIONS_EPOCH, "epoch")                 \
	COLUMN(VERSIONS_WITHDRAWN, "withdrawn")

#define ROLES_COLUMNS(COLUMN)      \
	COLUMN(ROLES_ID, "id")     \
	COLUMN(ROLES_NAME, "name") \
	COLUMN(ROLES_ACTIONS, "actions")

#define BINDINGS_COLUMNS(COLUMN)                    \
	COLUMN(BINDINGS_ID, "id")                   \
	COLUMN(BINDINGS_ROLE, "role")               \
	COLUMN(BINDINGS_PRINCIPAL, "principal")     \
	COLUMN(BINDINGS_SCOPE, "scope")             \
	COLUMN(BINDINGS_VALID_FROM, "valid_from")   \
	COLUMN(BINDINGS_VALID_UNTIL, "valid_until") \
	COLUMN(BINDINGS_REASON, "reason")           \
	COLUMN(BINDINGS_CREATED_BY, "created_by")   \
	COLUMN(BINDINGS_CREATED, "created")

#define CLOCK_COLUMNS(COLUMN)            \
	COLUMN(CLOCK_ID, "id")           \
	COLUMN(CLOCK_COUNTED, "counted") \
	COLUMN(CLOCK_BOOT, "boot")       \
	COLUMN(CLOCK_UPTIME, "uptime")

#define BLOCKS_COLUMNS(COLUMN)                  \
	COLUMN(BLOCKS_ID, "id")                 \
	COLUMN(BLOCKS_PRINCIPAL, "principal")   \
	COLUMN(BLOCKS_REASON, "reason")         \
	COLUMN(BLOCKS_CREATED_BY, "created_by") \
	COLUMN(BLOCKS_CREATED, "created")

#define REQUESTS_COLUMNS(COLUMN)            \
	COLUMN(REQUESTS_ID, "id")           \
	COLUMN(REQUESTS_UID, "uid")         \
	COLUMN(REQUESTS_USER_NS, "user_ns") \
	COLUMN(REQUESTS_REQUEST, "request") \
	COLUMN(REQUESTS_DIGEST, "digest")   \
	COLUMN(REQUESTS_ANSWER, "answer")   \
	COLUMN(REQUESTS_CREATED, "created") \
	COLUMN(REQUESTS_NEIGHBOUR, "neighbour")

#define PENDING_ACTS_COLUMNS(COLUMN)  \
	COLUMN(PENDING_ACTS_ID, "id") \
	COLUMN(PENDING_ACTS_ACT, "act")

#define ROTATIONS_COLUMNS(COLUMN)                  \
	COLUMN(ROTATIONS_ID, "id")                 \
	COLUMN(ROTATIONS_SCOPE, "scope")           \
	COLUMN(ROTATIONS_ACTION, "action")         \
	COLUMN(ROTATIONS_EVERY, "every")           \
	COLUMN(ROTATIONS_BEFORE, "before")         \
	COLUMN(ROTATIONS_EXPIRY, "expiry")         \
	COLUMN(ROTATIONS_GENERATOR, "generator")   \
	COLUMN(ROTATIONS_COMMAND, "command")       \
	COLUMN(ROTATIONS_USER, "user")             \
	COLUMN(ROTATIONS_TIMEOUT, "timeout")       \
	COLUMN(ROTATIONS_CREATED_BY, "created_by") \
	COLUMN(ROTATIONS_CREATED, "created")

#define HOOKS_COLUMNS(COLUMN)                  \
	COLUMN(HOOKS_ID, "id")                 \
	COLUMN(HOOKS_SCOPE, "scope")           \
	COLUMN(HOOKS_EVENTS, "events")         \
	COLUMN(HOOKS_COMMAND, "command")       \
	COLUMN(HOOKS_USER, "user")             \
	COLUMN(HOOKS_DEBOUNCE, "debounce")     \
	COLUMN(HOOKS_TIMEOUT, "timeout")       \
	COLUMN(HOOKS_CREATED_BY, "created_by") \
	COLUMN(HOOKS_CREATED, "created")

#define NOTICES_COLUMNS(COLUMN)  \
	COLUMN(NOTICES_ID, "id") \
	COLUMN(NOTICES_NEAR_DAYS, "near_days")

#define HISTORIES_COLUMNS(COLUMN)                  \
	COLUMN(HISTORIES_ID, "id")                 \
	COLUMN(HISTORIES_SCOPE, "scope")           \
	COLUMN(HISTORIES_VERSIONS, "versions")     \
	COLUMN(HISTORIES_SPAN, "span")             \
	COLUMN(HISTORIES_CREATED_BY, "created_by") \
	COLUMN(HISTORIES_CREATED, "created")       \
	COLUMN(HISTORIES_COUNTED, "counted")

#define EVENTS_COLUMNS(COLUMN)            \
	COLUMN(EVENTS_ID, "id")           \
	COLUMN(EVENTS_TIME, "time")       \
	COLUMN(EVENTS_KIND, "kind")       \
	COLUMN(EVENTS_OBJECT, "object")   \
	COLUMN(EVENTS_VERSION, "version") \
	COLUMN(EVENTS_SAME, "same")       \
	COLUMN(EVENTS_NAME, "name")       \
	COLUMN(EVENTS_LINE, "line")

#define MARKS_COLUMNS(COLUMN)              \
	COLUMN(MARKS_ID, "id")             \
	COLUMN(MARKS_VERSION, "version")   \
	COLUMN(MARKS_EXPIRES, "expires")   \
	COLUMN(MARKS_TOLD, "told")         \
	COLUMN(MARKS_FAILURES, "failures") \
	COLUMN(MARKS_RETRY, "retry")

#define HOOK_PLACES_COLUMNS(COLUMN)                \
	COLUMN(HOOK_PLACES_ID, "id")               \
	COLUMN(HOOK_PLACES_DELIVERED, "delivered") \
	COLUMN(HOOK_PLACES_ATTEMPTS, "attempts")   \
	COLUMN(HOOK_PLACES_RETRY, "retry")         \
	COLUMN(HOOK_PLACES_WHY, "why")

#define STAGES_COLUMNS(COLUMN)                    \
	COLUMN(STAGES_ID, "id")                   \
	COLUMN(STAGES_SIZE, "size")               \
	COLUMN(STAGES_DIRTY, "dirty")             \
	COLUMN(STAGES_COUNTER, "counter")         \
	COLUMN(STAGES_LAST_UNIQUE, "last_unique") \
	COLUMN(STAGES_MANNER, "manner")           \
	COLUMN(STAGES_BASE, "base")               \
	COLUMN(STAGES_START, "start")

#define BACKUP_KEYS_COLUMNS(COLUMN)                  \
	COLUMN(BACKUP_KEYS_ID, "id")                 \
	COLUMN(BACKUP_KEYS_KIND, "kind")             \
	COLUMN(BACKUP_KEYS_NAME, "name")             \
	COLUMN(BACKUP_KEYS_PUBLIC_KEY, "public_key") \
	COLUMN(BACKUP_KEYS_RECORD, "record")         \
	COLUMN(BACKUP_KEYS_CREATED, "created")       \
	COLUMN(BACKUP_KEYS_CREATED_BY, "created_by")

#define DRILLS_COLUMNS(COLUMN)                          \
	COLUMN(DRILLS_ID, "id")                         \
	COLUMN(DRILLS_AT, "at")                         \
	COLUMN(DRILLS_BACKUP_CREATED, "backup_created") \
	COLUMN(DRILLS_SECRETS, "secrets")               \
	COLUMN(DRILLS_VERSIONS, "versions")

#define COLUMN_NUMBER(number, name) number,

enum { SETTINGS_COLUMNS(COLUMN_NUMBER) };
enum { OBJECTS_COLUMNS(COLUMN_NUMBER) };
enum { VERSIONS_COLUMNS(COLUMN_NUMBER) };
enum { ROLES_COLUMNS(COLUMN_NUMBER) };
enum { BINDINGS_COLUMNS(COLUMN_NUMBER) };
enum { CLOCK_COLUMNS(COLUMN_NUMBER) };
enum { BLOCKS_COLUMNS(COLUMN_NUMBER) };
enum { REQUESTS_COLUMNS(COLUMN_NUMBER) };
enum { PENDING_ACTS_COLUMNS(COLUMN_NUMBER) };
enum { ROTATIONS_COLUMNS(COLUMN_NUMBER) };
enum { HOOKS_COLUMNS(COLUMN_NUMBER) };
enum { NOTICES_COLUMNS(COLUMN_NUMBER) };
enum { HISTORIES_COLUMNS(COLUMN_NUMBER) };
enum { EVENTS_COLUMNS(COLUMN_NUMBER) };
enum { MARKS_COLUMNS(COLUMN_NUMBER) };
enum { HOOK_PLACES_COLUMNS(COLUMN_NUMBER) };
enum { STAGES_COLUMNS(COLUMN_NUMBER) };
enum { BACKUP_KEYS_COLUMNS(COLUMN_NUMBER) };
enum { DRILLS_COLUMNS(COLUMN_NUMBER) };

#undef COLUMN_NUMBER

#endif
