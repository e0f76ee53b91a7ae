/* coffer: the command. Finds the subcommand in the table, reads its options, runs it. */
#include "fs/cli/common/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fs/cli/common/offline_keys.h"
#include "fs/common/inherited.h"

#define SUMMARY_AT 20 /* column of the summaries in --help */
#define OPTION_AT  30 /* of an option's explanation */

static const struct option_spec globals[] = {
	{ .name = "mount",
	  .letter = 'm',
	  .value = "MOUNT",
	  .help = "where the vault is mounted (default $COFFER_MOUNT, else " MOUNT_DEFAULT ")" },
	{ .name = "vault", .value = "VAULT", .help = "the mounted vault of this name, wherever it is" },
	{ .name = "help", .letter = 'h', .help = "this text" },
	{ .name = NULL },
};
static const struct option_spec leading[] = { { .name = "version", .help = "the version of coffer" },
					      { .name = NULL } };
static const struct option_spec listing[] = { { .name = "output", .value = "FORM", .help = "table (default) or json" },
					      { .name = NULL } };

/* ---- help ---- */

static void print_options(const struct option_spec *options)
{
	for (const struct option_spec *o = options; o->name; o++) {
		char left[80];

		if (o->letter)
			snprintf(left, sizeof(left), "-%c, --%s%s%s", o->letter, o->name, o->value ? " " : "",
				 o->value ? o->value : "");
		else
			snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value ? " " : "",
				 o->value ? o->value : "");
		printf("  %-*s%s\n", OPTION_AT - 2, left, o->help);
	}
}

static int help_command(const struct command *cmd)
{
	printf("usage: coffer %s%s%s\n%s\n\n", cmd->name, *cmd->synopsis ? " " : "", cmd->synopsis, cmd->summary);
	print_options(cmd->options);
	if (cmd->flags & COMMAND_LISTS)
		print_options(listing);
	if (!(cmd->flags & COMMAND_OFFLINE))
		print_options(globals);
	printf("\nexample: %s\n", cmd->example);
	return EXIT_DONE;
}

static int help_all(void)
{
	printf("usage: coffer [-m MOUNT | --vault VAULT] COMMAND ...\nSecrets as files: policy, encryption and an "
	       "audit log behind %s.\n\n",
	       MOUNT_DEFAULT);
	for (const struct command *cmd = commands; cmd->name; cmd++)
		printf("  %-*s%s\n", SUMMARY_AT - 2, cmd->name, cmd->summary);
	printf("  %-*s%s\n  %-*s%s\n\n", SUMMARY_AT - 2, "version", "the version of coffer", SUMMARY_AT - 2, "help",
	       "this text, or of one command: help COMMAND");
	print_options(globals);
	printf("\ncoffer COMMAND --help says more; so does man coffer. Times are 2027-01-31T12:00:00Z, or a span such "
	       "as 90d or 12h.\n"
	       "Exit status: 0 done, 1 error, 2 usage, 3 denied, 4 not found, 5 conflict, 6 integrity failure, 7 "
	       "unavailable.\n");
	return EXIT_DONE;
}

static int version(void)
{
	printf("coffer " COFFER_VERSION "\n");
	return EXIT_DONE;
}

/* ---- the command ---- */

/* How many words of argv name the command; 0: they do not. */
static size_t matches(const struct command *cmd, size_t argc, char *const *argv)
{
	const char *second = strchr(cmd->name, ' ');
	size_t first = second ? (size_t)(second - cmd->name) : strlen(cmd->name);

	if (argc < 1 || strlen(argv[0]) != first || memcmp(argv[0], cmd->name, first) != 0)
		return 0;
	if (!second)
		return 1;
	return argc > 1 && strcmp(argv[1], second + 1) == 0 ? 2 : 0;
}

