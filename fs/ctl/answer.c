/* What is said to whoever asked: errors in words, with what to do next, and answers as JSON. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/ctl/internal.h"
#include "fs/shared/shared.h"

/* ---- errors ---- */

/* Bytes of the UTF-8 sequence at p, 0 if there is none (RFC 3629 §4). */
static size_t utf8_sequence(const unsigned char *p)
{
	size_t n = p[0] < 0x80                   ? 1
		   : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
		   : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
		   : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
						 : 0;

	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/* What a terminal could take for an order, and what is not UTF-8 (a text cut within a character), becomes a question
 * mark. */
static void printable(char *text)
{
	unsigned char *p = (unsigned char *)text;

	while (*p) {
		size_t n = utf8_sequence(p);
		if (n == 0 || *p < 0x20 || *p == 0x7f || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0)) {
			for (size_t i = 0; i < (n ? n : 1); i++)
				p[i] = '?';
		}
		p += n ? n : 1;
	}
}

int ctl_fail(struct ctl *c, int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(c->message, sizeof(c->message), format, ap);
	va_end(ap);
	printable(c->message);
	c->error = error;
	return -error;
}

void ctl_hint(struct ctl *c, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(c->hint, sizeof(c->hint), format, ap);
	va_end(ap);
	printable(c->hint);
}

const char *ctl_command(const struct ctl *c, char *buf, size_t len)
{
	const char *mount = c->env->shared ? c->env->shared->keeper.mount : "";

	if (!*mount || !strcmp(mount, "/vault") || strlen(mount) > len - sizeof("coffer -m "))
		snprintf(buf, len, "coffer");
	else
		snprintf(buf, len, "coffer -m %.*s", (int)(len - sizeof("coffer -m ")), mount);
	return buf;
}

/* The hint; after, if there is one, stands behind the command's name. */
static const struct {
	int error;
	const char *message, *hint, *after;
} store_errors[] = {
	{ ENOKEY, "the vault is sealed", "as root, run: ", " unseal" },
	{ ETIMEDOUT, "the key holder or the disk did not answer in time",
	  "try again; what runs is shown by: ", " status" },
	{ EAGAIN, "too many keys were asked of the key holder", "try again in a moment", NULL },
	{ EBADMSG, "the store is damaged: a seal does not match",
	  "run `coffer fsck` on the store, and restore what it names from a backup", NULL },
	{ ENOSPC, "no space is left for the store", "make room on the store's file system, and try again", NULL },
	{ EDQUOT, "this user has too many bytes under way that are no version yet",
	  "close or commit some of the files that are being written, and try again", NULL },
	{ EROFS, "the store's file system is read-only", "mount it writable, and try again", NULL },
	{ ENOMEM, "memory is short", "try again; how much locked memory is in use is shown by: ", " status" },
	{ EIO, "the store could not be read or written", "see the daemon's messages and the kernel's log for the disk",
	  NULL },
};

int ctl_fail_store(struct ctl *c, int r, const char *format, ...)
{
	int error = r == -EBUSY ? EAGAIN : -r;
	size_t n = sizeof(store_errors) / sizeof(store_errors[0]), i = 0;
	char what[CTL_MESSAGE_MAX / 2], command[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	while (i < n && store_errors[i].error != error)
		i++;
	if (i == n)
		return ctl_fail(c, error, "cannot %s: %s", what, strerror(error));
	ctl_command(c, command, sizeof(command));
	ctl_hint(c, "%s%s%s", store_errors[i].hint, store_errors[i].after ? command : "",
		 store_errors[i].after ? store_errors[i].after : "");
	return ctl_fail(c, error, "cannot %s: %s", what, store_errors[i].message);
}

int ctl_fail_large(struct ctl *c)
{
	uint32_t limit;

	store_rdlock(c->env->store);
	limit = store_settings(c->env->store)->value_max;
	store_unlock_tables(c->env->store);
	ctl_hint(c, "keep the large file elsewhere, encrypted, and its key here");
	return ctl_fail(c, EFBIG, "the value has %llu bytes; this vault's limit is %u",
			(unsigned long long)c->args.value_length, limit);
}

/* ---- answers ---- */

void ctl_set(struct ctl *c, const char *key, json_t *value)
{
	if (json_object_set_new(c->out, key, value) < 0)
		c->short_of_memory = true;
}

json_t *ctl_time(int64_t ns)
{
	char text[TIME_TEXT_MAX];

	if (ns == INT64_MIN || ns == INT64_MAX)
		return json_null();
	time_print(ns, text);
	return json_string(text);
}

json_t *ctl_version(uint32_t version) { return version ? json_integer(version) : json_null(); }

char *ctl_dump(const json_t *value, size_t flags, size_t *ret_len)
{
	size_t len = json_dumpb(value, NULL, 0, flags);
	char *text = len ? malloc(len + 1) : NULL;

	if (!text)
		return NULL;
	if (json_dumpb(value, text, len, flags) != len) {
		free(text);
		return NULL;
	}
	text[len] = '\0';
	*ret_len = len;
	return text;
}

int ctl_render(const json_t *object, const char *extra, size_t extra_len, char **ret_answer, size_t *ret_len)
{
	size_t len;
	char *head = ctl_dump(object, JSON_COMPACT, &len), *answer;

	if (!head)
		return -ENOMEM;
	answer = realloc(head, len + extra_len + 3);
	if (!answer) {
		free(head);
		return -ENOMEM;
	}
	if (extra_len) {
		answer[len - 1] = ',';
		memcpy(answer + len, extra, extra_len);
		len += extra_len;
		answer[len++] = '}';
	}
	answer[len++] = '\n';
	answer[len] = '\0';
	*ret_answer = answer;
	*ret_len = len;
	return 0;
}

int ctl_render_error(int error, const char *message, const char *hint, char **ret_answer, size_t *ret_len)
{
	/* to a caller an integrity failure is EIO, as at read(2); the exit status tells them apart */
	const char *symbol = errno_symbol(error == EBADMSG ? EIO : error);
	json_t *o = json_pack("{s:b, s:s, s:i, s:s, s:s}", "ok", 0, "errno", symbol, "exit", (int)exit_for_errno(error),
			      "message", message, "hint", hint);
	int r;

	if (!o)
		return -ENOMEM;
	r = ctl_render(o, NULL, 0, ret_answer, ret_len);
	json_decref(o);
	return r;
}

int ctl_error_answer(int error, const char *message, char **ret_answer, size_t *ret_len)
{
	char text[CTL_MESSAGE_MAX];

	if (error < 0)
		error = -error;
	snprintf(text, sizeof(text), "%s", message);
	printable(text);
	return ctl_render_error(error ? error : EIO, text, "", ret_answer, ret_len);
}
