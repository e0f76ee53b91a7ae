/* What the kernel says of a thread in /proc, read without trust in its length or form. No I/O here. */
#include "fs/caller/caller.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_MAX       65536u /* NGROUPS_MAX of Linux */
#define CONTAINER_ID_HEX 64u

/* ---- /proc/<tid>/status: lines of "Key:\tvalue\n" (proc_pid_status(5)) ---- */

struct piece {
	const char *at;
	size_t len;
};

static bool piece_is(struct piece p, const char *text)
{
	return p.len == strlen(text) && memcmp(p.at, text, p.len) == 0;
}

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* The next decimal number of the value. 1; 0: no more; -EBADMSG: something else, or beyond 32 bits. */
static int next_number(struct piece *value, uint32_t *ret)
{
	uint64_t n = 0;
	size_t i = 0, start;

	while (i < value->len && is_blank(value->at[i]))
		i++;
	if (i == value->len)
		return 0;
	for (start = i; i < value->len && value->at[i] >= '0' && value->at[i] <= '9'; i++) {
		n = n * 10 + (uint64_t)(value->at[i] - '0');
		if (n > UINT32_MAX)
			return -EBADMSG;
	}
	if (i == start || (i < value->len && !is_blank(value->at[i])))
		return -EBADMSG;
	*value = (struct piece){ value->at + i, value->len - i };
	*ret = (uint32_t)n;
	return 1;
}

static int count_numbers(struct piece value, uint32_t max, uint32_t *ret)
{
	uint32_t n = 0, ignored;
	int r;

	while ((r = next_number(&value, &ignored)) > 0)
		if (++n > max)
			return -EBADMSG;
	*ret = n;
	return r;
}

/* Exactly n numbers. */
static int take_numbers(struct piece value, uint32_t *ret, uint32_t n)
{
	uint32_t found;
	int r = count_numbers(value, n, &found);

	if (r < 0 || found != n)
		return -EBADMSG;
	for (uint32_t i = 0; i < n; i++)
		(void)next_number(&value, &ret[i]);
	return 0;
}

static int take_pid(struct piece value, pid_t *ret)
{
	uint32_t n;

	if (take_numbers(value, &n, 1) < 0 || n > INT32_MAX)
		return -EBADMSG;
	*ret = (pid_t)n;
	return 0;
}

static int take_groups(struct piece value, struct proc_status *s)
{
	uint32_t n;

	if (count_numbers(value, GROUPS_MAX, &n) < 0)
		return -EBADMSG;
	if (n == 0)
		return 0;
	s->groups = malloc(n * sizeof(*s->groups));
	if (!s->groups)
		return -ENOMEM;
	s->n_groups = n;
	return take_numbers(value, s->groups, n);
}

/* The kernel writes newline and backslash of a name as \n and \\: a process cannot forge a line by its name. */
static void take_name(struct piece value, struct proc_status *s)
{
	size_t n = 0, i = 0;

	while (i < value.len && is_blank(value.at[i]))
		i++;
	for (; i < value.len && n + 1 < sizeof(s->comm); i++) {
		char c = value.at[i];
		if (c == '\\' && i + 1 < value.len && (value.at[i + 1] == 'n' || value.at[i + 1] == '\\'))
			c = value.at[++i] == 'n' ? '\n' : '\\';
		s->comm[n++] = c;
	}
	s->comm[n] = '\0';
}

enum status_key {
	KEY_NAME,
	KEY_TGID,
	KEY_PPID,
	KEY_UID,
	KEY_GID,
	KEY_GROUPS,
	KEY_NSPID,
	KEY_KTHREAD,
	KEY_VMSIZE,
	KEY_THREADS,
	KEY_END
};

static const char *const status_keys[KEY_END] = {
	[KEY_NAME] = "Name",     [KEY_TGID] = "Tgid",       [KEY_PPID] = "PPid",   [KEY_UID] = "Uid",
	[KEY_GID] = "Gid",       [KEY_GROUPS] = "Groups",   [KEY_NSPID] = "NSpid", [KEY_KTHREAD] = "Kthread",
	[KEY_VMSIZE] = "VmSize", [KEY_THREADS] = "Threads",
};
/* Threads stands behind all the others: a text that was cut short has no such line. */
#define KEYS_REQUIRED                                                                                          \
	(1u << KEY_NAME | 1u << KEY_TGID | 1u << KEY_PPID | 1u << KEY_UID | 1u << KEY_GID | 1u << KEY_GROUPS | \
	 1u << KEY_THREADS)

