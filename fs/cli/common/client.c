#include "fs/cli/common/client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "fs/common/clock.h"

#define ANSWER_MAX       (256u << 20) /* a list of every secret of a large vault */
#define OPEN_PATIENCE_MS 2000         /* while nothing could be sent at all */
#define PAUSE_FIRST_MS   10
#define PAUSE_LAST_MS    1000
/* EPERM on a request that was alive is what the second worker says of the first one's; EPERM again and again is a
 * verdict. */
#define REFUSALS_MAX     4
#define NO_REQUEST       "an argument is not UTF-8 text (or memory ran out); nothing was done"

static int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Is the answer whole? bytes: the line may be followed by as many as it says. One that stops before its newline was cut
 * by a death. */
static bool whole(const char *text, size_t len, bool bytes)
{
	const char *newline = memchr(text, '\n', len);
	size_t more = newline ? len - (size_t)(newline - text) - 1 : 0;
	json_t *line;
	bool same;

	if (!newline || (more > 0 && !bytes))
		return false;
	if (!bytes)
		return true;
	line = json_loadb(text, (size_t)(newline - text), 0, NULL);
	same = json_integer_value(json_object_get(line, "length")) == (json_int_t)more;
	json_decref(line);
	return same;
}

static int read_answer(int fd, bool bytes, char **ret_text, size_t *ret_len)
{
	size_t len = 0, size = 65536;
	char *text = malloc(size), *more;
	int r = -ENOMEM;
	ssize_t n;

	if (!text)
		goto out;
	while ((n = read(fd, text + len, size - len)) > 0) {
		len += (size_t)n;
		if (len < size)
			continue;
		if (size >= ANSWER_MAX || !(more = realloc(text, size * 2)))
			goto out;
		text = more;
		size *= 2;
	}
	if (n < 0) {
		r = -errno;
		goto out;
	}
	if (!whole(text, len, bytes)) {
		r = -EIO;
		goto out;
	}
	*ret_text = text;
	*ret_len = len;
	text = NULL;
	r = 0;
out:
	free(text);
	return r;
}

struct message {
	const char *line;
	size_t line_len;
	const void *value;
	size_t len;
	bool bytes;                     /* some may follow the answer's line */
	int (*send)(int fd, void *arg); /* instead of value, where it is given */
	void *arg;
	bool sent; /* some of it left here once: it may have been carried out */
};

/* A file of its own for each request, so that nobody can hold its lock: while one process writes to .coffer/ctl, others
 * may have to wait. A daemon of an earlier version has only that. */
static int open_request(const char *mount)
{
	char path[PATH_MAX + 64];
	uint64_t name = 0;
	int fd = -1;

	if (getrandom(&name, sizeof(name), 0) == (ssize_t)sizeof(name)) {
		snprintf(path, sizeof(path), "%s/.coffer/requests/%014llx", mount, (unsigned long long)(name >> 8));
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd >= 0 || (errno != ENOENT && errno != ENOTDIR))
			return fd;
	}
	snprintf(path, sizeof(path), "%s/.coffer/ctl", mount);
	return open(path, O_RDWR | O_CLOEXEC);
}

static int attempt(const char *mount, struct message *m, char **ret_text, size_t *ret_len)
{
	int fd, r, written;

	fd = open_request(mount);
	if (fd < 0)
		return -errno;
	m->sent = true;
	written = write_all(fd, m->line, m->line_len);
	if (written == 0 && m->send)
		written = m->send(fd, m->arg);
	else if (written == 0 && m->len > 0)
		written = write_all(fd, m->value, m->len);
	/* A daemon that refuses the bytes still says why to whoever reads. */
	r = read_answer(fd, m->bytes, ret_text, ret_len);
	if (r < 0 && written < 0)
		r = written;
	close(fd);
	return r;
}

/* What a call on the mount gives when the process behind it was replaced: the request may be repeated. */
static bool lost(int r)
{
	switch (-r) {
	case EIO:
	case EINTR:
	case ESTALE:
	case ENOTCONN:
	case ECONNABORTED:
	case ECONNRESET:
	case ENODEV:
	case EBADF:
	case EPERM:
		return true;
	default:
		return false;
	}
}

static int add_id(json_t *request)
{
	unsigned char raw[16];
	char hex[2 * sizeof(raw) + 1];

	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		return -EIO;
	for (size_t i = 0; i < sizeof(raw); i++)
		snprintf(hex + 2 * i, 3, "%02x", raw[i]);
	return json_object_set_new(request, "id", json_string(hex)) < 0 ? -ENOMEM : 0;
}

static int converse(const char *mount, struct message *m, char **ret_text, size_t *ret_len)
{
	int64_t start = clock_ms(), pause = PAUSE_FIRST_MS;
	unsigned refusals = 0;
	int r;

	for (;;) {
		struct timespec rest = { .tv_sec = pause / 1000, .tv_nsec = pause % 1000 * 1000000 };

		r = attempt(mount, m, ret_text, ret_len);
		if (r == 0 || !lost(r))
			return r;
		if (r == -EPERM && ++refusals >= REFUSALS_MAX)
			return r;
		if (clock_ms() + pause > start + (m->sent ? CLIENT_PATIENCE_MS : OPEN_PATIENCE_MS))
			return r;
		nanosleep(&rest, NULL);
		pause = pause * 2 > PAUSE_LAST_MS ? PAUSE_LAST_MS : pause * 2;
	}
}

