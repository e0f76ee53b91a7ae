/* Editors write what they show into files of their own. Nearly all put these beside the file, or into places that the
 * environment names: so HOME, the XDG directories and TMPDIR lie in the private directory, which goes when the command
 * ends. That leaves the caller's own settings out, which may name any other place. A second lock for editors that we
 * know: they are told not to keep such files at all. */
#include "fs/cli/common/editor.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <linux/magic.h>
#include <unistd.h>

#include "fs/cli/common/cli.h"

#define HOME_DIR "/home" /* below the private directory, like what follows */

/* ---- editors that we know ---- */

enum reach {
	REACH_ENVIRONMENT = 0, /* keeps its files where it is told */
	REACH_TMP,             /* has a file without a name in /tmp, whatever it is told: GNU ed, by tmpfile(3) */
	REACH_OTHERS,          /* hands the file to a process that runs already, with places and settings of its own */
};

struct known_editor {
	const char *name;    /* a pattern of fnmatch(3) for the program's name */
	const char *options; /* for sh, behind the name; what the caller's words say comes after it, and counts */
	enum reach reach;
	bool told_by_exinit; /* where it keeps its copies: it has no options for that */
};

#define VIM_OPTIONS " -n -i NONE -c 'silent! set noundofile nobackup nowritebackup'"

/* The first that fits. Pages to change with this table: coffer.1. */
static const struct known_editor known_editors[] = {
	{ .name = "vim", .options = VIM_OPTIONS },
	{ .name = "vim.*", .options = VIM_OPTIONS },
	{ .name = "nvim", .options = VIM_OPTIONS },
	/* keeps a copy in /var/tmp/vi.recover, to be found again after a crash */
	{ .name = "nvi", .told_by_exinit = true },
	/* the system's nanorc may name a place for backups: an empty one is read in place of it and of the caller's */
	{ .name = "nano", .options = " --rcfile=\"$HOME/.nanorc\"" },
	{ .name = "rnano", .options = " --rcfile=\"$HOME/.nanorc\"" },
	{ .name = "emacsclient*", .reach = REACH_OTHERS },
	{ .name = "emacs*",
	  .options = " -Q --eval '(setq make-backup-files nil auto-save-default nil auto-save-list-file-prefix nil "
		     "create-lockfiles nil)'" },
	{ .name = "micro", .options = " -backup false -savehistory false -savecursor false -saveundo false" },
	{ .name = "busybox" }, /* its vi and ed keep all in memory */
	{ .name = "ed", .reach = REACH_TMP },
	{ .name = "red", .reach = REACH_TMP },
};

static const struct known_editor *find_known(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	for (size_t i = 0; i < sizeof(known_editors) / sizeof(known_editors[0]); i++)
		if (fnmatch(known_editors[i].name, name, 0) == 0)
			return &known_editors[i];
	return NULL;
}

/* What the first word stands for. A name such as vi is a link on most systems; one such as mcedit is, too, and tells
 * more than what it leads to: so the program's name counts, then the one that was typed. */
static const struct known_editor *look_up(const char *word)
{
	const char *path = strchr(word, '/') ? "" : getenv("PATH");
	const struct known_editor *known = NULL;
	char found[PATH_MAX], real[PATH_MAX];

	snprintf(found, sizeof(found), "%s", word);
	for (const char *dir = path ? path : ""; *dir; dir += strcspn(dir, ":"), dir += *dir == ':') {
		int n = (int)strcspn(dir, ":");

		if ((size_t)snprintf(found, sizeof(found), "%.*s/%s", n ? n : 1, n ? dir : ".", word) < sizeof(found) &&
		    access(found, X_OK) == 0)
			break;
	}
	if (realpath(found, real))
		known = find_known(real);
	return known ? known : find_known(word);
}

/* ---- the private home ---- */

static const char *const directories[] = {
	EDITOR_FILES,
	HOME_DIR,
	HOME_DIR "/.config",
	HOME_DIR "/.cache",
	HOME_DIR "/.local",
	HOME_DIR "/.local/share",
	HOME_DIR "/.local/state",
	HOME_DIR "/run",
	HOME_DIR "/tmp",
};

static const struct place {
	const char *variable, *below;
} places[] = {
	{ "HOME", HOME_DIR },
	{ "XDG_CONFIG_HOME", HOME_DIR "/.config" },
	{ "XDG_CACHE_HOME", HOME_DIR "/.cache" },
	{ "XDG_DATA_HOME", HOME_DIR "/.local/share" },
	{ "XDG_STATE_HOME", HOME_DIR "/.local/state" },
	{ "XDG_RUNTIME_DIR", HOME_DIR "/run" },
	{ "TMPDIR", HOME_DIR "/tmp" },
	{ "TMP", HOME_DIR "/tmp" },
	{ "TEMP", HOME_DIR "/tmp" },
};

