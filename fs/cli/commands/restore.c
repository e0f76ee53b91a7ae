/* coffer restore: a backup into a mounted vault, piece by piece and then in one transaction; or, as root, straight into
 * a store. */
#include "store/backup/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/cli/commands/backup.h"
#include "fs/cli/common/client.h"
#include "fs/cli/common/output.h"
#include "fs/cli/common/store_access.h"
#include "fs/helpers/runner.h"
#include "fs/common/timefmt.h"
#include "store/backup/pieces.h"
#include "store/core/acts.h"
#include "store/core/transaction.h"
#include "store/keys/keys.h"
#include "store/keys/transport.h"
#include "fs/cli/commands/commands.h"

struct plan {
	struct backup_key key;
	const char *signer;
	uint8_t fingerprint[DIGEST_LEN];
	const char *existing;
	bool grants, dry_run;
	int fd; /* of the backup: can be read at any place */
	struct backup_header header;
	uint8_t *file_key; /* locked memory */
};

static const char *const policies[] = {
	[RESTORE_REFUSE] = "refuse", [RESTORE_SKIP] = "skip", [RESTORE_APPEND] = "append"
};

static int existing_policy(const char *text, enum restore_existing *ret)
{
	*ret = RESTORE_REFUSE;
	for (unsigned i = 0; text && i < sizeof policies / sizeof policies[0]; i++)
		if (strcmp(text, policies[i]) == 0) {
			*ret = (enum restore_existing)i;
			return EXIT_DONE;
		}
	return text ? fail(EXIT_USAGE, "--existing %s: there are refuse (default), skip and append", text) : EXIT_DONE;
}

/* What was asked for, as far as no key is needed. */
static int plan_open(const struct args *a, struct plan *p)
{
	enum restore_existing existing;
	int status;

	*p = (struct plan){ .fd = -1,
			    .key.fd = -1,
			    .signer = args_value(a, "signer"),
			    .existing = args_value(a, "existing"),
			    .dry_run = args_has(a, "dry-run"),
			    .grants = args_has(a, "with-grants") };
	status = backup_signer(p->signer, p->fingerprint);
	if (status == EXIT_DONE)
		status = existing_policy(p->existing, &existing);
	if (status == EXIT_DONE)
		status = backup_key_open(a, &p->key);
	if (status == EXIT_DONE)
		status = backup_seekable(STDIN_FILENO, &p->fd);
	if (status == EXIT_DONE)
		status = backup_read_header(p->fd, &p->header);
	return status;
}

static int plan_unlock(struct plan *p)
{
	p->file_key = secmem_alloc(KEY_LEN);
	if (!p->file_key)
		return fail(EXIT_ERROR, "no locked memory left");
	return backup_key_use(&p->key, &p->header, p->file_key);
}

static void plan_close(struct plan *p)
{
	backup_key_close(&p->key);
	secmem_free(p->file_key, KEY_LEN);
	if (p->fd > STDERR_FILENO)
		close(p->fd);
}

static int seal_for_holder(const struct plan *p, const uint8_t holder[CURVE_LEN], uint8_t ret_box[BOX_LEN])
{
	return box_seal(box_label_holder, holder, p->file_key, ret_box) == 0
		       ? EXIT_DONE
		       : fail(EXIT_ERROR, "the key holder's key cannot be");
}

/* ---- what happened ---- */

static void say_part(uint64_t n, const char *one, const char *many)
{
	if (n > 0)
		printf(", %" PRIu64 " %s", n, n == 1 ? one : many);
}