/* ret_bytes (may be NULL): what followed the line. */
static int exchange(const char *mount, json_t *request, bool changes, struct message m, json_t **ret_answer,
		    uint8_t **ret_bytes, size_t *ret_len)
{
	char *dump = NULL, *line = NULL, *text = NULL;
	size_t text_len = 0, line_len;
	json_t *answer;
	int r;

	if (changes) {
		r = add_id(request);
		if (r < 0)
			return r;
	}
	dump = json_dumps(request, JSON_COMPACT);
	r = -ENOMEM;
	if (!dump || asprintf(&line, "%s\n", dump) < 0) {
		line = NULL;
		goto out;
	}
	m.line = line;
	m.line_len = strlen(line);
	r = converse(mount, &m, &text, &text_len);
	if (r < 0 && !m.sent && lost(r))
		r = -EHOSTDOWN;
	if (r < 0)
		goto out;
	line_len = (size_t)((char *)memchr(text, '\n', text_len) - text) + 1;
	answer = json_loadb(text, line_len, JSON_REJECT_DUPLICATES, NULL);
	r = -EPROTO;
	if (!json_is_object(answer)) {
		json_decref(answer);
		goto out;
	}
	*ret_answer = answer;
	if (ret_bytes) {
		memmove(text, text + line_len, text_len - line_len);
		*ret_bytes = (uint8_t *)text;
		*ret_len = text_len - line_len;
		text = NULL;
	}
	r = 0;
out:
	free(text);
	free(line);
	free(dump);
	return r;
}

int client_exchange(const char *mount, json_t *request, bool changes, const void *value, size_t len,
		    json_t **ret_answer)
{
	return exchange(mount, request, changes, (struct message){ .value = value, .len = len }, ret_answer, NULL,
			NULL);
}

int client_report(const json_t *answer)
{
	const char *message = json_string_value(json_object_get(answer, "message"));
	const char *hint = json_string_value(json_object_get(answer, "hint"));
	const json_t *status = json_object_get(answer, "exit");
	enum exit_status exit_status = EXIT_ERROR;

	if (json_is_integer(status) && json_integer_value(status) > 0 && json_integer_value(status) <= EXIT_UNAVAILABLE)
		exit_status = (enum exit_status)json_integer_value(status);
	if (!message)
		message = "the daemon refused without a reason";
	if (hint && *hint)
		return fail(exit_status, "%s; %s", message, hint);
	return fail(exit_status, "%s", message);
}

int cli_mount(struct cli *c, const struct mount **ret_mount)
{
	const char *path = c->mount_option ? c->mount_option : getenv("COFFER_MOUNT");
	int r;

	if (c->mount_known)
		goto known;
	if (!path || !*path)
		path = MOUNT_DEFAULT;
	r = c->vault_option ? mount_find(NULL, c->vault_option, &c->mount) : mount_find(path, NULL, &c->mount);
	if (r == -ENOENT && c->vault_option)
		return fail(EXIT_UNAVAILABLE, "no vault %s is mounted here; as root: cofferd /var/lib/coffer/%s %s",
			    c->vault_option, c->vault_option, MOUNT_DEFAULT);
	if (r == -ENOTUNIQ)
		return fail(EXIT_USAGE,
			    "several vaults are called %s, on %s and %s among others; name the mount with -m",
			    c->vault_option, c->mount.path, c->mount.other);
	if (r == -ENOENT && mount_is_gone(path))
		return fail(EXIT_UNAVAILABLE,
			    "%s leads to a file system that is mounted nowhere here any more (umount -l): what is open "
			    "there can be read on, but a command needs the mount; name "
			    "one with -m",
			    path);
	if (r == -ENOENT)
		return fail(EXIT_UNAVAILABLE,
			    "no vault is mounted on %s; as root: cofferd STORE %s (or start its service), or name "
			    "another mount with -m",
			    path, path);
	if (r == -ENOTTY)
		return fail(EXIT_UNAVAILABLE,
			    "what is mounted on %s is not a vault; name the vault's mount with -m, or the vault with "
			    "--vault",
			    path);
	if (r < 0)
		return fail(EXIT_ERROR, "cannot read /proc/self/mountinfo: %s; is /proc mounted?", strerror(-r));
	c->mount_known = true;
	message_command(mount_command(c->mount.path));
known:
	*ret_mount = &c->mount;
	return EXIT_DONE;
}