static int take_line(enum status_key key, struct piece value, struct proc_status *s)
{
	uint32_t flag;

	switch (key) {
	case KEY_NAME:
		take_name(value, s);
		return 0;
	case KEY_TGID:
		return take_pid(value, &s->tgid);
	case KEY_PPID:
		return take_pid(value, &s->ppid);
	case KEY_UID:
		return take_numbers(value, s->uid, 4);
	case KEY_GID:
		return take_numbers(value, s->gid, 4);
	case KEY_GROUPS:
		return take_groups(value, s);
	case KEY_NSPID:
		return count_numbers(value, 64, &s->n_nspid);
	case KEY_KTHREAD:
		if (take_numbers(value, &flag, 1) < 0)
			return -EBADMSG;
		s->kthread = flag != 0;
		return 0;
	case KEY_VMSIZE:
	case KEY_THREADS:
	case KEY_END:
		break;
	}
	return 0;
}

static enum status_key find_key(struct piece name)
{
	unsigned k = 0;

	while (k < KEY_END && !piece_is(name, status_keys[k]))
		k++;
	return (enum status_key)k;
}

int proc_status_parse(const char *text, size_t len, struct proc_status *ret_status)
{
	struct proc_status s = { 0 };
	unsigned seen = 0;
	int r = -EBADMSG;

	if (len == 0 || text[len - 1] != '\n' || memchr(text, '\0', len))
		return -EBADMSG;
	for (const char *p = text, *end = text + len; p < end;) {
		const char *line_end = memchr(p, '\n', (size_t)(end - p));
		const char *colon = memchr(p, ':', (size_t)(line_end - p));
		enum status_key key = colon ? find_key((struct piece){ p, (size_t)(colon - p) }) : KEY_END;
		if (key != KEY_END) {
			r = -EBADMSG;
			if (seen & 1u << key)
				goto out; /* the kernel says each thing once */
			seen |= 1u << key;
			r = take_line(key, (struct piece){ colon + 1, (size_t)(line_end - colon - 1) }, &s);
			if (r < 0)
				goto out;
		}
		p = line_end + 1;
	}
	r = -EBADMSG;
	if ((seen & KEYS_REQUIRED) != KEYS_REQUIRED || s.tgid == 0)
		goto out;
	/* Kernels before 6.11 have no such line; but a thread without address space is the kernel's, or dead. Field 9
	 * of `stat` would say PF_KTHREAD, and hang under the exec lock. */
	if (!(seen & 1u << KEY_KTHREAD))
		s.kthread = !(seen & 1u << KEY_VMSIZE);
	*ret_status = s;
	return 0;
out:
	free(s.groups);
	return r;
}

/* ---- /proc/<tid>/cgroup: lines of "hierarchy:controllers:/path\n" (cgroups(7)) ---- */

/* Containers, by whole components of a path, from the root down: the first match is what the host's engine made; what
 * stands below it was made inside, and could name another container. In doubt a path is a container's: the price is the
 * right of `host`, and no path can be made to look like no container by going deeper. */

static bool piece_starts(struct piece p, const char *prefix)
{
	size_t n = strlen(prefix);
	return p.len >= n && memcmp(p.at, prefix, n) == 0;
}

static bool piece_ends(struct piece p, const char *suffix)
{
	size_t n = strlen(suffix);
	return p.len >= n && memcmp(p.at + p.len - n, suffix, n) == 0;
}

static struct piece piece_cut(struct piece p, size_t front, size_t back)
{
	return (struct piece){ p.at + front, p.len - front - back };
}

/* The next component of a path; false at its end. */
static bool next_component(struct piece *path, struct piece *ret)
{
	size_t n = 0;

	while (path->len > 0 && path->at[0] == '/')
		*path = piece_cut(*path, 1, 0);
	while (n < path->len && path->at[n] != '/')
		n++;
	if (n == 0)
		return false;
	*ret = (struct piece){ path->at, n };
	*path = piece_cut(*path, n, 0);
	return true;
}

static bool is_hex_id(struct piece p)
{
	if (p.len != CONTAINER_ID_HEX)
		return false;
	for (size_t i = 0; i < p.len; i++)
		if (!((p.at[i] >= '0' && p.at[i] <= '9') || (p.at[i] >= 'a' && p.at[i] <= 'f')))
			return false;
	return true;
}