static void say(const struct restore_counts *n, const struct backup_header *h, bool dry_run)
{
	char when[TIME_TEXT_MAX];

	time_print(h->created, when);
	printf("%s from vault %s as of %s: %" PRIu64 " secret%s with %" PRIu64 " version%s",
	       dry_run ? "would be restored" : "restored", h->vault_name, when, n->secrets, n->secrets == 1 ? "" : "s",
	       n->versions, n->versions == 1 ? "" : "s");
	say_part(n->deleted, "of them deleted", "of them deleted");
	say_part(n->appended, "that was there appended to", "that were there appended to");
	say_part(n->skipped, "that was there left alone", "that were there left alone");
	say_part(n->roles, "role", "roles");
	say_part(n->bindings, "binding", "bindings");
	say_part(n->blocks, "block", "blocks");
	say_part(n->recipients, "recipient", "recipients");
	say_part(n->rotations, "rotation policy", "rotation policies");
	say_part(n->hooks, "hook", "hooks");
	say_part(n->histories, "history rule", "history rules");
	printf("%s\n", n->settings ? ", the settings" : "");
	if (n->deleted_here)
		note("%" PRIu64 " of what was left alone %s deleted here and keep%s the name, such as %s: " COFFER
		     " recover %s brings it back, " COFFER " purge %s frees the name; then restore again",
		     n->deleted_here, n->deleted_here == 1 ? "is" : "are", n->deleted_here == 1 ? "s" : "",
		     n->deleted_name, n->deleted_name, n->deleted_name);
}

/* Which of the lines ("UID COMMAND") hooks.allow lacks: a backup must not choose what runs on this machine, so they are
 * said and not written. Who cannot see the list is told of all. */
static void say_programs(const json_t *programs, const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const json_t *program;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)programs, i, program) {
		const char *line = json_string_value(program), *blank = line ? strchr(line, ' ') : NULL;
		char why[512] = "";
		if (!blank)
			continue;
		if (fd < 0)
			note("its program runs only if hooks.allow in the store's directory has the line: %s", line);
		else if (runner_allowed(fd, (uint32_t)strtoul(line, NULL, 10), blank + 1, why, sizeof why) < 0)
			note("%s/" RUNNER_ALLOW " must have the line \"%s\" before that runs: %s", dir, line, why);
	}
	if (fd >= 0)
		close(fd);
}

static uint64_t count(const json_t *answer, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(answer, key));
}

/* Of a mounted vault: its store is where the mount says. */
static void say_mounted_programs(struct cli *c, const json_t *answer)
{
	const json_t *programs = json_object_get(answer, "programs");
	const struct mount *m;

	if (json_array_size(programs) > 0 && cli_mount(c, &m) == EXIT_DONE)
		say_programs(programs, m->store);
	if (count(answer, "programs_more") > 0)
		note("policies and hooks run %" PRIu64 " more programs: " COFFER " rotation list and " COFFER
		     " hook list show them",
		     count(answer, "programs_more"));
}

/* ---- into a mounted vault ---- */

static int hand_in(struct cli *c, const struct plan *p, const char *id, size_t piece)
{
	uint8_t *bytes = malloc(piece);
	uint64_t at = 0;
	int status = bytes ? EXIT_DONE : fail(EXIT_ERROR, "not enough memory");

	while (status == EXIT_DONE) {
		ssize_t n = pread(p->fd, bytes, piece, (off_t)at);
		json_t *answer = NULL;
		bool stale;

		if (n < 0)
			status = fail(EXIT_ERROR, "the backup cannot be read: %s; nothing was restored",
				      strerror(errno));
		if (n <= 0)
			break;
		status = client_send(c,
				     json_pack("{s:s, s:s, s:I, s:I}", "op", "restore-put", "restore", id, "at",
					       (json_int_t)at, "value_length", (json_int_t)n),
				     bytes, (size_t)n, &answer, NULL, NULL, &stale);
		json_decref(answer);
		at += (uint64_t)n;
		backup_progress("bytes handed in:", at, false);
	}
	backup_progress("bytes handed in:", at, status == EXIT_DONE);
	free(bytes);
	return status;
}

static int ask_restore(struct cli *c, const struct plan *p, const char *id, const char *box, json_t **ret_answer)
{
	json_t *request = json_pack("{s:s, s:s, s:s, s:s, s:b}", "op", p->dry_run ? "restore-check" : "restore",
				    "restore", id, "key", box, "signer", p->signer, "grants", (int)p->grants);

	client_set(request, "existing", p->existing);
	return p->dry_run ? client_ask(c, request, ret_answer) : client_change(c, request, NULL, 0, ret_answer);
}

