#include "fs/cli/common/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SOURCE_PREFIX "coffer:"
#define MOUNTINFO_MAX (64u << 20)

struct entry {
	char root[PATH_MAX], path[PATH_MAX], type[64], source[PATH_MAX], options[PATH_MAX], here[PATH_MAX];
};

/* proc(5): space, tab, newline and backslash stand as three octal digits. */
static bool take_field(const char **p, char *ret, size_t len)
{
	const char *s = *p;
	size_t n = 0;

	while (*s && *s != ' ' && *s != '\n') {
		char c = *s++;

		if (c == '\\' && s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' &&
		    s[2] <= '7') {
			c = (char)((s[0] - '0') << 6 | (s[1] - '0') << 3 | (s[2] - '0'));
			s += 3;
		}
		if (n + 1 >= len)
			return false;
		ret[n++] = c;
	}
	ret[n] = '\0';
	if (*s == ' ')
		s++;
	*p = s;
	return n > 0;
}

/* 36 35 98:0 /root /mount/point options [optional…] - type source super_options */
static bool parse_line(const char *line, struct entry *ret)
{
	char skipped[PATH_MAX];
	const char *p = line;

	if (!take_field(&p, skipped, sizeof(skipped)) || !take_field(&p, skipped, sizeof(skipped)) ||
	    !take_field(&p, skipped, sizeof(skipped)) || !take_field(&p, ret->root, sizeof(ret->root)) ||
	    !take_field(&p, ret->path, sizeof(ret->path)) || !take_field(&p, ret->here, sizeof(ret->here)))
		return false;
	do
		if (!take_field(&p, skipped, sizeof(skipped)))
			return false;
	while (strcmp(skipped, "-") != 0);
	if (!take_field(&p, ret->type, sizeof(ret->type)) || !take_field(&p, ret->source, sizeof(ret->source)))
		return false;
	if (!take_field(&p, ret->options, sizeof(ret->options))) /* longer than ours ever are */
		ret->options[0] = '\0';
	return true;
}

static bool has_option(const char *options, const char *wanted)
{
	const size_t len = strlen(wanted);

	for (const char *p = options; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (strcspn(p, ",") == len && !strncmp(p, wanted, len))
			return true;
	}
	return false;
}

/* fusermount(1) mounts for anybody, with any type and source: but not as root's. */
static bool is_roots(const struct entry *e) { return has_option(e->options, "user_id=0"); }

static bool is_vault(const struct entry *e)
{
	return strcmp(e->type, "fuse.coffer") == 0 && strcmp(e->root, "/") == 0 && is_roots(e) &&
	       strncmp(e->source, SOURCE_PREFIX, strlen(SOURCE_PREFIX)) == 0;
}

const char *vault_name_of(const char *store)
{
	const char *slash = strrchr(store, '/');

	return slash ? slash + 1 : store;
}

static bool at_path(const struct entry *e, const char *path) { return strcmp(e->path, path) == 0; }

static bool of_vault(const struct entry *e, const char *vault)
{
	return is_vault(e) && strcmp(vault_name_of(e->source + strlen(SOURCE_PREFIX)), vault) == 0;
}

static bool of_store(const struct entry *e, const char *store)
{
	return is_vault(e) && strcmp(e->source + strlen(SOURCE_PREFIX), store) == 0;
}

static bool of_store_writable(const struct entry *e, const char *store)
{
	return of_store(e, store) && !has_option(e->here, "ro") && !has_option(e->options, "ro");
}

/* Calls for each line; the last that matches is the topmost. */
static int find(const char *text, bool (*match)(const struct entry *e, const char *arg), const char *arg,
		struct mount *ret_mount)
{
	struct entry *e = malloc(sizeof(*e));
	int r = -ENOENT;

	if (!e)
		return -ENOMEM;
	for (const char *line = text; *line;) {
		const char *end = strchrnul(line, '\n');

		if (parse_line(line, e) && match(e, arg)) {
			const bool another = r == 0 && strcmp(e->source + strlen(SOURCE_PREFIX), ret_mount->store);
			if (another && match == of_vault) {
				snprintf(ret_mount->other, sizeof ret_mount->other, "%s", e->path);
				r = -ENOTUNIQ;
				break;
			}
			r = is_vault(e) ? 0 : -ENOTTY;
			if (r == 0) {
				snprintf(ret_mount->path, sizeof(ret_mount->path), "%s", e->path);
				snprintf(ret_mount->store, sizeof(ret_mount->store), "%s",
					 e->source + strlen(SOURCE_PREFIX));
				ret_mount->read_only_here = has_option(e->here, "ro");
				ret_mount->read_only = has_option(e->options, "ro");
			}
		}
		line = *end ? end + 1 : end;
	}
	free(e);
	return r;
}