static int report_lost(const struct mount *m, int r, bool changes)
{
	if (r == -ENOENT || r == -ENOTDIR)
		return fail(EXIT_UNAVAILABLE, "%s/.coffer/ctl is not there; look at: " COFFER " doctor", m->path);
	if (r == -EHOSTDOWN)
		return fail(EXIT_UNAVAILABLE,
			    "%s/.coffer/ctl cannot be opened: no daemon stands behind it any more, or it cannot write "
			    "its log; nothing was "
			    "done; see: " COFFER " doctor",
			    m->path);
	if (r == -EACCES)
		return fail(EXIT_DENIED,
			    "the daemon could not establish who you are, so it refuses; see: " COFFER " whoami");
	if (r == -EPERM)
		return fail(EXIT_DENIED,
			    "the daemon refuses to take requests from this process; see: " COFFER " whoami");
	if (r == -ENFILE || r == -EMFILE)
		return fail(
			EXIT_ERROR,
			"you have too many requests under way, or files of the vault open; close some, or try again");
	if (r == -EROFS)
		return fail(EXIT_UNAVAILABLE, "%s", mount_read_only(m));
	if (r == -EPROTO)
		return fail(EXIT_ERROR, "the answer from %s is not JSON; look at: " COFFER " doctor", m->path);
	if (r == -ENOMEM)
		return fail(EXIT_ERROR, "not enough memory");
	if (!lost(r))
		return fail(exit_for_errno(r), "%s/.coffer/ctl: %s; look at: " COFFER " doctor", m->path, strerror(-r));
	if (changes)
		return fail(EXIT_UNAVAILABLE,
			    "no answer from %s within %d s (%s); whether it was done is not known, look before you "
			    "repeat it; see: "
			    "" COFFER " doctor",
			    m->path, CLIENT_PATIENCE_MS / 1000, strerror(-r));
	return fail(EXIT_UNAVAILABLE, "no answer from %s within %d s (%s); see: " COFFER " doctor", m->path,
		    CLIENT_PATIENCE_MS / 1000, strerror(-r));
}

static int perform(struct cli *c, json_t *request, bool changes, struct message message, json_t **ret_answer)
{
	const struct mount *m;
	json_t *answer = NULL;
	int status = EXIT_ERROR, r;

	if (!json_object_get(request, "op")) {
		json_decref(request);
		return fail(EXIT_USAGE, NO_REQUEST);
	}
	status = cli_mount(c, &m);
	if (status)
		goto out;
	r = exchange(m->path, request, changes, message, &answer, NULL, NULL);
	if (r < 0) {
		status = report_lost(m, r, changes);
		goto out;
	}
	if (!json_is_true(json_object_get(answer, "ok"))) {
		status = client_report(answer);
		goto out;
	}
	*ret_answer = answer;
	answer = NULL;
	status = EXIT_DONE;
out:
	json_decref(answer);
	json_decref(request);
	return status;
}

int client_ask(struct cli *c, json_t *request, json_t **ret_answer)
{
	return perform(c, request, false, (struct message){ 0 }, ret_answer);
}

int client_change(struct cli *c, json_t *request, const void *value, size_t len, json_t **ret_answer)
{
	return perform(c, request, true, (struct message){ .value = value, .len = len }, ret_answer);
}

int client_change_streamed(struct cli *c, json_t *request, int (*send)(int fd, void *arg), void *arg,
			   json_t **ret_answer)
{
	return perform(c, request, true, (struct message){ .send = send, .arg = arg }, ret_answer);
}

int client_send(struct cli *c, json_t *request, const void *value, size_t len, json_t **ret_answer, uint8_t **ret_bytes,
		size_t *ret_len, bool *ret_stale)
{
	const struct mount *m;
	const char *error;
	json_t *answer = NULL;
	uint8_t *bytes = NULL;
	size_t n = 0;
	int status = EXIT_ERROR, r;

	*ret_stale = false;
	if (!json_object_get(request, "op")) {
		json_decref(request);
		return fail(EXIT_USAGE, NO_REQUEST);
	}
	status = cli_mount(c, &m);
	if (status)
		goto out;
	r = exchange(m->path, request, false,
		     (struct message){ .value = value, .len = len, .bytes = ret_bytes != NULL }, &answer,
		     ret_bytes ? &bytes : NULL, &n);
	if (r < 0) {
		status = report_lost(m, r, false);
		goto out;
	}
	if (!json_is_true(json_object_get(answer, "ok"))) {
		error = json_string_value(json_object_get(answer, "errno"));
		*ret_stale = error && strcmp(error, "ESTALE") == 0;
		status = *ret_stale ? EXIT_UNAVAILABLE : client_report(answer);
		goto out;
	}
	*ret_answer = answer;
	answer = NULL;
	if (ret_bytes) {
		*ret_bytes = bytes;
		*ret_len = n;
		bytes = NULL;
	}
	status = EXIT_DONE;
out:
	free(bytes);
	json_decref(answer);
	json_decref(request);
	return status;
}

void client_set(json_t *request, const char *key, const char *value)
{
	/* left out, it would be a binding that never ends, or a backup of something else: nothing is asked then */
	if (request && value && json_object_set_new(request, key, json_string(value)) < 0)
		json_object_clear(request);
}
