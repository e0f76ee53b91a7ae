#include "fs/process/options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/common/sizefmt.h"
#include "store/keys/vaultconf.h"
#include "store/keys/kek.h"

const char options_usage[] =
	"usage: cofferd STORE MOUNTPOINT [-f] [-o OPTION[,OPTION...]]\n"
	"\n"
	"Serves the vault in STORE at MOUNTPOINT. Goes to the background once the mount has answered a test read.\n"
	"\n"
	"  -f                          stay in the foreground; log to stderr\n"
	"  -o ro                       nothing is changed: every change is EROFS, and what is due by itself waits\n"
	"  -o remount,ro               make the vault that is served read-only; -o remount,rw: writable again\n"
	"  -o context=LABEL            SELinux's label for the files; fscontext=, defcontext=, rootcontext= as "
	"mount(8) has them\n"
	"  -o nopagecache              refuse sendfile, splice and mmap, so that no value ever lies in the page cache\n"
	"  -o audit_durability=WHEN    process (default): a record survives any process; fdatasync: the machine too\n"
	"  -o audit_segment=SIZE       start a new segment of the log at this size (default 16M, at least 64K)\n"
	"  -o audit_keep=SIZE          keep at most this much of finished segments (default 1G; 0: all)\n"
	"  -o audit_keep_days=DAYS     keep what is younger, too (default 30; 0: size alone counts); beyond four "
	"times\n"
	"                              audit_keep, whoever wrote most is refused\n"
	"  -o cipher_cache=SIZE        ciphertext kept in memory (default 16M)\n"
	"  -o plain_pool=SIZE          locked memory for plaintext (default 64M, at least 8M)\n"
	"  -o max_read=SIZE            the kernel asks for so much at a time (4K to 128K, default 68K)\n"
	"  -o locked_memory=KIND       memfd_secret or mlock (default: the best that the kernel has)\n"
	"  -o users=NAME               run as NAME, NAME-keys, NAME-helper, and programs as NAME-hooks (default "
	"coffer)\n"
	"  -o kek=file:PATH            take the key file from here, not from where the store says\n"
	"  -o kek=credential:NAME      take it from $CREDENTIALS_DIRECTORY/NAME, where systemd has put it\n"
	"  -o watchdog=SECONDS         end a worker that is at one request for longer (default 30; 0: no watchdog)\n"
	"  -o ino32                    show inode numbers below 2^32, for 32-bit programs that know no larger ones\n"
	"  -o require_sandbox          do not serve where the kernel lacks Landlock or seccomp\n"
	"  -o noresend                 replay unanswered requests from memory, as on kernels before 6.9\n"
	"  -o takeover                 take the mount over from the daemon that serves STORE, unnoticed by who uses "
	"it\n"
	"  -h, --help    -V, --version\n"
	"\n"
	"Example: cofferd /var/lib/coffer/default /vault\n";

/* mount(8) hands fstab's own words to every helper, and for remount what the kernel says of the mount. These ask for
 * what is so anyway, or for what a vault cannot give and nobody is harmed without: nosuid, nodev and noexec are always
 * on, a write is always synchronous, no time of access is kept, and root alone mounts. */
static bool is_mount_word(const char *name)
{
	static const char *const words[] = {
		"defaults",    "auto",        "noauto",      "nofail",        "_netdev",        "suid",
		"nosuid",      "dev",         "nodev",       "exec",          "noexec",         "user",
		"nouser",      "users",       "nousers",     "owner",         "noowner",        "group",
		"nogroup",     "allow_other", "user_id=0",   "group_id=0",    "rootmode=40000", "async",
		"sync",        "dirsync",     "atime",       "noatime",       "diratime",       "nodiratime",
		"relatime",    "norelatime",  "strictatime", "nostrictatime", "lazytime",       "nolazytime",
		"iversion",    "noiversion",  "mand",        "nomand",        "silent",         "loud",
		"nosymfollow", "symfollow",
	};
	static const char *const beginnings[] = { "x-", "X-", "comment=", "user=", "uhelper=", "helper=" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (!strcmp(name, words[i]))
			return true;
	for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
		if (!strncmp(name, beginnings[i], strlen(beginnings[i])))
			return true;
	return false;
}

/* context="system_u:object_r:t:s0:c1,c2" and its like. 0; 1: it is none of them; -EINVAL. */
static int set_label(struct options *o, const char *word)
{
	const struct {
		const char *name;
		char *to;
	} labels[] = {
		{ "context=", o->labels.context },
		{ "fscontext=", o->labels.fscontext },
		{ "defcontext=", o->labels.defcontext },
		{ "rootcontext=", o->labels.rootcontext },
	};
	for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
		const size_t n = strlen(labels[i].name);
		if (strncmp(word, labels[i].name, n))
			continue;
		size_t len = strlen(word + n);
		const bool quoted = len >= 2 && word[n] == '"' && word[n + len - 1] == '"';
		len -= quoted ? 2 : 0;
		if (len == 0 || len >= LABEL_MAX)
			return -EINVAL;
		memcpy(labels[i].to, word + n + quoted, len);
		labels[i].to[len] = '\0';
		return strchr(labels[i].to, '"') ? -EINVAL : 0;
	}
	return 1;
}