static void drop(struct cli *c, const char *id)
{
	json_t *answer = NULL;
	bool stale;

	if (client_send(c, json_pack("{s:s, s:s}", "op", "restore-drop", "restore", id), NULL, 0, &answer, NULL, NULL,
			&stale) == EXIT_DONE)
		json_decref(answer);
}

static int restore_online(struct cli *c, struct plan *p)
{
	uint8_t raw[RESTORE_ID_LEN], holder[CURVE_LEN], box[BOX_LEN];
	char id[2 * RESTORE_ID_LEN + 1], box_hex[2 * BOX_LEN + 1];
	json_t *key = NULL, *answer = NULL;
	const char *hex;
	size_t piece;
	int status = client_ask(c, json_pack("{s:s}", "op", "restore-key"), &key);

	if (status)
		return status;
	hex = json_string_value(json_object_get(key, "key"));
	piece = (size_t)json_integer_value(json_object_get(key, "piece"));
	status = hex && piece > 0 && piece <= RESTORE_PIECE_MAX && random_bytes(raw, sizeof raw) == 0
			 ? backup_signer(hex, holder)
			 : fail(EXIT_ERROR, "the daemon gave no key to restore with");
	json_decref(key);
	if (status == EXIT_DONE)
		status = seal_for_holder(p, holder, box);
	if (status)
		return status;
	backup_hex(raw, sizeof raw, id);
	backup_hex(box, sizeof box, box_hex);
	status = hand_in(c, p, id, piece);
	if (status == EXIT_DONE)
		status = ask_restore(c, p, id, box_hex, &answer);
	if (status || p->dry_run)
		drop(c, id);
	if (status == EXIT_DONE) {
		struct restore_counts n = {
			.deleted_here = count(answer, "deleted_here"),
			.secrets = count(answer, "secrets"),
			.versions = count(answer, "versions"),
			.deleted = count(answer, "deleted"),
			.appended = count(answer, "appended"),
			.skipped = count(answer, "skipped"),
			.roles = count(answer, "roles"),
			.bindings = count(answer, "bindings"),
			.blocks = count(answer, "blocks"),
			.recipients = count(answer, "recipients"),
			.rotations = count(answer, "rotations"),
			.hooks = count(answer, "hooks"),
			.histories = count(answer, "histories"),
			.settings = json_is_true(json_object_get(answer, "settings")),
		};
		snprintf(n.deleted_name, sizeof n.deleted_name, "%s",
			 json_string_value(json_object_get(answer, "deleted_name"))
				 ? json_string_value(json_object_get(answer, "deleted_name"))
				 : "");
		say(&n, &p->header, p->dry_run);
		say_mounted_programs(c, answer);
	}
	json_decref(answer);
	return status;
}

/* ---- into a store ---- */

static void show_progress(uint64_t done, uint64_t size, void *arg)
{
	(void)size;
	(void)arg;
	backup_progress("bytes restored:", done, false);
}

/* Everything may be made; the programs are kept to be told of. */
static int note_program(const struct restore_item *item, void *arg)
{
	char line[HOOK_COMMAND_MAX + 16];

	if (!item->command)
		return 0;
	snprintf(line, sizeof line, "%u %s", item->user, item->command);
	return json_array_append_new(arg, json_string(line)) < 0 ? -ENOMEM : 0;
}

/* Who did it and what; the owner of the log writes it down as soon as it sees it. */
static char *describe_act(const struct plan *p, const struct restore_counts *n, unsigned uid)
{
	char now[TIME_TEXT_MAX], *text;
	json_t *act;

	time_print(time_now(), now);
	act = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:s, s:I}", "operation", "SecretRestore", "time",
			now, "secrets", (json_int_t)n->secrets, "versions", (json_int_t)n->versions, "bindings",
			(json_int_t)n->bindings, "policies", (json_int_t)n->rotations, "hooks", (json_int_t)n->hooks,
			"from", p->header.vault_name, "epoch", (json_int_t)p->header.epoch, "signer", p->signer, "uid",
			(json_int_t)uid);
	text = act ? json_dumps(act, JSON_COMPACT) : NULL;
	json_decref(act);
	return text;
}

