/* The table of commands. --help, the man page and the completions say the same: tests/unit/help_matches_man.sh compares
 * them. */
#include "fs/cli/common/cli.h"
#include "fs/cli/commands/commands.h"

#define END                  \
	{                    \
		.name = NULL \
	}
#define ATTRIBUTES                                                                                                 \
	{ .name = "content-type", .value = "TYPE", .help = "what the value is, such as text/plain" },              \
		{ .name = "not-before", .value = "TIME", .help = "when it becomes valid" },                        \
		{ .name = "expires", .value = "TIME", .help = "when it ends to be valid" },                        \
	{                                                                                                          \
		.name = "tag", .value = "NAME=VALUE", .help = "a label; may be given more than once", .many = true \
	}
#define VERSION                                                                                    \
	{                                                                                          \
		.name = "version", .value = "N", .help = "this version instead of the current one" \
	}
#define YES                                                                  \
	{                                                                    \
		.name = "yes", .help = "do it without asking", .grave = true \
	}
#define KEEPS                                                                                                 \
	{ .name = "keep-versions", .value = "N", .help = "keep the newest N versions; none: not by number" }, \
	{                                                                                                     \
		.name = "keep-for", .value = "SPAN",                                                          \
		.help = "keep each so long after it was replaced; none: not by time"                          \
	}
#define KEK                                                                                         \
	{                                                                                           \
		.name = "kek", .value = "URI", .help = "the key, if it is not where the store says" \
	}

static const struct option_spec none[] = { END };
static const struct option_spec put_options[] = {
	{ .name = "file", .value = "FILE", .help = "read the value from FILE instead of standard input" },
	ATTRIBUTES,
	{ .name = "trim", .help = "remove one newline at the end of the value" },
	{ .name = "set", .value = "DIR", .help = "several secrets at once: the files of DIR, or - for a tar archive" },
	{ .name = "prefix", .value = "TEXT", .help = "with --set: before each name" },
	{ .name = "follow", .help = "with --set DIR: also what links lead to outside of it", .grave = true },
	END
};
static const struct option_spec get_options[] = {
	VERSION, { .name = "at", .value = "EPOCH", .help = "what was current at this epoch" }, END
};
static const struct option_spec attr_options[] = {
	VERSION,
	ATTRIBUTES,
	{ .name = "untag", .value = "NAME", .help = "remove a label; may be given more than once", .many = true },
	KEEPS,
	YES,
	END
};
static const struct option_spec switch_options[] = {
	{ .name = "version", .value = "N", .help = "only this version, not the whole secret" }, END
};
static const struct option_spec destroy_options[] = { { .name = "version", .value = "N", .help = "which version" },
						      YES,
						      END };
