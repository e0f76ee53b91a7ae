/* coffer edit: the value lies in a file of a private directory in memory while the editor runs. A janitor wipes it with
 * all that the editor left. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "fs/cli/common/cli.h"
#include "fs/cli/common/client.h"
#include "fs/cli/common/editor.h"
#include "fs/cli/common/input.h"
#include "fs/cli/common/janitor.h"
#include "fs/cli/common/names.h"
#include "fs/cli/common/output.h"
#include "fs/cli/commands/secrets.h"
#include "policy/scope.h"
#include "store/crypto/aead.h"
#include "fs/cli/commands/commands.h"

#define MEMORY_DIR "/dev/shm" /* tmpfs: never on a disk, but for swap */

struct workplace {
	struct editor editor;
	struct janitor janitor;
	char file[PATH_MAX + sizeof(EDITOR_FILES) + NAME_LEN_MAX + 2];
};

static int workplace_open(struct workplace *w, const char *name)
{
	struct statfs fs;
	int r;

	if (statfs(MEMORY_DIR, &fs) < 0 || (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC))
		return fail(EXIT_ERROR,
			    MEMORY_DIR " is not a file system in memory; edit the value elsewhere and use: " COFFER
				       " put %s --file F",
			    name);
	r = janitor_open(MEMORY_DIR "/coffer-edit.XXXXXX", true, &w->janitor);
	if (r < 0)
		return fail(EXIT_ERROR, "cannot make a directory in " MEMORY_DIR ": %s", strerror(-r));
	snprintf(w->file, sizeof(w->file), "%s" EDITOR_FILES "/%s", w->janitor.dir, name);
	return editor_make_home(w->janitor.dir);
}

static int write_file(const char *path, const struct secbuf *value)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), r;

	if (fd < 0)
		return fail(EXIT_ERROR, "cannot make %s: %s", path, strerror(errno));
	r = output_bytes(fd, secbuf_cdata(value), secbuf_len(value));
	close(fd);
	if (r < 0)
		return fail(EXIT_ERROR, "cannot write %s: %s", path, strerror(-r));
	return EXIT_DONE;
}

static int read_file(const char *path, struct secbuf *ret_value)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), r;

	if (fd < 0)
		return fail(EXIT_ERROR, "the editor left no file behind (%s); nothing was changed", strerror(errno));
	r = input_read(fd, ret_value);
	close(fd);
	if (r == -EFBIG)
		return fail(EXIT_ERROR, "the value has become too long; nothing was changed");
	if (r < 0)
		return fail(EXIT_ERROR, "cannot read %s: %s; nothing was changed", path, strerror(-r));
	return EXIT_DONE;
}

/* Editors end a file with a newline even if it had none. */
static void drop_editors_newline(const struct secbuf *old, struct secbuf *new)
{
	size_t n = secbuf_len(old);

	if (n > 0 && secbuf_cdata(old)[n - 1] == '\n')
		return;
	n = secbuf_len(new);
	input_trim(new);
	if (n == secbuf_len(new))
		return;
	note("the value had no newline at its end; the one that the editor added is left out");
}

/* What the secret is labelled with goes on with the new version; its validity does not: a new value has a life of its
 * own. */
static int describe(struct cli *c, const char *name, json_t **ret_secret)
{
	json_t *answer = NULL;
	int status = client_ask(c, json_pack("{s:s, s:s}", "op", "show", "name", name), &answer);

	if (status == EXIT_DONE)
		*ret_secret = json_incref(json_object_get(answer, "secret"));
	json_decref(answer);
	return status;
}

static int store_value(struct cli *c, const char *name, const json_t *before, const struct secbuf *value)
{
	json_t *request, *answer = NULL, *tags = json_object_get(before, "tags"),
			 *type = json_object_get(before, "content_type");
	json_int_t old = json_integer_value(json_object_get(before, "version")), new;
	int status;

	request = json_pack("{s:s, s:s, s:I}", "op", "put", "name", name, "value_length",
			    (json_int_t)secbuf_len(value));
	if (json_is_string(type))
		json_object_set(request, "content_type", type);
	if (json_is_object(tags) && json_object_size(tags) > 0)
		json_object_set(request, "tags", tags);
	status = client_change(c, request, secbuf_cdata(value), secbuf_len(value), &answer);
	if (status)
		return status;
	new = json_integer_value(json_object_get(answer, "version"));
	printf("%s version %" JSON_INTEGER_FORMAT "\n", name, new);
	if (old > 0 && new > old + 1)
		note("other versions of %s were made after %" JSON_INTEGER_FORMAT
		     ", which you edited; they are kept: " COFFER " versions %s",
		     name, old, name);
	json_decref(answer);
	return EXIT_DONE;
}