/* The command that takes most words: "audit verify" before "audit". */
static const struct command *find_command(size_t argc, char *const *argv, size_t *ret_words)
{
	const struct command *best = NULL;

	*ret_words = 0;
	for (const struct command *cmd = commands; cmd->name; cmd++) {
		size_t words = matches(cmd, argc, argv);

		if (words > *ret_words) {
			*ret_words = words;
			best = cmd;
		}
	}
	return best;
}

/* "role" alone is half of "role create": commands begin with it. */
static int half_command(const char *word)
{
	char list[256] = "";
	size_t len = strlen(word);

	for (const struct command *cmd = commands; cmd->name; cmd++)
		if (strncmp(cmd->name, word, len) == 0 && cmd->name[len] == ' ')
			snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", *list ? ", " : "",
				 cmd->name);
	return fail(EXIT_USAGE, "there is no command %s; there %s %s", word, strchr(list, ',') ? "are" : "is", list);
}

static int unknown_command(const char *word)
{
	const char *best = NULL;
	unsigned nearest = 3;
	size_t len = strlen(word), halves = 0;

	for (const struct command *cmd = commands; cmd->name; cmd++) {
		unsigned d = args_distance(word, cmd->name);

		halves += strncmp(cmd->name, word, len) == 0 && cmd->name[len] == ' ';
		/* what changes or stops something is never proposed: a word that was meant otherwise would do harm */
		if (d < nearest && (cmd->flags & COMMAND_LOOKS)) {
			nearest = d;
			best = cmd->name;
		}
	}
	if (halves > 0)
		return half_command(word);
	if (best)
		return fail(EXIT_USAGE, "there is no command %s; did you mean %s? coffer --help lists them", word,
			    best);
	return fail(EXIT_USAGE, "there is no command %s; coffer --help lists them", word);
}

/* What is said before the mount is looked for names it as the user did. */
static void name_vault(const struct cli *c)
{
	const char *path = c->mount_option ? c->mount_option : getenv("COFFER_MOUNT");
	char text[512];

	snprintf(text, sizeof(text), "coffer --vault %s", c->vault_option ? c->vault_option : "");
	message_command(c->vault_option ? text : mount_command(path && *path ? path : MOUNT_DEFAULT));
}

static int apply_globals(struct cli *c, const struct args *a)
{
	const char *mount = args_value(a, "mount"), *vault = args_value(a, "vault"), *output = args_value(a, "output");

	/* once before the command, once behind it */
	if ((mount && c->mount_option) || (vault && c->vault_option) || (output && c->output_given))
		return fail(EXIT_USAGE, "option --%s is given twice",
			    mount && c->mount_option   ? "mount"
			    : vault && c->vault_option ? "vault"
						       : "output");
	if (mount)
		c->mount_option = mount;
	if (vault)
		c->vault_option = vault;
	c->output_given = c->output_given || output;
	name_vault(c);
	if (c->mount_option && c->vault_option)
		return fail(EXIT_USAGE, "-m and --vault name two vaults; give one of them");
	if (output && strcmp(output, "json") == 0)
		c->output = OUTPUT_JSON;
	else if (output && strcmp(output, "table") != 0)
		return fail(EXIT_USAGE, "--output %s: there are table and json", output);
	return EXIT_DONE;
}

static int check_operands(const struct command *cmd, const struct args *a)
{
	if (a->n_operands < cmd->min_operands)
		return fail(EXIT_USAGE, "something is missing; usage: coffer %s %s", cmd->name, cmd->synopsis);
	if (a->n_operands > cmd->max_operands)
		return fail(EXIT_USAGE, "\"%s\" is too much; usage: coffer %s%s%s", a->operands[cmd->max_operands],
			    cmd->name, *cmd->synopsis ? " " : "", cmd->synopsis);
	return EXIT_DONE;
}