int mountinfo_find(const char *text, const char *path, const char *vault, struct mount *ret_mount)
{
	return path ? find(text, at_path, path, ret_mount) : find(text, of_vault, vault, ret_mount);
}

static int read_mountinfo(char **ret_text)
{
	size_t len = 0, size = 65536;
	char *text = malloc(size), *more;
	int r = -EIO, fd;
	ssize_t n;

	fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || !text)
		goto out;
	while ((n = read(fd, text + len, size - len - 1)) > 0) {
		len += (size_t)n;
		if (size - len > 4096)
			continue;
		if (size >= MOUNTINFO_MAX || !(more = realloc(text, size * 2)))
			goto out;
		text = more;
		size *= 2;
	}
	if (n < 0)
		goto out;
	text[len] = '\0';
	*ret_text = text;
	text = NULL;
	r = 0;
out:
	free(text);
	if (fd >= 0)
		close(fd);
	return r;
}

bool mount_is_gone(const char *path)
{
	struct statfs fs;
	struct stat st;
	unsigned maj, min;
	bool there = false;
	char *text;

	if (statfs(path, &fs) < 0 || fs.f_type != FUSE_SUPER_MAGIC || stat(path, &st) < 0 || read_mountinfo(&text) < 0)
		return false;
	for (const char *line = text; *line && !there;) {
		const char *end = strchrnul(line, '\n');

		there = sscanf(line, "%*u %*u %u:%u", &maj, &min) == 2 && makedev(maj, min) == st.st_dev;
		line = *end ? end + 1 : end;
	}
	free(text);
	return !there;
}

int mount_find(const char *path, const char *vault, struct mount *ret_mount)
{
	char given[PATH_MAX], *resolved = NULL, *text;
	size_t len;
	int r;

	r = read_mountinfo(&text);
	if (r < 0)
		return r;
	if (!path) {
		r = mountinfo_find(text, NULL, vault, ret_mount);
		goto out;
	}
	/* As it is written first: resolving a path on a mount whose daemon hangs would hang too. */
	snprintf(given, sizeof(given), "%s", path);
	for (len = strlen(given); len > 1 && given[len - 1] == '/'; len--)
		given[len - 1] = '\0';
	r = mountinfo_find(text, given, NULL, ret_mount);
	if (r != -ENOENT)
		goto out;
	/* what /proc says of a place in a mount that is gone looks like a path from the root, where something else lies
	 */
	resolved = mount_is_gone(path) ? NULL : realpath(path, NULL);
	if (resolved)
		r = mountinfo_find(text, resolved, NULL, ret_mount);
out:
	free(resolved);
	free(text);
	return r;
}

int mount_find_store(const char *store, struct mount *ret_mount)
{
	char *text;
	int r;

	r = read_mountinfo(&text);
	if (r < 0)
		return r;
	r = find(text, of_store, store, ret_mount);
	free(text);
	return r;
}

const char *mount_read_only(const struct mount *m)
{
	static char buf[4 * PATH_MAX];
	struct mount other;
	char *text;

	if (m->read_only) {
		snprintf(buf, sizeof(buf),
			 "%s is read-only here: files can be read, but requests are written; as root: mount -i -o "
			 "remount,rw %s",
			 m->path, m->path);
	} else if (m->read_only_here) {
		int r = read_mountinfo(&text);
		if (r == 0) {
			r = find(text, of_store_writable, m->store, &other);
			free(text);
		}
		snprintf(buf, sizeof(buf),
			 "%s is bound read-only here: files can be read, but requests are written; %s%s, or as root: "
			 "mount -i -o remount,bind,rw %s",
			 m->path, r ? "ask where the vault itself is mounted" : "the same vault takes them with -m ",
			 r ? "" : other.path, m->path);
	} else {
		snprintf(buf, sizeof(buf),
			 "the vault is mounted read-only (-o ro), so nothing is changed; as root: cofferd %s %s -o "
			 "remount,rw",
			 m->store, m->path);
	}
	return buf;
}

/* As a shell reads it back as one word. */
static void quote(const char *word, char *ret, size_t len)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%,=";
	size_t n = 0;

	if (word[strspn(word, plain)] == '\0') {
		snprintf(ret, len, "%s", word);
		return;
	}
	ret[n++] = '\'';
	for (; *word && n + 6 < len; word++)
		n += (size_t)snprintf(ret + n, len - n, *word == '\'' ? "'\\''" : "%c", *word);
	snprintf(ret + n, len - n, "'");
}

const char *mount_command(const char *path)
{
	static char buf[4 * PATH_MAX + 32];
	char word[4 * PATH_MAX + 8];

	if (!strcmp(path, MOUNT_DEFAULT))
		return "coffer";
	quote(path, word, sizeof word);
	snprintf(buf, sizeof(buf), "coffer -m %s", word);
	return buf;
}