/* Each names a file or directory to write to, or settings that can name one, or a process that would be given the file.
 * Without them all falls back to the home. */
static const char *const forgotten[] = {
	"VIMINIT",
	"GVIMINIT",
	"EXINIT",
	"NEXINIT",
	"VILEINIT",
	"NVIM",
	"NVIM_LISTEN_ADDRESS",
	"NVIM_LOG_FILE",
	"NVIM_APPNAME",
	"EMACS_SOCKET_NAME",
	"EMACS_SERVER_FILE",
	"ALTERNATE_EDITOR",
	"DBUS_SESSION_BUS_ADDRESS",
	"MICRO_CONFIG_HOME",
	"MC_HOME",
	"MC_TMPDIR",
	"JED_HOME",
	"KAKOUNE_CONFIG_DIR",
	/* of what an editor may start: shells, pagers, interpreters */
	"HISTFILE",
	"ZDOTDIR",
	"LESSHISTFILE",
	"PYTHON_HISTORY",
	"IPYTHONDIR",
	"NODE_REPL_HISTORY",
	"SQLITE_HISTORY",
	"PSQL_HISTORY",
	"MYSQL_HISTFILE",
	"GDBHISTFILE",
	"RLWRAP_HOME",
};

/* Read, never written, and found by way of the old home or runtime directory unless a variable names them: else no
 * window would open. */
static const struct {
	const char *variable, *from, *below;
} kept[] = {
	{ "XAUTHORITY", "HOME", ".Xauthority" },
	{ "TERMINFO", "HOME", ".terminfo" },
};

static int make_file(const char *dir, const char *below, const char *text)
{
	size_t len = strlen(text);
	char path[PATH_MAX];
	int fd, r = 0;

	if ((size_t)snprintf(path, sizeof(path), "%s%s", dir, below) >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text, len) != (ssize_t)len)
		r = -EIO;
	close(fd);
	return r;
}

static int make_home(const char *dir)
{
	char path[PATH_MAX];
	int r;

	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
		if ((size_t)snprintf(path, sizeof(path), "%s%s", dir, directories[i]) >= sizeof(path))
			return -ENAMETOOLONG;
		if (mkdir(path, 0700) < 0)
			return -errno;
	}
	r = make_file(dir, HOME_DIR "/.nanorc", "");
	/* Editors look for these in each directory above the file, and /dev/shm is anybody's: here the search ends. */
	if (r == 0)
		r = make_file(dir, "/.editorconfig", "root = true\n");
	return r == 0 ? make_file(dir, "/.dir-locals.el", "()\n") : r;
}

/* The name of a display's socket is relative to the runtime directory. */
static void keep_display(void)
{
	const char *display = getenv("WAYLAND_DISPLAY"), *runtime = getenv("XDG_RUNTIME_DIR");
	char path[PATH_MAX];

	if (display && runtime && display[0] && display[0] != '/' &&
	    (size_t)snprintf(path, sizeof(path), "%s/%s", runtime, display) < sizeof(path))
		setenv("WAYLAND_DISPLAY", path, 1);
}

/* In the child. */
static void set_environment(const struct editor *e, const char *dir)
{
	char path[PATH_MAX];

	keep_display();
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		const char *from = getenv(kept[i].from);

		if (from && from[0] == '/' &&
		    (size_t)snprintf(path, sizeof(path), "%s/%s", from, kept[i].below) < sizeof(path))
			setenv(kept[i].variable, path, 0);
	}
	for (size_t i = 0; i < sizeof(forgotten) / sizeof(forgotten[0]); i++)
		unsetenv(forgotten[i]);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%.*s%s", PATH_MAX / 2, dir, places[i].below);
		setenv(places[i].variable, path, 1);
	}
	if (e->known && e->known->told_by_exinit) {
		snprintf(path, sizeof(path), "set directory=%.*s recdir=%.*s", PATH_MAX / 3, dir, PATH_MAX / 3, dir);
		setenv("EXINIT", path, 1);
		setenv("NEXINIT", path, 1);
	}
}

/* ---- which one ---- */

/* The first word, if the shell takes it as it stands: else 0, and we do not know what is run. */
static size_t plain_word(const char *typed)
{
	size_t len = strcspn(typed, " \t\n;&|<>()'\"\\$`*?[]{}#=!");

	return typed[len] == '\0' || typed[len] == ' ' || typed[len] == '\t' ? len : 0;
}

static bool starts_with(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }

/* The editor has another home and another working directory than the caller, whose words may name the program by
 * either. */
