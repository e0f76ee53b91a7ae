/* put --set: the values of a directory, or of a tar archive on standard input, stored in one transaction.
 *
 * A set may be larger than the memory that a user can lock. So each value lies in locked memory only while it is read
 * and while it is sent; in between it is encrypted under a key that this process made up, and that lies in locked
 * memory. Sent it can be more than once: the daemon does the request once, whatever dies meanwhile. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/cli/common/cli.h"
#include "fs/cli/common/client.h"
#include "fs/cli/common/harmless.h"
#include "fs/cli/common/input.h"
#include "fs/cli/common/names.h"
#include "fs/cli/common/output.h"
#include "fs/cli/commands/secrets.h"
#include "fs/cli/common/tar.h"
#include "policy/scope.h"
#include "store/keys/envelope.h"
#include "store/objects/stages.h"

#define SET_MAX 256

struct item {
	char name[NAME_LEN_MAX + 1];
	size_t len;
	uint8_t nonce[NONCE_LEN], tag[TAG_LEN], *sealed;
};

struct set {
	struct item items[SET_MAX];
	size_t n;
	uint64_t total;
	bool trim, follow;
	const char *prefix; /* before each name */
	const char *dir;
	uint8_t *key;         /* locked */
	struct secbuf *value; /* the one at hand */
};

static void set_free(struct set *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->items[i].sealed);
	if (s->key)
		secmem_free(s->key, KEY_LEN);
	secbuf_free(s->value);
	free(s);
}

static int set_new(const struct args *a, struct set **ret_set)
{
	struct set *s = calloc(1, sizeof(*s));
	int status = EXIT_ERROR;

	if (!s)
		return fail(EXIT_ERROR, "not enough memory");
	s->trim = args_has(a, "trim");
	s->follow = args_has(a, "follow");
	s->prefix = args_value(a, "prefix") ? args_value(a, "prefix") : "";
	if (crypto_init() < 0) {
		free(s);
		return fail(EXIT_ERROR, "OpenSSL here lacks AES-256-GCM");
	}
	s->key = secmem_alloc(KEY_LEN);
	s->value = input_buffer();
	if (s->value && (!s->key || random_bytes(s->key, KEY_LEN) < 0))
		status = fail(EXIT_ERROR, "cannot lock memory for the values; raise the limit: ulimit -l 8192");
	else if (s->value)
		status = EXIT_DONE;
	if (status) {
		set_free(s);
		return status;
	}
	*ret_set = s;
	return EXIT_DONE;
}

/* The secret that a name of the directory or archive is for. False: it cannot be one. */
static bool set_name(const struct set *s, const char *given, char ret_name[NAME_LEN_MAX + 1])
{
	return (size_t)snprintf(ret_name, NAME_LEN_MAX + 1, "%s%s", s->prefix, given) <= NAME_LEN_MAX &&
	       name_valid(ret_name);
}

/* Takes what lies in s->value. */
static int set_add(struct set *s, const char *name)
{
	struct item *item = &s->items[s->n];
	size_t len;
	int r = 0;

	if (s->n == SET_MAX)
		return fail(EXIT_USAGE, "a set has at most %d secrets; nothing is stored", SET_MAX);
	if (s->trim)
		input_trim(s->value); /* as put --trim, PEM keeps its newline */
	else if (input_ends_oddly(s->value))
		note("warning: the value of %s ends in a newline; --trim removes it", name);
	len = secbuf_len(s->value);
	if (s->total + len > STAGE_SET_MAX)
		return fail(EXIT_ERROR, "the values of a set have at most %u bytes together; nothing is stored",
			    STAGE_SET_MAX);
	*item = (struct item){ .len = len, .sealed = malloc(len + 1) };
	snprintf(item->name, sizeof(item->name), "%s", name);
	if (!item->sealed)
		r = -ENOMEM;
	if (r == 0)
		r = random_bytes(item->nonce, sizeof(item->nonce));
	if (r == 0)
		r = aead_seal(s->key, item->nonce, (struct bytes){ item->name, strlen(item->name) },
			      secbuf_cdata(s->value), len, item->sealed, item->tag);
	secbuf_set_len(s->value, 0);
	if (r < 0) {
		free(item->sealed);
		return fail(EXIT_ERROR, "cannot keep the value of %s: %s", name, strerror(-r));
	}
	s->n++;
	s->total += len;
	return EXIT_DONE;
}