/* As useradd(8) has it. */
static bool is_user_name(const char *name)
{
	const size_t len = strlen(name);

	return len > 0 && len < USERS_MAX && strspn(name, "abcdefghijklmnopqrstuvwxyz_") > 0 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

/* A credential is a file right in its directory. */
static bool is_key_place(const char *uri)
{
	const char *name = !strncmp(uri, "credential:", 11) ? uri + 11 : NULL;

	if (strlen(uri) >= KEK_URI_MAX)
		return false;
	const char *path = kek_file(uri);

	return name ? *name && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..") : path && path[0] == '/';
}

/* ---- one option: what its value sets. 0 or -EINVAL ---- */

static int set_ro(struct options *o, const char *value)
{
	(void)value;
	o->read_only = true;
	return 0;
}

static int set_rw(struct options *o, const char *value)
{
	(void)value;
	o->read_only = false;
	return 0;
}

static int set_users(struct options *o, const char *value)
{
	if (!is_user_name(value))
		return -EINVAL;
	snprintf(o->users, sizeof o->users, "%s", value);
	return 0;
}

static int set_kek(struct options *o, const char *value)
{
	if (!is_key_place(value))
		return -EINVAL;
	snprintf(o->kek, sizeof o->kek, "%s", value);
	return 0;
}

static int set_audit_durability(struct options *o, const char *value)
{
	if (!strcmp(value, "fdatasync"))
		o->durability = AUDIT_DURABILITY_FDATASYNC;
	else if (!strcmp(value, "process"))
		o->durability = AUDIT_DURABILITY_PROCESS;
	else
		return -EINVAL;
	return 0;
}

static int set_locked_memory(struct options *o, const char *value)
{
	if (!strcmp(value, "memfd_secret"))
		o->locked_memory = SECMEM_ONLY_MEMFD_SECRET;
	else if (!strcmp(value, "mlock"))
		o->locked_memory = SECMEM_ONLY_MLOCK;
	else
		return -EINVAL;
	return 0;
}

static int set_audit_keep_days(struct options *o, const char *value)
{
	uint64_t days = 0;

	if (size_parse(value, &days) || days > 36500)
		return -EINVAL;
	o->audit_keep_seconds = (int64_t)days * 86400;
	o->audit_days_given = true;
	return 0;
}

static int set_audit_segment(struct options *o, const char *value)
{
	uint64_t size = 0;

	if (size_parse(value, &size) || size < 65536)
		return -EINVAL;
	o->audit_segment_size = size;
	return 0;
}

static int set_audit_keep(struct options *o, const char *value) { return size_parse(value, &o->audit_keep_bytes); }

static int set_watchdog(struct options *o, const char *value)
{
	uint64_t seconds = 0;

	if (size_parse(value, &seconds) || seconds > 3600)
		return -EINVAL;
	o->watchdog = (uint32_t)seconds;
	return 0;
}

static int set_cipher_cache(struct options *o, const char *value)
{
	uint64_t size = 0;

	if (size_parse(value, &size))
		return -EINVAL;
	o->cipher_cache = (size_t)size;
	return 0;
}

static int set_plain_pool(struct options *o, const char *value)
{
	uint64_t size = 0;

	if (size_parse(value, &size) || size < 8u << 20)
		return -EINVAL;
	o->plain_pool = (size_t)size;
	return 0;
}

static int set_max_read(struct options *o, const char *value)
{
	uint64_t size = 0;

	if (size_parse(value, &size) || size < MAX_READ_LEAST || size > MAX_READ_MOST || size % 4096)
		return -EINVAL;
	o->max_read = (uint32_t)size;
	return 0;
}

#define FLAG(name)                                                 \
	{                                                          \
#name, false, NULL, offsetof(struct options, name) \
	}

static const struct {
	const char *name;
	bool has_value;
	int (*set)(struct options *o, const char *value); /* NULL: a bool, which lies there: */
	size_t flag;
} known[] = {
	{ "ro", false, set_ro, 0 },
	{ "rw", false, set_rw, 0 },
	FLAG(remount),
	FLAG(nopagecache),
	FLAG(ino32),
	FLAG(takeover),
	FLAG(require_sandbox),
	FLAG(noresend),
	{ "users", true, set_users, 0 },
	{ "kek", true, set_kek, 0 },
	{ "audit_durability", true, set_audit_durability, 0 },
	{ "audit_keep", true, set_audit_keep, 0 },
	{ "audit_keep_days", true, set_audit_keep_days, 0 },
	{ "audit_segment", true, set_audit_segment, 0 },
	{ "locked_memory", true, set_locked_memory, 0 },
	{ "watchdog", true, set_watchdog, 0 },
	{ "cipher_cache", true, set_cipher_cache, 0 },
	{ "plain_pool", true, set_plain_pool, 0 },
	{ "max_read", true, set_max_read, 0 },
};

static int set_option(struct options *o, const char *word)
{
	const size_t n = strcspn(word, "=");
	const bool has_value = word[n] == '=';

	if (!*word || is_mount_word(word))
		return 0;
	const int label = set_label(o, word);
	if (label <= 0)
		return label;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (n != strlen(known[i].name) || strncmp(word, known[i].name, n) || has_value > known[i].has_value)
			continue;
		if (known[i].set)
			return known[i].set(o, has_value ? word + n + 1 : "");
		*(bool *)((char *)o + known[i].flag) = true;
		return 0;
	}
	return -EINVAL;
}