static int compose(struct editor *e)
{
	const char *home = getenv("HOME"), *word = e->typed, *before = "", *options = "";
	size_t len = plain_word(word);
	char program[PATH_MAX];
	int n;

	if (starts_with(word, "~/") && len) {
		before = "\"$3\"/";
		word += 2;
		len -= 2;
		n = snprintf(program, sizeof(program), "%s/%.*s", home ? home : "", (int)len, word);
	} else {
		n = snprintf(program, sizeof(program), "%.*s", (int)len, word);
		if (len && word[0] != '/' && word[0] != '~' && memchr(word, '/', len))
			before = "\"$2\"/";
	}
	if (n > 0 && (size_t)n < sizeof(program))
		e->known = look_up(program);
	if (e->known && e->known->options)
		options = e->known->options;
	n = snprintf(e->command, sizeof(e->command), "%s%.*s%s%s \"$1\"", before, (int)len, word, options, word + len);
	return (size_t)n < sizeof(e->command) ? 0 : -ENAMETOOLONG;
}

static bool on_a_disk(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) < 0 || (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC);
}

int editor_choose(struct editor *ret)
{
	const char *typed = getenv("VISUAL");

	if (!typed || !*typed)
		typed = getenv("EDITOR");
	*ret = (struct editor){ .typed = "vi" };
	if (typed)
		typed += strspn(typed, " \t");
	if (typed && *typed)
		ret->typed = typed;
	if (compose(ret) < 0)
		return fail(EXIT_USAGE, "$VISUAL or $EDITOR is longer than %d bytes; put it into a script",
			    PATH_MAX / 2);
	if (ret->known && ret->known->reach == REACH_OTHERS)
		return fail(EXIT_USAGE,
			    "\"%s\" hands the value to a process that runs already, which may keep it anywhere; set "
			    "$EDITOR to an editor that starts anew, such as emacs -nw",
			    ret->typed);
	if (ret->known && ret->known->reach == REACH_TMP && on_a_disk("/tmp"))
		note("warning: \"%s\" keeps what it edits in a file without a name in /tmp, which is on a disk; other "
		     "editors do not",
		     ret->typed);
	return EXIT_DONE;
}

int editor_make_home(const char *dir)
{
	int r = make_home(dir);

	return r < 0 ? fail(EXIT_ERROR, "cannot make a home for the editor in %s: %s", dir, strerror(-r)) : EXIT_DONE;
}

/* ---- the run ---- */

static pid_t editor_pid;

static void pass_on(int signal_number)
{
	if (editor_pid > 0)
		kill(editor_pid, signal_number);
}

/* In the child. */
static void start(const struct editor *e, const char *dir, const char *file)
{
	const char *home = getenv("HOME");
	char here[PATH_MAX], old_home[PATH_MAX];

	snprintf(old_home, sizeof(old_home), "%s", home ? home : "");
	if (!getcwd(here, sizeof(here)))
		here[0] = '\0';
	set_environment(e, dir);
	/* what an editor writes by a name without a directory lies there: what it saves when its terminal goes, for one
	 */
	if (chdir(getenv("HOME")) < 0)
		_exit(126);
	execl("/bin/sh", "sh", "-c", e->command, "sh", file, here, old_home, (char *)NULL);
	_exit(127);
}

static int run_and_wait(const struct editor *e, const char *dir, const char *file, int *ret_wait_status)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, pass = { .sa_handler = pass_on }, old_int, old_quit,
			 old_term, old_hup;
	int r;

	sigaction(SIGINT, &ignore, &old_int);
	sigaction(SIGQUIT, &ignore, &old_quit);
	editor_pid = fork();
	if (editor_pid == 0) {
		sigaction(SIGINT, &old_int, NULL);
		sigaction(SIGQUIT, &old_quit, NULL);
		signal(SIGXFSZ, SIG_DFL); /* ours alone */
		start(e, dir, file);
	}
	r = editor_pid < 0 ? -errno : 0;
	sigaction(SIGTERM, &pass, &old_term);
	sigaction(SIGHUP, &pass, &old_hup);
	while (r == 0 && waitpid(editor_pid, ret_wait_status, 0) < 0)
		if (errno != EINTR)
			r = -errno;
	editor_pid = 0;
	sigaction(SIGINT, &old_int, NULL);
	sigaction(SIGQUIT, &old_quit, NULL);
	sigaction(SIGTERM, &old_term, NULL);
	sigaction(SIGHUP, &old_hup, NULL);
	return r;
}

int editor_run(const struct editor *e, const char *dir, const char *file)
{
	int wait_status = 0, r = run_and_wait(e, dir, file, &wait_status);

	if (r < 0)
		return fail(EXIT_ERROR, "cannot start the editor: %s", strerror(-r));
	if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 127)
		return fail(EXIT_ERROR, "cannot run the editor \"%s\"; set $EDITOR", e->typed);
	if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0)
		return fail(EXIT_ERROR, "the editor ended with an error; nothing was changed");
	return EXIT_DONE;
}