/* Whoever may not store it is told before he has typed it. */
static int may_store(struct cli *c, const char *name, const json_t *before)
{
	const json_t *rights = json_object_get(before, "rights"), *right;
	size_t i;

	json_array_foreach(rights, i, right)
		if (strcmp(json_string_value(right) ? json_string_value(right) : "", "secrets/set") == 0)
			return EXIT_DONE;
	return secret_explain(c, name, NULL, "secrets/set", EACCES);
}

enum choice { GIVE_UP = 0, STORE_AGAIN, EDIT_AGAIN };

/* What could not be stored is somebody's work. At a terminal he is asked; elsewhere there is nobody who could put it
 * right. */
static enum choice ask_again(bool storable)
{
	enum choice choice = GIVE_UP;
	char line[64];

	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return GIVE_UP;
	do {
		fprintf(stderr, "What you edited is still there. %se edits it again, q throws it away: ",
			storable ? "s tries again to store it, " : "");
		fflush(stderr);
		if (!fgets(line, sizeof(line), stdin) || line[0] == 'q')
			return GIVE_UP;
		choice = line[0] == 's' && storable ? STORE_AGAIN : line[0] == 'e' ? EDIT_AGAIN : GIVE_UP;
	} while (choice == GIVE_UP);
	return choice;
}

static bool same(const struct secbuf *a, const struct secbuf *b)
{
	return secbuf_len(a) == secbuf_len(b) && secret_cmp(secbuf_cdata(a), secbuf_cdata(b), secbuf_len(a)) == 0;
}

static int edit_and_store(struct cli *c, const char *name, const json_t *before, const struct workplace *w,
			  const struct secbuf *old, struct secbuf *new)
{
	enum choice choice = EDIT_AGAIN;
	bool storable = false;
	int status = EXIT_ERROR;

	do {
		if (choice == EDIT_AGAIN) {
			status = editor_run(&w->editor, w->janitor.dir, w->file);
			if (status)
				return status;
			status = read_file(w->file, new);
			storable = status == EXIT_DONE;
			if (storable)
				drop_editors_newline(old, new);
		}
		if (storable && same(old, new)) {
			note("%s is unchanged", name);
			return EXIT_DONE;
		}
		if (storable)
			status = store_value(c, name, before, new);
	} while (status && (choice = ask_again(storable)) != GIVE_UP);
	return status;
}

int cmd_edit(struct cli *c, const struct args *a)
{
	const char *name = a->operands[0];
	struct secbuf *old = NULL, *new = NULL;
	struct workplace w = { .janitor.alive = -1 };
	json_t *before = NULL;
	int status = secret_name_check(name), fd = -1, r;

	if (status == EXIT_DONE)
		status = editor_choose(&w.editor);
	if (status == EXIT_DONE)
		status = input_prepare(2);
	if (status == EXIT_DONE)
		status = describe(c, name, &before);
	if (status == EXIT_DONE)
		status = secret_open(c, name, NULL, &fd);
	if (status == EXIT_DONE)
		status = may_store(c, name, before);
	if (status)
		goto out;
	status = EXIT_ERROR;
	old = input_buffer();
	new = old ? input_buffer() : NULL;
	if (!new)
		goto out;
	r = input_read(fd, old);
	if (r < 0) {
		status = secret_explain(c, name, NULL, "secrets/get", -r);
		goto out;
	}
	status = workplace_open(&w, name);
	if (status == EXIT_DONE)
		status = write_file(w.file, old);
	if (status == EXIT_DONE)
		status = edit_and_store(c, name, before, &w, old, new);
out:
	janitor_close(&w.janitor);
	json_decref(before);
	secbuf_free(new);
	secbuf_free(old);
	if (fd >= 0)
		close(fd);
	return status;
}