/* ---- a directory ---- */

static int read_failed(const char *dir, const char *name, int r)
{
	if (r == -EXDEV || r == -ELOOP)
		return fail(EXIT_USAGE,
			    "%s/%s is a link that leads out of the directory; nothing is stored; put the file itself "
			    "there, or say --follow",
			    dir, name);
	if (r == -EFBIG)
		return fail(EXIT_ERROR,
			    "%s/%s is longer than %u bytes, the most that a secret may have; nothing is stored", dir,
			    name, VALUE_MAX);
	return fail(EXIT_ERROR, "cannot read %s/%s: %s; nothing is stored", dir, name, strerror(-r));
}

/* Each part of the path by itself, and no link. */
static int open_unfollowed(int dir_fd, const char *path, int flags)
{
	const char *slash = strchr(path, '/');
	char part[NAME_LEN_MAX + 1];

	if (!slash)
		return openat(dir_fd, path, flags | O_NOFOLLOW);
	snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
	int below = openat(dir_fd, part, flags | O_DIRECTORY | O_NOFOLLOW);
	if (below < 0)
		return below;
	int fd = open_unfollowed(below, slash + 1, flags), error = errno;
	close(below);
	errno = error;
	return fd;
}

/* Whoever may write to the directory must not have a file of ours stored under a name that he may read: links lead to
 * what lies below it (as those of a Kubernetes volume do), or are refused with EXDEV. Where there is no openat2(2)
 * (before Linux 5.6, and under filters that know it not) none is followed. */
static int open_below(int dir_fd, const char *name, bool follow)
{
	const struct open_how how = { .flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
				      .resolve = (follow ? 0 : RESOLVE_BENEATH) | RESOLVE_NO_MAGICLINKS };
	int fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));

	if (fd < 0 && (errno == ENOSYS || errno == EPERM) && follow)
		fd = openat(dir_fd, name, (int)how.flags);
	else if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = open_unfollowed(dir_fd, name, (int)how.flags);
	return fd;
}

/* NAME, or NAME/current, as a vault shows it. */
static int open_value(const struct set *s, int dir_fd, const char *name, int *ret_fd)
{
	char current[NAME_LEN_MAX + sizeof("/current")];
	int fd = open_below(dir_fd, name, s->follow);
	struct stat st;
	int status;

	if (fd < 0 || fstat(fd, &st) < 0)
		goto failed;
	if (S_ISDIR(st.st_mode)) {
		close(fd);
		/* set_name let no longer one through */
		snprintf(current, sizeof(current), "%.*s/current", NAME_LEN_MAX, name);
		fd = open_below(dir_fd, current, s->follow);
		if (fd < 0 && errno == ENOENT)
			return fail(EXIT_USAGE,
				    "%s/%s is a directory without a file current, and there are no folders yet: name "
				    "its files %s-NAME and put them beside it; nothing is stored",
				    s->dir, name, name);
		if (fd < 0 || fstat(fd, &st) < 0)
			goto failed;
	}
	if (!S_ISREG(st.st_mode)) {
		close(fd);
		return fail(EXIT_USAGE,
			    "%s/%s is neither a file nor a directory with a file current; nothing is stored", s->dir,
			    name);
	}
	*ret_fd = fd;
	return EXIT_DONE;
failed:
	status = read_failed(s->dir, name, -errno);
	if (fd >= 0)
		close(fd);
	return status;
}

static int take_file(struct set *s, int dir_fd, const char *name)
{
	char secret[NAME_LEN_MAX + 1];
	int fd = -1, r, status;

	if (!set_name(s, name, secret))
		return fail(EXIT_USAGE,
			    "\"%s%.140s\" in %s cannot be a secret's name: 1 to %d of A-Z a-z 0-9 . _ - and the first "
			    "a letter or a digit; nothing is stored%s",
			    s->prefix, name, s->dir, NAME_LEN_MAX, name_advice(name));
	status = open_value(s, dir_fd, name, &fd);
	if (status)
		return status;
	r = input_read(fd, s->value);
	close(fd);
	return r < 0 ? read_failed(s->dir, name, r) : set_add(s, secret);
}