/* Up to the next comma that is not quoted. NULL: there is none left. */
static char *next_word(char **rest)
{
	char *word = *rest, *end = word;
	bool quoted = false;

	if (!word)
		return NULL;
	for (; *end && (quoted || *end != ','); end++)
		quoted ^= *end == '"';
	*rest = *end ? end + 1 : NULL;
	*end = '\0';
	return word;
}

/* An option that --help knows is shown with what --help says of it. */
static void say_what_fits(const char *word, char *why, size_t why_len)
{
	char begins[64];
	const int n = snprintf(begins, sizeof begins, "\n  -o %.*s=", (int)strcspn(word, "="), word);
	const char *line = n < (int)sizeof begins ? strstr(options_usage, begins) : NULL;

	if (!line && n < (int)sizeof begins) {
		begins[n - 1] = ' ';
		line = strstr(options_usage, begins);
	}
	if (!line) {
		snprintf(why, why_len, "there is no option '%s'; see cofferd --help", word);
		return;
	}
	const char *form = line + strlen("\n  -o ");
	const int form_len = (int)strcspn(form, " ");
	const char *text = form + form_len + strspn(form + form_len, " ");
	int at = snprintf(why, why_len, "option '%s' does not fit; -o %.*s:", word, form_len, form);
	/* up to the next option, its lines as one */
	while (at > 0 && (size_t)at < why_len && *text && *text != '\n') {
		const int len = (int)strcspn(text, "\n");
		at += snprintf(why + at, why_len - (size_t)at, " %.*s", len, text);
		text += len + (text[len] == '\n');
		if (strncmp(text, "  -o ", 5) == 0 || *text != ' ')
			break;
		text += strspn(text, " ");
	}
}

static int set_options(struct options *o, const char *list, char *why, size_t why_len)
{
	char *copy = strdup(list), *rest = copy, *word;
	int r = copy ? 0 : -ENOMEM;

	while (!r && (word = next_word(&rest))) {
		r = set_option(o, word);
		if (r)
			say_what_fits(word, why, why_len);
	}
	free(copy);
	return r;
}