struct container {
	const char *runtime;
	struct piece id;
};

static const struct {
	const char *prefix, *runtime;
} scope_runtimes[] = {
	{ "docker", "docker" },
	{ "libpod", "podman" },
	{ "libpod-payload", "podman" },
	{ "crio", "crio" },
	{ "cri-containerd", "containerd" },
	{ "containerd", "containerd" },
	{ "nerdctl", "containerd" },
};

/* "docker-<id>.scope", "libpod-<id>", "<id>", and "kubepods-….slice:cri-containerd:<id>" (a systemd name given to an
 * engine that makes plain directories). */
static bool match_hex(struct piece c, bool kube, struct container *ret)
{
	struct piece id, prefix;

	if (piece_ends(c, ".scope"))
		c = piece_cut(c, 0, strlen(".scope"));
	if (c.len < CONTAINER_ID_HEX)
		return false;
	id = piece_cut(c, c.len - CONTAINER_ID_HEX, 0);
	prefix = piece_cut(c, 0, CONTAINER_ID_HEX);
	if (!is_hex_id(id))
		return false;
	*ret = (struct container){ kube ? "kubepods" : "oci", id };
	if (prefix.len == 0)
		return true;
	if (!piece_ends(prefix, "-") && !piece_ends(prefix, ":"))
		return false;
	prefix = piece_cut(prefix, 0, 1);
	for (size_t i = 0; i < prefix.len; i++) {
		if (prefix.at[i] == ':') {
			prefix = piece_cut(prefix, i + 1, 0);
			i = (size_t)-1;
		}
	}
	/* libpod-conmon-<id>.scope, crio-conmon-<id>.scope: the engine's monitor, which runs on the host */
	if (piece_is(prefix, "conmon") || piece_ends(prefix, "-conmon"))
		return false;
	for (size_t i = 0; i < sizeof(scope_runtimes) / sizeof(scope_runtimes[0]); i++)
		if (piece_is(prefix, scope_runtimes[i].prefix))
			ret->runtime = scope_runtimes[i].runtime;
	return true;
}

/* Engines that give a name, not a digest. parent is empty at the root. */
static bool match_named(struct piece parent, struct piece c, struct container *ret)
{
	static const struct {
		const char *parent, *runtime;
	} dirs[] = {
		{ "docker", "docker" }, { "lxc", "lxc" },           { "lxc.payload", "lxc" },
		{ "garden", "garden" }, { "buildkit", "buildkit" },
	};
	static const struct {
		const char *parent, *prefix, *suffix, *runtime;
	} names[] = {
		{ NULL, "lxc.payload.", "", "lxc" },
		{ "machine.slice", "machine-", ".scope", "machine" },
		{ NULL, "systemd-nspawn@", ".service", "machine" },
	};

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		if (piece_is(parent, dirs[i].parent) && !piece_is(c, "buildkit")) {
			*ret = (struct container){ dirs[i].runtime, c };
			return true;
		}
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t front = strlen(names[i].prefix), back = strlen(names[i].suffix);
		if (c.len <= front + back || !piece_starts(c, names[i].prefix) || !piece_ends(c, names[i].suffix) ||
		    (names[i].parent && !piece_is(parent, names[i].parent)))
			continue;
		*ret = (struct container){ names[i].runtime, piece_cut(c, front, back) };
		return true;
	}
	return false;
}

/* "pod<uid>", or the same at the end of a slice's name: "kubepods-burstable-pod<uid>.slice". Empty: none. */
static struct piece pod_of(struct piece c)
{
	if (piece_ends(c, ".slice")) {
		c = piece_cut(c, 0, strlen(".slice"));
		for (size_t i = c.len; i-- > 0;)
			if (c.at[i] == '-')
				return pod_of(piece_cut(c, i + 1, 0));
	}
	return piece_starts(c, "pod") ? piece_cut(c, 3, 0) : (struct piece){ c.at, 0 };
}

static bool match_path(struct piece path, struct container *ret)
{
	struct piece parent = { "", 0 }, pod = { "", 0 }, c;
	bool kube = false;

	while (next_component(&path, &c)) {
		if (match_named(parent, c, ret) || match_hex(c, kube, ret))
			return true;
		kube = kube || piece_starts(c, "kubepods") || piece_starts(c, "kubelet-kubepods");
		if (kube && pod.len == 0)
			pod = pod_of(c);
		parent = c;
	}
	if (!kube)
		return false;
	*ret = (struct container){ "kubepods", pod.len > 0 ? pod : (struct piece){ "-", 1 } };
	return true;
}