static const struct option_spec sure_options[] = { YES, END };
static const struct option_spec history_options[] = { KEEPS, YES, END };
static const struct option_spec list_options[] = {
	{ .name = "deleted", .help = "those that were deleted, and when they are purged" }, END
};
static const struct option_spec grant_options[] = {
	{ .name = "on", .value = "SCOPE", .help = "a secret's name, a prefix such as 'db-*', or '*'" },
	{ .name = "from", .value = "TIME", .help = "when the binding begins" },
	{ .name = "until", .value = "TIME", .help = "when it ends" },
	{ .name = "reason", .value = "TEXT", .help = "why, for whoever reads it later" },
	END
};
static const struct option_spec revoke_options[] = {
	{ .name = "on", .value = "SCOPE", .help = "the scope of the binding, as it was granted" }, END
};
static const struct option_spec bindings_options[] = {
	{ .name = "on", .value = "NAME", .help = "only those that cover this secret" }, END
};
static const struct option_spec block_options[] = {
	{ .name = "reason", .value = "TEXT", .help = "why, for whoever reads it later" },
	{ .name = "force", .help = "even if it means yourself", .grave = true },
	END
};
static const struct option_spec exposed_options[] = {
	{ .name = "since", .value = "TIME", .help = "only from then on; 12h means the last 12 hours" }, END
};
static const struct option_spec holders_options[] = {
	{ .name = "version", .value = "N", .help = "only of this version" }, END
};
static const struct option_spec drained_options[] = {
	{ .name = "version", .value = "N", .help = "the version that nobody shall have open" },
	{ .name = "timeout", .value = "SPAN", .help = "give up after 30s, 5m or 2h (status 7)" },
	END
};
static const struct option_spec can_i_options[] = {
	{ .name = "as", .value = "PRINCIPAL", .help = "ask for somebody else, such as user:1000,group:50" }, END
};
static const struct option_spec vault_options[] = {
	{ .name = "value-max", .value = "SIZE", .help = "bytes of the longest value: 1 to 1M, with K or M for more" },
	{ .name = "enforce-validity",
	  .value = "STATE",
	  .help = "on: what has expired, or is not valid yet, is not served" },
	{ .name = "purge-protection",
	  .value = "STATE",
	  .help = "on: nobody can purge before the retention has passed; cannot be undone",
	  .grave = true },
	{ .name = "near-expiry",
	  .value = "DAYS",
	  .help = "how long before its expiry a version is told of as NearExpiry (default 30)" },
	KEEPS,
	YES,
	END
};
#define RUN_AS                                                                                                    \
	{ .name = "user", .value = "USER", .help = "who runs the program, never nobody (default coffer-hooks)" }, \
	{                                                                                                         \
		.name = "timeout", .value = "SPAN", .help = "after which the program is killed (default 30s)"     \
	}
#define GENERATOR                                                                     \
	{                                                                             \
		.name = "generator", .value = "GENERATOR",                            \
		.help = "how the value is made, such as password:32, uuid or ec:p256" \
	}

static const struct option_spec rotation_set_options[] = {
	{ .name = "every", .value = "SPAN", .help = "so long after a version was made, such as 90d; at least 7d" },
	{ .name = "before-expiry", .value = "SPAN", .help = "so long before a version expires" },
	{ .name = "expiry",
	  .value = "SPAN",
	  .help = "how long a new version is to live (default: as long as the last)" },
	GENERATOR,
	{ .name = "hook",
	  .value = "PROGRAM",
	  .help = "a program that gets the name and writes the new value to standard output" },
	{ .name = "notify", .help = "only raise NearExpiry, make no value" },
	RUN_AS,
	END
};
static const struct option_spec rotate_options[] = {
	{ .name = "from", .value = "FILE", .help = "the names, one a line; - is standard input" }, GENERATOR, END
};
static const struct option_spec hook_add_options[] = {
	{ .name = "on", .value = "SCOPE", .help = "a secret's name, a prefix such as 'tls-*', or '*'" },
	{ .name = "event",
	  .value = "EVENT",
	  .help = "instead of NewVersionCreated; may be given more than once",
	  .many = true },
	{ .name = "exec",
	  .value = "COMMAND",
	  .help = "a program and its words; %n is the name, %v the version, %e the event" },
	RUN_AS,
	{ .name = "debounce",
	  .value = "SPAN",
	  .help = "how long further events are waited for, such as 100ms (default 200ms)" },
	END
};
static const struct option_spec events_options[] = {
	{ .name = "follow", .letter = 'f', .help = "go on as events happen" },
	{ .name = "since", .value = "TIME", .help = "only from then on; 12h means the last 12 hours" },
	{ .name = "secret", .value = "NAME", .help = "only of this secret" },
	END
};
static const struct option_spec audit_options[] = {
	{ .name = "follow", .letter = 'f', .help = "go on as records are written" },
	{ .name = "since", .value = "TIME", .help = "only from then on; 12h means the last 12 hours" },
	{ .name = "secret", .value = "NAME", .help = "only of this secret" },
	{ .name = "denied", .help = "only what was refused" },
	END
};
static const struct option_spec verify_options[] = {
	{ .name = "verify-key", .value = "FILE", .help = "the key that init wrote, if it was moved" }, END
};
static const struct option_spec init_options[] = {
	{ .name = "kek", .value = "URI", .help = "file:PATH or passphrase: (default file:/etc/coffer/VAULT.kek)" },
	{ .name = "admin",
	  .value = "PRINCIPAL",
	  .help = "an administrator instead of yourself; may be given more than once",
	  .many = true },
	{ .name = "retention", .value = "DAYS", .help = "days that deleted secrets are kept, 7 to 90 (default 90)" },
	{ .name = "purge-protection", .help = "nobody can purge before that; cannot be undone", .grave = true },
	{ .name = "users",
	  .value = "NAME",
	  .help = "the vault's users are NAME, NAME-keys, NAME-helper, NAME-hooks (default coffer)" },
	YES,
	END
};
static const struct option_spec fsck_options[] = { KEK, { .name = "deep", .help = "open every value, too" }, END };
static const struct option_spec kek_options[] = { KEK, END };