/* With --follow a link says what is read by the caller's right. So nobody else may write to the directory, and its
 * links are the caller's or root's. */
static int check_follow(const struct set *s, int dir_fd, const char *name)
{
	struct stat st;

	if (!s->follow)
		return EXIT_DONE;
	if (name ? fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) : fstat(dir_fd, &st))
		return fail(EXIT_ERROR, "cannot look at %s/%s: %s; nothing is stored", s->dir, name ? name : "",
			    strerror(errno));
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return fail(EXIT_DENIED,
			    "%s%s%s is uid %u's, who could lead --follow to any file of yours; nothing is stored",
			    s->dir, name ? "/" : "", name ? name : "", (unsigned)st.st_uid);
	if (!name && (st.st_mode & 022))
		return fail(EXIT_DENIED,
			    "others can write to %s, and could lead --follow to any file of yours; nothing is stored; "
			    "chmod go-w first",
			    s->dir);
	return EXIT_DONE;
}

static int from_directory(struct set *s, const char *dir)
{
	struct dirent **list;
	int status = EXIT_DONE, fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n;

	if (fd < 0)
		return fail(EXIT_ERROR, "cannot read the directory %s: %s", dir, strerror(errno));
	s->dir = dir;
	n = scandirat(fd, ".", &list, NULL, alphasort);
	if (n < 0) {
		status = fail(EXIT_ERROR, "cannot read the directory %s: %s", dir, strerror(errno));
		goto out;
	}
	status = check_follow(s, fd, NULL);
	for (int i = 0; i < n; i++) {
		const bool counts = list[i]->d_name[0] != '.';
		/* a leading dot is no secret's: ., .., .git, and the links behind a Kubernetes volume */
		if (status == EXIT_DONE && counts)
			status = check_follow(s, fd, list[i]->d_name);
		if (status == EXIT_DONE && counts)
			status = take_file(s, fd, list[i]->d_name);
		free(list[i]);
	}
	free(list);
out:
	close(fd);
	return status;
}

/* ---- tar ---- */

/* The secret that a path of the archive means: NAME or NAME/current, after any "./". NULL: a name that begins with a
 * dot. */
static const char *secret_of(char *path)
{
	char *slash;

	while (path[0] == '.' && path[1] == '/')
		path += 2;
	if (*path == '.')
		return NULL;
	slash = strchr(path, '/');
	if (slash && !strcmp(slash, "/current"))
		*slash = '\0';
	return path;
}

static int tar_failed(int r)
{
	if (r == -EBADMSG)
		return fail(EXIT_USAGE, "standard input is no tar archive, or it is damaged or cut short; nothing is "
					"stored (compressed? zcat FILE | " COFFER " put --set -)");
	return fail(EXIT_ERROR, "cannot read the archive on standard input: %s; nothing is stored", strerror(-r));
}