/* what_to_do: a command that takes the path */
static int absolute(const char *path, char ret_path[PATH_MAX], const char *what, const char *what_to_do, char *why,
		    size_t why_len)
{
	if (realpath(path, ret_path))
		return 0;
	int r = -errno;
	char here[PATH_MAX];
	if (path[0] != '/' && !getcwd(here, sizeof here)) {
		snprintf(why, why_len, "%s %s: the current directory is gone; give the whole path", what, path);
		return r;
	}
	snprintf(why, why_len, "%s %s: %s; %s %s makes one", what, path, strerror(-r), what_to_do, path);
	return r == -EINVAL ? -EIO : r;
}

/* What mount(8) gives a helper beside -o: flags that mean nothing here, and the type. How many words it takes; 0: it is
 * none of them. */
static int mount_flag(const char *word, struct options *o)
{
	if (!strcmp(word, "-f")) {
		o->pretend = true;
		return 1;
	}
	if (!strcmp(word, "-t"))
		return 2;
	return word[0] == '-' && word[1] && strspn(word + 1, "snv") == strlen(word + 1) ? 1 : 0;
}

static bool called_by_mount(const char *name)
{
	const char *slash = name ? strrchr(name, '/') : NULL;

	return name && !strcmp(slash ? slash + 1 : name, "mount.fuse.coffer");
}

static int set_paths(struct options *o, const char *const *paths, size_t n, char *why, size_t why_len)
{
	if (n != 2) {
		snprintf(why, why_len, "STORE and MOUNTPOINT are wanted; see cofferd --help");
		return -EINVAL;
	}
	int r = absolute(strncmp(paths[0], "coffer:", 7) ? paths[0] : paths[0] + 7, o->store, "store", "coffer init",
			 why, why_len);
	if (!r && strlen(o->store) > STORE_PATH_MAX) {
		snprintf(why, why_len,
			 "the store's path is longer than the %d bytes that the kernel takes; serve it under a "
			 "shorter one: mkdir /var/lib/coffer/NAME && mount --bind . /var/lib/coffer/NAME, in "
			 "the store's directory",
			 STORE_PATH_MAX);
		r = -EINVAL;
	}
	return r ? r : absolute(paths[1], o->mount, "mount point", "mkdir", why, why_len);
}

int options_parse(int argc, char **argv, struct options *ret_options, char *why, size_t why_len)
{
	struct options o = { .audit_keep_bytes = (uint64_t)1 << 30,
			     .audit_keep_seconds = 30 * 86400,
			     .cipher_cache = 16u << 20,
			     .plain_pool = 64u << 20,
			     .max_read = MAX_READ_DEFAULT,
			     .users = "coffer",
			     .watchdog = 30 };
	const char *paths[2] = { NULL, NULL };
	const bool helper = called_by_mount(argv[0]);
	size_t n_paths = 0;
	int r;

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];
		const int taken = helper ? mount_flag(a, &o) : 0;
		if (taken) {
			i += taken - 1;
		} else if (!strcmp(a, "-f")) {
			o.foreground = true;
		} else if (!strcmp(a, "-h") || !strcmp(a, "--help")) {
			o.help = true;
		} else if (!strcmp(a, "-V") || !strcmp(a, "--version")) {
			o.version = true;
		} else if (!strncmp(a, "-o", 2)) {
			const char *list = a[2] ? a + 2 : argv[++i];
			if (!list) {
				snprintf(why, why_len, "-o wants an option after it; see cofferd --help");
				return -EINVAL;
			}
			r = set_options(&o, list, why, why_len);
			if (r)
				return r;
		} else if (a[0] == '-' && a[1]) {
			snprintf(why, why_len, "%s is not an option; see cofferd --help", a);
			return -EINVAL;
		} else if (n_paths < 2) {
			paths[n_paths++] = a;
		} else {
			snprintf(why, why_len, "too many arguments: %s; see cofferd --help", a);
			return -EINVAL;
		}
	}
	r = o.help || o.version ? 0 : set_paths(&o, paths, n_paths, why, why_len);
	if (r)
		return r;
	if (o.audit_keep_bytes == 0 && !o.audit_days_given) /* everything is kept: an age alone would be a bound */
		o.audit_keep_seconds = 0;
	*ret_options = o;
	return 0;
}