#define OPENS                                                                                                        \
	{ .name = "key", .value = "FILE", .help = "the recipient's private key, in PEM" },                           \
	{                                                                                                            \
		.name = "passphrase-file", .value = "FILE", .help = "the passphrase that the backup is encrypted to" \
	}
#define SIGNER                                                                                                    \
	{                                                                                                         \
		.name = "signer", .value = "FINGERPRINT", .help = "the vault's signer, as coffer status shows it" \
	}
static const struct option_spec backup_options[] = {
	{ .name = "all", .help = "the whole vault, with roles, bindings and settings" },
	{ .name = "recipient", .value = "NAME", .help = "encrypt to this registered recipient" },
	{ .name = "passphrase-file", .value = "FILE", .help = "encrypt to the passphrase in FILE (needs secrets/get)" },
	{ .name = "public-key", .value = "FILE", .help = "encrypt to this X25519 key (needs secrets/get)" },
	END
};
static const struct option_spec backup_verify_options[] = { SIGNER, END };
static const struct option_spec drill_options[] = {
	OPENS,
	{ .name = "signer", .value = "FINGERPRINT", .help = "the vault's signer (default: the mounted vault's)" },
	{ .name = "no-record", .help = "do not keep the date in the mounted vault" },
	END
};
static const struct option_spec restore_options[] = {
	OPENS,
	SIGNER,
	{ .name = "existing", .value = "POLICY", .help = "of names that are there: refuse (default), skip, append" },
	{ .name = "with-grants",
	  .help = "roles, bindings, blocks, recipients, settings, rotation policies, hooks and history rules too",
	  .grave = true },
	{ .name = "dry-run", .help = "say what would be restored, and change nothing" },
	{ .name = "into", .value = "STORE", .help = "into this store, without its daemon (root)" },
	{ .name = "kek", .value = "URI", .help = "with --into: the key, if it is not where the store says" },
	END
};
static const struct option_spec recipient_add_options[] = {
	{ .name = "public-key", .value = "FILE", .help = "its X25519 public key, in PEM" }, END
};

