/* What every command of `coffer` is given, and how it says that something is wrong. */
#ifndef COFFER_FS_CLI_COMMON_CLI_H
#define COFFER_FS_CLI_COMMON_CLI_H

#include <stdbool.h>

#include "fs/cli/common/args.h"
#include "fs/cli/common/mount.h"
#include "fs/common/exitcode.h"

enum output_form { OUTPUT_TABLE = 0, OUTPUT_JSON };

struct cli {
	const char *mount_option; /* -m, or NULL */
	const char *vault_option; /* --vault, or NULL */
	enum output_form output;
	bool output_given;
	bool mount_known;
	struct mount mount; /* once mount_known */
};

enum command_flags {
	COMMAND_LISTS = 1,   /* takes --output */
	COMMAND_OFFLINE = 2, /* works on a STORE, not on a mount */
	COMMAND_LOOKS = 4,   /* changes and stops nothing: whoever mistypes a word may be told of it */
};

struct command {
	const char *name;     /* "put"; "role create" is two words */
	const char *synopsis; /* what follows the name */
	const char *summary;
	const char *example;
	const struct option_spec *options;
	unsigned min_operands, max_operands;
	unsigned flags;
	int (*run)(struct cli *c, const struct args *a); /* returns the exit status, with the error printed */
};

/* Every command, in the order of --help; the last one's name is NULL. */
extern const struct command commands[];

/* In what fail() and note() print: the command as it has to be written for the vault that this run is about, such as
 * "coffer -m /srv/vault". */
#define COFFER "\1"
void message_command(const char *command); /* copied; "coffer" until then */

/* Prints "coffer: …" as one line on stderr (control bytes are made harmless) and returns status. */
int fail(enum exit_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same line for what is not an error. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define PURGE_PROTECTION_ASKED                                                                                 \
	"Purge protection can never be switched off again: what is deleted can then not be purged before its " \
	"retention has passed, nor a version destroyed."

/* EXIT_DONE where --yes is given, where no terminal is there to ask at, and for a yes; else EXIT_ERROR, said. The text
 * is what cannot be undone, a whole sentence. */
int confirm(const struct args *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The mount that the options, $COFFER_MOUNT or the default name. 0, or EXIT_UNAVAILABLE with the error printed. */
int cli_mount(struct cli *c, const struct mount **ret_mount);

#endif