/* The unit as systemd sees it (systemd.unit(5); cgroups are named after units): the first component below the slices.
 * Not the last one: below its unit a service, or a user's manager, makes directories as it likes, and could name one
 * after another unit. */
static bool unit_of(struct piece path, struct piece *ret)
{
	static const char *const types[] = { ".service", ".scope", ".socket", ".mount", ".swap", ".timer", ".path" };
	struct piece c;

	do {
		if (!next_component(&path, &c))
			return false;
	} while (piece_ends(c, ".slice"));
	if (c.at[0] == '_')
		/* systemd's escape for names that would clash with the kernel's files */
		c = piece_cut(c, 1, 0);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (c.len > strlen(types[i]) && piece_ends(c, types[i])) {
			*ret = c;
			return true;
		}
	}
	return false;
}

static void put(char *ret, size_t size, const char *prefix, struct piece text)
{
	size_t n = strlen(prefix);

	if (size == 0)
		return;
	if (n > size - 1)
		n = size - 1;
	memcpy(ret, prefix, n);
	if (text.len > size - 1 - n)
		text.len = size - 1 - n;
	memcpy(ret + n, text.at, text.len);
	ret[n + text.len] = '\0';
}

/* Splits "hierarchy:controllers:/path". */
static bool split_line(struct piece line, struct piece *ret_hierarchy, struct piece *ret_controllers,
		       struct piece *ret_path)
{
	const char *first = memchr(line.at, ':', line.len), *second;

	if (!first)
		return false;
	second = memchr(first + 1, ':', line.len - (size_t)(first + 1 - line.at));
	if (!second || (size_t)(second + 1 - line.at) == line.len || second[1] != '/')
		return false;
	*ret_hierarchy = (struct piece){ line.at, (size_t)(first - line.at) };
	*ret_controllers = (struct piece){ first + 1, (size_t)(second - first - 1) };
	*ret_path = piece_cut(line, (size_t)(second + 1 - line.at), 0);
	if (piece_ends(*ret_path, " (deleted)"))
		*ret_path = piece_cut(*ret_path, 0, strlen(" (deleted)"));
	return true;
}

/* Which hierarchy is believed first: systemd's own (v1 and hybrid), the unified one, any other. A process counts as a
 * container's if any of them says so: moving out of one is not enough. */
enum { RANK_SYSTEMD, RANK_UNIFIED, RANK_OTHER, RANK_NONE };

static int rank_of(struct piece hierarchy, struct piece controllers)
{
	if (piece_is(controllers, "name=systemd"))
		return RANK_SYSTEMD;
	return piece_is(hierarchy, "0") && controllers.len == 0 ? RANK_UNIFIED : RANK_OTHER;
}

void proc_cgroup_parse(const char *text, size_t len, char *ret_unit, size_t unit_len, char *ret_container,
		       size_t container_len)
{
	struct piece rest = { text, len }, unit = { "", 0 }, hierarchy, controllers, path;
	struct container container = { "", { "", 0 } };
	int unit_rank = RANK_NONE, container_rank = RANK_NONE;

	while (rest.len > 0) {
		const char *newline = memchr(rest.at, '\n', rest.len);
		struct piece line = { rest.at, newline ? (size_t)(newline - rest.at) : rest.len }, u;
		struct container c;
		rest = piece_cut(rest, line.len + (newline != NULL), 0);
		if (!split_line(line, &hierarchy, &controllers, &path))
			continue;
		int rank = rank_of(hierarchy, controllers);
		if (rank < unit_rank && rank != RANK_OTHER && unit_of(path, &u)) {
			unit = u;
			unit_rank = rank;
		}
		if (rank < container_rank && match_path(path, &c)) {
			container = c;
			container_rank = rank;
		}
	}
	put(ret_unit, unit_len, "", unit);
	put(ret_container, container_len, container.runtime, (struct piece){ "", 0 });
	if (container_rank != RANK_NONE) {
		size_t n = strnlen(ret_container, container_len);
		if (n + 1 < container_len)
			put(ret_container + n, container_len - n, ":", container.id);
	}
}