const struct command commands[] = {
	{ .name = "put",
	  .synopsis = "NAME [--file FILE] [--content-type TYPE] [--not-before TIME] [--expires TIME] [--tag "
		      "NAME=VALUE]... [--trim] | --set DIR [--prefix TEXT] [--follow] [--trim]",
	  .summary = "store a value, from standard input or a file, as a new version",
	  .example = "printf %s \"$PASSWORD\" | coffer put db --expires 90d",
	  .options = put_options,
	  .max_operands = 1,
	  .run = cmd_put },
	{ .name = "get",
	  .synopsis = "NAME [--version N | --at EPOCH]",
	  .summary = "write a value to standard output, byte for byte",
	  .example = "coffer get db --version 3 > /run/db.old",
	  .options = get_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .flags = COMMAND_LOOKS,
	  .run = cmd_get },
	{ .name = "list",
	  .synopsis = "[--deleted]",
	  .summary = "the secrets that you may list",
	  .example = "coffer list --output json",
	  .options = list_options,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_list },
	{ .name = "show",
	  .synopsis = "NAME",
	  .summary = "what is known of a secret, but for its value",
	  .example = "coffer show db",
	  .options = none,
	  .min_operands = 1,
	  .max_operands = 1,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_show },
	{ .name = "versions",
	  .synopsis = "NAME",
	  .summary = "the versions of a secret",
	  .example = "coffer versions db",
	  .options = none,
	  .min_operands = 1,
	  .max_operands = 1,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_versions },
	{ .name = "edit",
	  .synopsis = "NAME",
	  .summary = "change a value with $VISUAL or $EDITOR, in memory",
	  .example = "EDITOR=nano coffer edit db",
	  .options = none,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_edit },
	{ .name = "attr",
	  .synopsis = "NAME [--version N] [--content-type TYPE] [--not-before TIME] [--expires TIME] [--tag "
		      "NAME=VALUE]... [--untag NAME]... [--keep-versions N] [--keep-for SPAN] [--yes]",
	  .summary = "change what a version is labelled with; none removes",
	  .example = "coffer attr db --expires none --tag owner=billing",
	  .options = attr_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_attr },
	{ .name = "enable",
	  .synopsis = "NAME [--version N]",
	  .summary = "serve a secret, or a version, again",
	  .example = "coffer enable db",
	  .options = switch_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_enable },
	{ .name = "disable",
	  .synopsis = "NAME [--version N]",
	  .summary = "serve a secret, or a version, no more",
	  .example = "coffer disable db --version 4",
	  .options = switch_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_disable },
	{ .name = "delete",
	  .synopsis = "NAME",
	  .summary = "delete a secret; it can be recovered for some time",
	  .example = "coffer delete db",
	  .options = none,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_delete },
	{ .name = "recover",
	  .synopsis = "NAME",
	  .summary = "bring a deleted secret back, whole",
	  .example = "coffer recover db",
	  .options = none,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_recover },
	{ .name = "purge",
	  .synopsis = "NAME [--yes]",
	  .summary = "destroy a deleted secret for ever",
	  .example = "coffer purge db",
	  .options = sure_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_purge },
	{ .name = "destroy",
	  .synopsis = "NAME --version N [--yes]",
	  .summary = "destroy the content of one version for ever",
	  .example = "coffer destroy db --version 3",
	  .options = destroy_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_destroy },
	{ .name = "rollback",
	  .synopsis = "NAME N",
	  .summary = "make a new version with the content of version N",
	  .example = "coffer rollback db 3",
	  .options = none,
	  .min_operands = 2,
	  .max_operands = 2,
	  .run = cmd_rollback },
	{ .name = "grant",
	  .synopsis = "ROLE PRINCIPAL --on SCOPE [--from TIME] [--until TIME] [--reason TEXT]",
	  .summary = "give somebody a role on secrets",
	  .example = "coffer grant secrets-user user:www-data --on 'web-*' --until 12h",
	  .options = grant_options,
	  .min_operands = 2,
	  .max_operands = 2,
	  .run = cmd_grant },
	{ .name = "revoke",
	  .synopsis = "BINDING... | ROLE PRINCIPAL --on SCOPE",
	  .summary = "take a binding back",
	  .example = "coffer revoke 7",
	  .options = revoke_options,
	  .min_operands = 1,
	  .max_operands = 256,
	  .run = cmd_revoke },
	{ .name = "bindings",
	  .synopsis = "[--on NAME]",
	  .summary = "who has which role on what",
	  .example = "coffer bindings --on db",
	  .options = bindings_options,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_bindings },
	{ .name = "block",
	  .synopsis = "PRINCIPAL [--reason TEXT] [--force]",
	  .summary = "deny somebody everything, whatever the bindings say",
	  .example = "coffer block user:www-data --reason 'key found in a public repository'",
	  .options = block_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_block },
	{ .name = "unblock",
	  .synopsis = "PRINCIPAL | BLOCK",
	  .summary = "let somebody's bindings count again",
	  .example = "coffer unblock user:www-data",
	  .options = none,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_unblock },
	{ .name = "blocks",
	  .synopsis = "",
	  .summary = "who is denied everything",
	  .example = "coffer blocks",
	  .options = none,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_blocks },
	{ .name = "exposed",
	  .synopsis = "PRINCIPAL [--since TIME]",
	  .summary = "the secrets that somebody has read, from the log",
	  .example = "coffer exposed user:www-data --since 30d",
	  .options = exposed_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_exposed },
	{ .name = "holders",
	  .synopsis = "NAME [--version N]",
	  .summary = "which processes have a secret open, and since when",
	  .example = "coffer holders db",
	  .options = holders_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_holders },
	{ .name = "wait-drained",
	  .synopsis = "NAME --version N [--timeout SPAN]",
	  .summary = "wait until nobody has a version open any more",
	  .example = "coffer wait-drained db --version 3 --timeout 5m && coffer destroy db --version 3",
	  .options = drained_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .flags = COMMAND_LOOKS,
	  .run = cmd_wait_drained },
	{ .name = "roles",
	  .synopsis = "",
	  .summary = "the roles and the actions that they give",
	  .example = "coffer roles",
	  .options = none,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_roles },
	{ .name = "role create",
	  .synopsis = "NAME ACTION...",
	  .summary = "make a role of your own",
	  .example = "coffer role create rotator secrets/list secrets/set",
	  .options = none,
	  .min_operands = 2,
	  .max_operands = 65,
	  .run = cmd_role_create },
	{ .name = "can-i",
	  .synopsis = "ACTION [NAME] [--as PRINCIPAL]",
	  .summary = "may you? by which binding, or what is missing (status 0 or 3)",
	  .example = "coffer can-i secrets/get db",
	  .options = can_i_options,
	  .min_operands = 1,
	  .max_operands = 2,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_can_i },
	{ .name = "whoami",
	  .synopsis = "",
	  .summary = "what the vault sees of you",
	  .example = "coffer whoami",
	  .options = none,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_whoami },
	{ .name = "status",
	  .synopsis = "",
	  .summary = "the state of the vault and its processes",
	  .example = "coffer status",
	  .options = none,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_status },
	{ .name = "vault show",
	  .synopsis = "",
	  .summary = "the settings of the vault",
	  .example = "coffer vault show",
	  .options = none,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_vault_show },
	{ .name = "vault set",
	  .synopsis = "[--value-max SIZE] [--enforce-validity on|off] [--purge-protection on] [--near-expiry DAYS] "
		      "[--keep-versions N] [--keep-for SPAN] [--yes]",
	  .summary = "change the settings of the vault",
	  .example = "coffer vault set --enforce-validity on",
	  .options = vault_options,
	  .flags = COMMAND_LISTS,
	  .run = cmd_vault_set },
	{ .name = "rotate",
	  .synopsis = "[NAME...] [--from FILE] [--generator GENERATOR]",
	  .summary = "make a new value now, as the rotation policy says",
	  .example = "coffer rotate db web",
	  .options = rotate_options,
	  .min_operands = 0,
	  .max_operands = 1024,
	  .run = cmd_rotate },
	{ .name = "rotation set",
	  .synopsis = "SCOPE --every SPAN | --before-expiry SPAN [--expiry SPAN] --generator GENERATOR | --hook "
		      "PROGRAM [--user USER] [--timeout SPAN] | --notify",
	  .summary = "rotate a secret, or all of a prefix, again and again",
	  .example = "coffer rotation set 'db-*' --every 90d --generator password:32",
	  .options = rotation_set_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_rotation_set },
	{ .name = "rotation show",
	  .synopsis = "NAME",
	  .summary = "the rotation policy of a secret",
	  .example = "coffer rotation show db-main",
	  .options = none,
	  .min_operands = 1,
	  .max_operands = 1,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_rotation_show },
	{ .name = "rotation list",
	  .synopsis = "",
	  .summary = "all rotation policies",
	  .example = "coffer rotation list",
	  .options = none,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_rotation_list },
	{ .name = "rotation remove",
	  .synopsis = "SCOPE",
	  .summary = "rotate no more",
	  .example = "coffer rotation remove 'db-*'",
	  .options = none,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_rotation_remove },
	{ .name = "history set",
	  .synopsis = "SCOPE [--keep-versions N] [--keep-for SPAN] [--yes]",
	  .summary = "destroy old versions by themselves, beyond what is kept",
	  .example = "coffer history set 'db-*' --keep-versions 10 --keep-for 90d",
	  .options = history_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_history_set },
	{ .name = "history show",
	  .synopsis = "NAME",
	  .summary = "how much of a secret's history is kept",
	  .example = "coffer history show db-main",
	  .options = none,
	  .min_operands = 1,
	  .max_operands = 1,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_history_show },
	{ .name = "history list",
	  .synopsis = "",
	  .summary = "all history rules",
	  .example = "coffer history list",
	  .options = none,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_history_list },
	{ .name = "history remove",
	  .synopsis = "SCOPE",
	  .summary = "destroy no more by this rule",
	  .example = "coffer history remove 'db-*'",
	  .options = none,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_history_remove },
	{ .name = "hook add",
	  .synopsis = "--on SCOPE [--event EVENT]... --exec COMMAND [--user USER] [--timeout SPAN] [--debounce SPAN]",
	  .summary = "run a program when a secret changes (root allows it)",
	  .example = "sudo coffer hook add --on 'tls-*' --exec 'systemctl reload nginx' --user root",
	  .options = hook_add_options,
	  .run = cmd_hook_add },
	{ .name = "hook list",
	  .synopsis = "",
	  .summary = "the programs that run when secrets change",
	  .example = "coffer hook list",
	  .options = none,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_hook_list },
	{ .name = "hook remove",
	  .synopsis = "HOOK...",
	  .summary = "run a program no more",
	  .example = "coffer hook remove 3",
	  .options = none,
	  .min_operands = 1,
	  .max_operands = 256,
	  .run = cmd_hook_remove },
	{ .name = "events",
	  .synopsis = "[--follow] [--since TIME] [--secret NAME]",
	  .summary = "what happened to secrets: new versions, expiry, deletion, bindings",
	  .example = "coffer events --follow",
	  .options = events_options,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_events },
	{ .name = "audit",
	  .synopsis = "[--follow] [--since TIME] [--secret NAME] [--denied]",
	  .summary = "the log of who opened what",
	  .example = "coffer audit --since 1h --denied",
	  .options = audit_options,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_audit },
	{ .name = "audit verify",
	  .synopsis = "STORE [--verify-key FILE]",
	  .summary = "prove that the log is whole (root)",
	  .example = "sudo coffer audit verify /var/lib/coffer/default --verify-key /media/usb/default.verify",
	  .options = verify_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .flags = COMMAND_OFFLINE | COMMAND_LOOKS,
	  .run = cmd_audit_verify },
	{ .name = "backup",
	  .synopsis = "NAME... | --all [--recipient NAME | --passphrase-file FILE | --public-key FILE] > FILE",
	  .summary = "write secrets, or the vault, as one encrypted, signed file",
	  .example = "coffer backup --all --recipient safe > vault.cofferbackup",
	  .options = backup_options,
	  .max_operands = 500,
	  .run = cmd_backup },
	{ .name = "backup verify",
	  .synopsis = "FILE [--signer FINGERPRINT]",
	  .summary = "is a backup whole, and whose is it? needs no key",
	  .example = "coffer backup verify vault.cofferbackup",
	  .options = backup_verify_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_backup_verify },
	{ .name = "backup drill",
	  .synopsis = "FILE --key FILE | --passphrase-file FILE [--signer FINGERPRINT] [--no-record]",
	  .summary = "restore a backup into a scratch vault, check it, destroy it",
	  .example = "coffer backup drill vault.cofferbackup --key /media/usb/safe.key",
	  .options = drill_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_backup_drill },
	{ .name = "restore",
	  .synopsis = "--signer FINGERPRINT --key FILE | --passphrase-file FILE [--existing POLICY] [--with-grants] "
		      "[--dry-run] [--into STORE [--kek URI]] < FILE",
	  .summary = "bring back what a backup holds: all of it, or nothing",
	  .example = "coffer restore --signer \"$SIGNER\" --key /media/usb/safe.key < vault.cofferbackup",
	  .options = restore_options,
	  .run = cmd_restore },
	{ .name = "recipient add",
	  .synopsis = "NAME --public-key FILE",
	  .summary = "let a key open backups from now on",
	  .example = "coffer recipient add safe --public-key safe.pub",
	  .options = recipient_add_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_recipient_add },
	{ .name = "recipient list",
	  .synopsis = "",
	  .summary = "whose keys may open backups",
	  .example = "coffer recipient list",
	  .options = none,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_recipient_list },
	{ .name = "recipient remove",
	  .synopsis = "NAME",
	  .summary = "no new backups for a key",
	  .example = "coffer recipient remove safe",
	  .options = none,
	  .min_operands = 1,
	  .max_operands = 1,
	  .run = cmd_recipient_remove },
	{ .name = "recipient keygen",
	  .synopsis = "FILE",
	  .summary = "make a key pair: private in FILE, public on standard output",
	  .example = "coffer recipient keygen /media/usb/safe.key > safe.pub",
	  .options = none,
	  .min_operands = 1,
	  .max_operands = 1,
	  .flags = COMMAND_OFFLINE,
	  .run = cmd_recipient_keygen },
	{ .name = "seal",
	  .synopsis = "[--yes]",
	  .summary = "throw the key away until it is given again",
	  .example = "coffer seal",
	  .options = sure_options,
	  .run = cmd_seal },
	{ .name = "unseal",
	  .synopsis = "",
	  .summary = "give the vault its key, or passphrase (root)",
	  .example = "sudo coffer unseal",
	  .options = none,
	  .run = cmd_unseal },
	{ .name = "doctor",
	  .synopsis = "",
	  .summary = "look for what is wrong, and say what to do",
	  .example = "sudo coffer doctor",
	  .options = none,
	  .flags = COMMAND_LISTS | COMMAND_LOOKS,
	  .run = cmd_doctor },
	{ .name = "init",
	  .synopsis = "STORE [--kek URI] [--admin PRINCIPAL]... [--retention DAYS] [--purge-protection] [--users NAME] "
		      "[--yes]",
	  .summary = "make a vault (root)",
	  .example = "sudo coffer init /var/lib/coffer/default",
	  .options = init_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .flags = COMMAND_OFFLINE,
	  .run = cmd_init },
	{ .name = "fsck",
	  .synopsis = "STORE [--kek URI] [--deep]",
	  .summary = "check a store without changing it (root)",
	  .example = "sudo coffer fsck /var/lib/coffer/default --deep",
	  .options = fsck_options,
	  .min_operands = 1,
	  .max_operands = 1,
	  .flags = COMMAND_OFFLINE | COMMAND_LOOKS,
	  .run = cmd_fsck },
	{ .name = "break-glass",
	  .synopsis = "STORE PRINCIPAL [--kek URI]",
	  .summary = "add an administrator when none is left (root, needs the key)",
	  .example = "sudo coffer break-glass /var/lib/coffer/default user:alice,host",
	  .options = kek_options,
	  .min_operands = 2,
	  .max_operands = 2,
	  .flags = COMMAND_OFFLINE,
	  .run = cmd_break_glass },
	{ .name = NULL },
};