static int run_command(struct cli *c, const struct command *cmd, size_t argc, char *const *argv)
{
	const struct option_spec *tables[4] = { cmd->options, NULL };
	size_t n = 1;
	struct args a = { 0 };
	char why[256];
	int status;

	if (cmd->flags & COMMAND_LISTS)
		tables[n++] = listing;
	tables[n++] = globals;
	tables[n] = NULL;
	if (args_parse(argc, argv, tables, &a, why, sizeof(why)) < 0)
		return fail(EXIT_USAGE, "%s (coffer %s --help)", why, cmd->name);
	if (args_has(&a, "help")) {
		status = help_command(cmd);
		goto out;
	}
	status = apply_globals(c, &a);
	if (status == EXIT_DONE)
		status = check_operands(cmd, &a);
	if (status == EXIT_DONE)
		status = cmd->run(c, &a);
out:
	args_free(&a);
	return status;
}

static bool asks_help(const char *word) { return !strcmp(word, "--help") || !strcmp(word, "-h"); }

static int too_much(const char *word, const char *usage)
{
	return fail(EXIT_USAGE, "\"%s\" is too much; usage: coffer %s", word, usage);
}

static int help(size_t argc, char *const *argv)
{
	const struct command *cmd;
	size_t words = 1;

	if (argc == 0)
		return help_all();
	/* these three are no rows of the table, and have nothing more to say */
	const bool general = asks_help(argv[0]) || !strcmp(argv[0], "version") || !strcmp(argv[0], "help");
	cmd = general ? NULL : find_command(argc, argv, &words);
	if (!cmd && !general)
		return unknown_command(argv[0]);
	if (argc > words)
		return too_much(argv[words], "help [COMMAND]");
	return cmd ? help_command(cmd) : help_all();
}

static int dispatch(struct cli *c, size_t argc, char *const *argv)
{
	const struct command *cmd;
	size_t words;

	if (argc == 0)
		return fail(EXIT_USAGE, "no command; coffer --help lists them");
	if (strcmp(argv[0], "version") == 0 && argc > 1 && !asks_help(argv[1]))
		return too_much(argv[1], "version");
	if (strcmp(argv[0], "version") == 0)
		return argc > 1 ? help_all() : version();
	if (strcmp(argv[0], "help") == 0)
		return help(argc - 1, argv + 1);
	cmd = find_command(argc, argv, &words);
	if (!cmd)
		return unknown_command(argv[0]);
	return run_command(c, cmd, argc - words, argv + words);
}

/* What a value passed through must not lie in a core file, nor be read by a debugger of the same user. */
static void harden(void)
{
	const struct rlimit no_core = { 0, 0 };

	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* Output that is lost is an error, also if it was lost on the way (errno is 0 then), or when the file was closed (NFS,
 * quotas). */
static int finish(int status)
{
	const bool lost = ferror(stdout);

	errno = 0;
	if ((fflush(stdout) != 0 || close(STDOUT_FILENO) < 0 || lost) && status == EXIT_DONE)
		return fail(EXIT_ERROR, "cannot write to standard output%s%s",
			    errno ? ": " : "; what was printed is not all", errno ? strerror(errno) : "");
	return status;
}

int main(int argc, char **argv)
{
	static const struct option_spec *const tables[] = { globals, listing, leading, NULL };
	struct args a = { 0 };
	struct cli c = { 0 };
	struct role_args role = { 0 };
	bool is_role = false;
	char why[256];
	int status;

	inherited_descriptors();
	harden();
	if (argc < 1)
		return EXIT_USAGE;
	if (role_args_parse(argc, argv, &role, &is_role) < 0 || is_role)
		return offline_keys_role(&role);
	inherited_signals(true);
	if (args_parse_leading((size_t)argc - 1, argv + 1, tables, &a, why, sizeof(why)) < 0)
		return fail(EXIT_USAGE, "%s (coffer --help)", why);
	if (args_has(&a, "help"))
		status = help_all();
	else if (args_has(&a, "version"))
		status = version();
	else {
		status = apply_globals(&c, &a);
		if (status == EXIT_DONE)
			status = dispatch(&c, (size_t)argc - 1 - a.used, argv + 1 + a.used);
	}
	args_free(&a);
	return finish(status);
}