/* The contents of an entry into s->value. */
static int take_contents(struct set *s, const struct tar_entry *e)
{
	size_t len = 0;
	int r;

	if (e->size > VALUE_MAX || e->size > secbuf_capacity(s->value))
		return -EFBIG;
	r = secbuf_set_len(s->value, e->size);
	while (r == 0 && len < e->size) {
		ssize_t n = read(STDIN_FILENO, secbuf_data(s->value) + len, e->size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			r = n < 0 ? -errno : -EBADMSG;
		else
			len += (size_t)n;
	}
	return r;
}

static int take_entry(struct set *s, struct tar_entry *e)
{
	char secret[NAME_LEN_MAX + 1];
	const char *name = secret_of(e->path);
	int r;

	if (e->type == TAR_DIRECTORY || !name || !*name) {
		r = tar_skip(STDIN_FILENO, e, 0);
		return r < 0 ? tar_failed(r) : EXIT_DONE;
	}
	make_harmless(e->path);
	if (e->type == TAR_OTHER)
		return fail(EXIT_USAGE, "%s in the archive is no file; nothing is stored", name);
	if (!set_name(s, name, secret))
		return fail(
			EXIT_USAGE,
			"\"%.140s\" in the archive is neither a secret's name nor NAME/current; nothing is stored%s",
			name, name_advice(name));
	r = take_contents(s, e);
	if (r == -EFBIG)
		return fail(EXIT_ERROR, "%s in the archive is longer than %zu bytes; nothing is stored", name,
			    secbuf_capacity(s->value) < VALUE_MAX ? secbuf_capacity(s->value) : (size_t)VALUE_MAX);
	if (r == 0)
		r = tar_skip(STDIN_FILENO, e, e->size);
	return r < 0 ? tar_failed(r) : set_add(s, secret);
}

/* What tar writes behind the end fills its last record: it shall not die of a closed pipe. */
static void drain(int fd)
{
	char scrap[4096];

	while (read(fd, scrap, sizeof(scrap)) > 0)
		;
}

static int from_tar(struct set *s)
{
	struct tar_entry e;
	int r = 0, status = EXIT_DONE;

	while (status == EXIT_DONE && (r = tar_next(STDIN_FILENO, &e)) > 0)
		status = take_entry(s, &e);
	if (status)
		return status;
	if (r < 0)
		return tar_failed(r);
	drain(STDIN_FILENO);
	return EXIT_DONE;
}

/* ---- sending ---- */

static int send_values(int fd, void *arg)
{
	struct set *s = arg;
	int r = 0;

	for (size_t i = 0; i < s->n && r == 0; i++) {
		const struct item *item = &s->items[i];

		r = secbuf_set_len(s->value, item->len);
		if (r == 0)
			r = aead_open(s->key, item->nonce, (struct bytes){ item->name, strlen(item->name) },
				      item->sealed, item->len, item->tag, secbuf_data(s->value));
		if (r == 0)
			r = output_bytes(fd, secbuf_cdata(s->value), item->len);
		secbuf_set_len(s->value, 0);
	}
	return r;
}

static json_t *make_request(const struct set *s)
{
	json_t *items = json_array();

	for (size_t i = 0; i < s->n; i++)
		json_array_append_new(items, json_pack("{s:s, s:I}", "name", s->items[i].name, "value_length",
						       (json_int_t)s->items[i].len));
	return json_pack("{s:s, s:I, s:o}", "op", "put-set", "value_length", (json_int_t)s->total, "items", items);
}

static void print_set(const json_t *answer)
{
	const json_t *list = json_object_get(answer, "secrets"), *one;
	size_t i;

	json_array_foreach(list, i, one)
		output_line("%s version %" JSON_INTEGER_FORMAT, json_string_value(json_object_get(one, "name")),
			    json_integer_value(json_object_get(one, "version")));
	printf("set of %zu, epoch %" JSON_INTEGER_FORMAT "\n", json_array_size(list),
	       json_integer_value(json_object_get(answer, "epoch")));
}

int put_set(struct cli *c, const struct args *a)
{
	const char *source = args_value(a, "set");
	const struct mount *m;
	struct set *s = NULL;
	json_t *answer = NULL;
	int status;

	static const char *const others[] = { "file", "content-type", "not-before", "expires", "tag" };
	bool other = a->n_operands > 0;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		other = other || args_has(a, others[i]);
	if (other)
		return fail(EXIT_USAGE,
			    "--set takes the names from the directory or archive, and no option but --prefix, --follow "
			    "and --trim; usage: coffer put --set DIR [--prefix TEXT] [--follow] [--trim]");
	if (!strcmp(source, "-") && args_has(a, "follow"))
		return fail(EXIT_USAGE, "--follow is for the links of a directory; of those in an archive tar -h "
					"stores what they lead to");
	if (!strcmp(source, "-") && isatty(STDIN_FILENO))
		return fail(EXIT_USAGE, "--set - reads a tar archive from standard input: tar -C DIR -c . | " COFFER
					" put --set -");
	status = cli_mount(c, &m);
	if (status == EXIT_DONE)
		status = input_prepare(1);
	if (status == EXIT_DONE)
		status = set_new(a, &s);
	if (status)
		return status;
	status = strcmp(source, "-") ? from_directory(s, source) : from_tar(s);
	if (status == EXIT_DONE && s->n == 0)
		status = fail(EXIT_USAGE, "there is nothing in %s that could be stored",
			      strcmp(source, "-") ? source : "the archive");
	if (status == EXIT_DONE)
		status = client_change_streamed(c, make_request(s), send_values, s, &answer);
	if (status == EXIT_DONE)
		print_set(answer);
	json_decref(answer);
	set_free(s);
	return status;
}