static int restore_in_transaction(struct offline *o, struct plan *p, unsigned uid, struct restore_counts *ret_counts,
				  json_t *programs, char *why, size_t why_len)
{
	uint8_t holder[CURVE_LEN], box[BOX_LEN];
	struct restore_options options = { .box = box,
					   .signer = p->fingerprint,
					   .grants = p->grants,
					   .ask = note_program,
					   .progress = show_progress,
					   .arg = programs };
	const struct backup_source source = backup_file_source(&p->fd);
	char *act = NULL;
	int r = keys_restore_key(o->keys, holder);

	if (r == 0)
		r = box_seal(box_label_holder, holder, p->file_key, box);
	if (r == 0)
		r = store_begin(o->store);
	if (r < 0)
		return r;
	(void)existing_policy(p->existing, &options.existing);
	r = store_restore(o->store, &source, &options, &p->header, ret_counts, why, why_len);
	if (r == 0 && !p->dry_run) {
		act = describe_act(p, ret_counts, uid);
		r = act ? store_pending_act_add(o->store, act) : -ENOMEM;
		free(act);
	}
	if (r == 0 && !p->dry_run)
		return store_commit(o->store);
	store_rollback(o->store);
	return r;
}

static int restore_offline(struct plan *p, const char *store, const char *kek)
{
	struct offline o = { 0 };
	struct restore_counts counts;
	char why[256] = "";
	unsigned uid = getuid();
	json_t *programs = json_array();
	int status = programs ? EXIT_DONE : fail(EXIT_ERROR, "not enough memory"), r;

	if (status == EXIT_DONE)
		status = offline_find(store, &o);
	if (status == EXIT_DONE)
		status = offline_open(&o, kek);
	if (status == EXIT_DONE)
		status = offline_unlock(&o);
	if (status == EXIT_DONE)
		status = plan_unlock(p);
	if (status)
		goto out;
	p->grants = true; /* who has root and the KEK could make any binding */
	r = restore_in_transaction(&o, p, uid, &counts, programs, why, sizeof why);
	backup_progress("bytes restored:", (uint64_t)lseek(p->fd, 0, SEEK_END), true);
	if (r == -EEXIST)
		status = fail(EXIT_CONFLICT,
			      p->existing && !strcmp(p->existing, "append")
				      ? "%s; nothing was restored; --existing skip leaves it as it is"
				      : "%s; nothing was restored; --existing skip leaves what is there, --existing "
					"append adds to it; both leave alone what is deleted here",
			      why);
	else if (r < 0)
		status = fail(exit_for_errno(r), "%s: %s; nothing was restored", o.dir, *why ? why : strerror(-r));
	else
		say(&counts, &p->header, p->dry_run);
	if (status == EXIT_DONE)
		say_programs(programs, o.dir);
out:
	json_decref(programs);
	offline_close(&o);
	return status;
}

int cmd_restore(struct cli *c, const struct args *a)
{
	const char *into = args_value(a, "into"), *kek = args_value(a, "kek");
	struct plan p;
	int status = EXIT_DONE;

	if (kek && !into)
		return fail(EXIT_USAGE, "--kek goes with --into STORE; a mounted vault has its key");
	if (into)
		status = offline_need_root("restore --into STORE");
	if (status)
		return status;
	status = plan_open(a, &p);
	if (status == EXIT_DONE && into) {
		status = restore_offline(&p, into, kek);
	} else if (status == EXIT_DONE) {
		status = backup_prepare();
		if (status == EXIT_DONE)
			status = plan_unlock(&p);
		if (status == EXIT_DONE)
			status = restore_online(c, &p);
	}
	plan_close(&p);
	return status;
}
