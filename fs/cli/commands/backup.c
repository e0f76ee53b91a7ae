/* coffer backup, backup verify, recipient …: backups out of a mounted vault, and who may open them. */
#include "fs/cli/commands/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/cli/common/client.h"
#include "fs/cli/common/lines.h"
#include "fs/cli/common/names.h"
#include "fs/cli/common/output.h"
#include "fs/cli/commands/secrets.h"
#include "fs/common/timefmt.h"
#include "fs/cli/commands/commands.h"

#define ATTEMPTS 3 /* a backup whose worker died is begun again, where the output can be */

/* ---- backup ---- */

static int add_passphrase(json_t *request, const char *path)
{
	uint8_t salt[BACKUP_SALT_LEN], public[CURVE_LEN], *private;
	char hex[2 * CURVE_LEN + 1];
	int fd, status = backup_prepare();

	if (status)
		return status;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(exit_for_errno(errno), "%s: %s", path, strerror(errno));
	private = secmem_alloc(CURVE_LEN);
	if (!private || random_bytes(salt, sizeof salt) < 0)
		status = fail(EXIT_ERROR, "no locked memory left");
	/* The passphrase stays here: the daemon gets the public half of the key that it makes. */
	if (status == EXIT_DONE)
		status = backup_passphrase_key(fd, path, salt, BACKUP_LN, private);
	close(fd);
	if (status == EXIT_DONE && x25519_public(private, public) < 0)
		status = fail(EXIT_ERROR, "the passphrase's key cannot be made");
	secmem_free(private, CURVE_LEN);
	if (status)
		return status;
	backup_hex(public, sizeof public, hex);
	client_set(request, "public_key", hex);
	backup_hex(salt, sizeof salt, hex);
	client_set(request, "salt", hex);
	json_object_set_new(request, "ln", json_integer(BACKUP_LN));
	return EXIT_DONE;
}

static int add_public_key(json_t *request, const char *path)
{
	uint8_t key[CURVE_LEN];
	char hex[2 * CURVE_LEN + 1];
	int status = backup_prepare();

	if (status == EXIT_DONE)
		status = backup_public_key(path, key);
	if (status)
		return status;
	backup_hex(key, sizeof key, hex);
	client_set(request, "public_key", hex);
	return EXIT_DONE;
}

static int backup_request(const struct args *a, json_t *request)
{
	const char *recipient = args_value(a, "recipient"), *passphrase = args_value(a, "passphrase-file"),
		   *key = args_value(a, "public-key");
	bool all = args_has(a, "all");
	json_t *names;

	if (all == (a->n_operands > 0))
		return fail(EXIT_USAGE, "what is to be backed up? the names of secrets, or --all; one of them");
	if (!recipient + !passphrase + !key != 2)
		return fail(
			EXIT_USAGE,
			"for whom? --recipient NAME, --passphrase-file FILE or --public-key FILE; one of them (" COFFER
			" recipient list shows the registered ones)");
	if (all) {
		json_object_set_new(request, "all", json_true());
	} else {
		names = json_array();
		for (size_t i = 0; i < a->n_operands; i++) {
			int status = secret_name_check(a->operands[i]);

			if (status) {
				json_decref(names);
				return status;
			}
			json_array_append_new(names, json_string(a->operands[i]));
		}
		json_object_set_new(request, "names", names);
	}
	client_set(request, "recipient", recipient);
	if (passphrase)
		return add_passphrase(request, passphrase);
	return key ? add_public_key(request, key) : EXIT_DONE;
}

/* Writes the stream of one session. *ret_stale: the worker died under it. */
static int copy_stream(struct cli *c, const char *session, bool *ret_stale, uint64_t *ret_bytes, json_t **ret_last)
{
	bool last = false;
	int status = EXIT_DONE, r;

	*ret_bytes = 0;
	for (json_int_t n = 0; !last && status == EXIT_DONE; n++) {
		json_t *answer = NULL;
		uint8_t *bytes = NULL;
		size_t len = 0;

		status = client_send(c,
				     json_pack("{s:s, s:s, s:I}", "op", "backup-read", "session", session, "chunk", n),
				     NULL, 0, &answer, &bytes, &len, ret_stale);
		if (status)
			return status;
		r = output_bytes(STDOUT_FILENO, bytes, len);
		free(bytes);
		if (r < 0)
			status = fail(EXIT_ERROR,
				      "the backup could not be written: %s; what is there is not a whole backup",
				      strerror(-r));
		*ret_bytes += len;
		last = json_is_true(json_object_get(answer, "last"));
		backup_progress("secrets:", (uint64_t)json_integer_value(json_object_get(answer, "secrets")), last);
		if (last && status == EXIT_DONE)
			*ret_last = json_incref(answer);
		json_decref(answer);
	}
	return status;
}

static void end_session(struct cli *c, const char *session)
{
	json_t *answer = NULL;
	bool stale;

	if (client_send(c, json_pack("{s:s, s:s}", "op", "backup-end", "session", session), NULL, 0, &answer, NULL,
			NULL, &stale) == EXIT_DONE)
		json_decref(answer);
}

/* Where the output begins, -1: nowhere one could go back to. One that is appended to begins at its end, wherever its
 * offset stands: what is there is somebody's. */
static off_t output_start(void)
{
	const int flags = fcntl(STDOUT_FILENO, F_GETFL);

	return lseek(STDOUT_FILENO, 0, flags >= 0 && (flags & O_APPEND) ? SEEK_END : SEEK_CUR);
}

/* Back to where the output began: 0, or -ESPIPE for a pipe. */
static int rewind_output(off_t start)
{
	if (start < 0 || lseek(STDOUT_FILENO, start, SEEK_SET) != start || ftruncate(STDOUT_FILENO, start) < 0)
		return -ESPIPE;
	return 0;
}

static int write_backup(struct cli *c, const json_t *request, uint64_t *ret_bytes, json_t **ret_last)
{
	const off_t start = output_start();
	bool stale = false;
	int status = EXIT_DONE;

	for (int i = 0; i < ATTEMPTS; i++) {
		json_t *answer = NULL;
		const char *session;

		status = client_send(c, json_deep_copy(request), NULL, 0, &answer, NULL, NULL, &stale);
		if (status)
			return status;
		session = json_string_value(json_object_get(answer, "session"));
		status = copy_stream(c, session ? session : "", &stale, ret_bytes, ret_last);
		if (status == EXIT_DONE || !stale)
			end_session(c, session ? session : "");
		json_decref(answer);
		if (status == EXIT_DONE || !stale)
			return status;
		if (rewind_output(start) < 0)
			return fail(EXIT_UNAVAILABLE,
				    "the daemon's worker was replaced while it wrote, and what went into a pipe cannot "
				    "be taken back; this is not a whole backup: run it again");
	}
	return fail(EXIT_UNAVAILABLE,
		    "the daemon's worker was replaced again and again while it wrote; there is no backup; see: " COFFER
		    " doctor");
}

/* What is not in it, though it was asked for: a backup for oneself has what oneself could open. */
static void print_left_out(const json_t *last)
{
	const json_int_t more = json_integer_value(json_object_get(last, "left_out_more"));
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(last, "left_out"), i, one) {
		const json_t *version = json_object_get(one, "version");
		char number[32] = "";

		if (json_is_integer(version))
			snprintf(number, sizeof number, " version %" JSON_INTEGER_FORMAT, json_integer_value(version));
		note("left out: %s%s %s", lines_text(one, "name"), number, lines_text(one, "why"));
	}
	if (more > 0)
		note("left out: %" JSON_INTEGER_FORMAT " more", more);
}

int cmd_backup(struct cli *c, const struct args *a)
{
	json_t *request = json_pack("{s:s}", "op", "backup"), *last = NULL;
	uint64_t bytes = 0;
	int status;

	if (!request)
		return fail(EXIT_ERROR, "not enough memory");
	status = backup_request(a, request);
	if (status == EXIT_DONE && isatty(STDOUT_FILENO))
		status = fail(EXIT_USAGE, "a backup is no text for a terminal: " COFFER " backup … > FILE");
	if (status == EXIT_DONE)
		status = write_backup(c, request, &bytes, &last);
	if (status == EXIT_DONE && fsync(STDOUT_FILENO) < 0 && errno != EINVAL && errno != EROFS)
		status = fail(EXIT_ERROR, "the backup could not be written: %s; what is there is not a whole backup",
			      strerror(errno));
	if (status == EXIT_DONE)
		print_left_out(last);
	if (status == EXIT_DONE)
		note("%" JSON_INTEGER_FORMAT " secrets with %" JSON_INTEGER_FORMAT " versions in %" PRIu64
		     " bytes; to restore them the signer is needed that " COFFER " status shows",
		     json_integer_value(json_object_get(last, "secrets")),
		     json_integer_value(json_object_get(last, "versions")), bytes);
	json_decref(last);
	json_decref(request);
	return status;
}

/* ---- verify ---- */

static json_t *header_object(const struct backup_header *h, uint64_t size)
{
	char vault[33], kek[2 * KEK_ID_LEN + 1], signer[2 * DIGEST_LEN + 1], when[TIME_TEXT_MAX];
	uint8_t fingerprint[DIGEST_LEN];

	if (signer_fingerprint(h->signer, fingerprint) < 0)
		return NULL;
	backup_hex(h->vault, sizeof h->vault, vault);
	backup_hex(h->kek, sizeof h->kek, kek);
	backup_hex(fingerprint, sizeof fingerprint, signer);
	time_print(h->created, when);
	return json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:I}", "vault", h->vault_name, "id", vault,
			 "created", when, "epoch", (json_int_t)h->epoch, "content",
			 h->all ? "whole vault" : "some secrets", "recipient",
			 h->recipient.kind == BACKUP_TO_PASSPHRASE ? "(passphrase)"
			 : h->recipient.name[0]                    ? h->recipient.name
								   : "(a key)",
			 "kek", kek, "signer", signer, "bytes", (json_int_t)size);
}

int cmd_backup_verify(struct cli *c, const struct args *a)
{
	const char *signer = args_value(a, "signer"), *path = a->operands[0];
	uint8_t fingerprint[DIGEST_LEN];
	struct backup_header header;
	char why[256] = "";
	uint64_t size = 0;
	json_t *object;
	int status = backup_prepare(), fd, r;

	if (status == EXIT_DONE && signer)
		status = backup_signer(signer, fingerprint);
	if (status == EXIT_DONE)
		status = backup_file_open(path, &fd);
	if (status)
		return status;
	const struct backup_source source = backup_file_source(&fd);
	r = backup_verify(&source, signer ? fingerprint : NULL, &header, &size, why, sizeof why);
	close(fd);
	if (r < 0)
		return fail(exit_for_errno(r), "%s: %s", path, *why ? why : strerror(-r));
	object = header_object(&header, size);
	status = object ? output_object(c, object) : fail(EXIT_ERROR, "not enough memory");
	json_decref(object);
	if (!signer)
		note("it is whole, and signed by the key that it names itself; give --signer to know that it is your "
		     "vault's");
	return status;
}

/* ---- recipients ---- */

int cmd_recipient_add(struct cli *c, const struct args *a)
{
	const char *path = args_value(a, "public-key");
	json_t *request = json_pack("{s:s}", "op", "recipient-add"), *answer = NULL;
	int status;

	if (!path) {
		json_decref(request);
		return fail(
			EXIT_USAGE,
			"--public-key FILE is missing: what coffer recipient keygen, or openssl pkey -pubout, wrote");
	}
	client_set(request, "name", a->operands[0]);
	status = request ? add_public_key(request, path) : fail(EXIT_ERROR, "not enough memory");
	if (status) {
		json_decref(request);
		return status;
	}
	status = client_change(c, request, NULL, 0, &answer);
	if (status == EXIT_DONE)
		printf("recipient %s added\n", a->operands[0]);
	json_decref(answer);
	return status;
}

int cmd_recipient_remove(struct cli *c, const struct args *a)
{
	json_t *answer = NULL;
	int status = client_change(c, json_pack("{s:s, s:s}", "op", "recipient-remove", "name", a->operands[0]), NULL,
				   0, &answer);

	if (status == EXIT_DONE)
		printf("recipient %s removed; backups that were made for it can still be opened with its key\n",
		       a->operands[0]);
	json_decref(answer);
	return status;
}

int cmd_recipient_list(struct cli *c, const struct args *a)
{
	static const struct column columns[] = {
		{ "NAME", "name" }, { "PUBLIC KEY", "public_key" }, { "CREATED", "created" }, { "BY", "created_by" }
	};
	json_t *answer = NULL;
	int status = client_ask(c, json_pack("{s:s}", "op", "recipients"), &answer);

	(void)a;
	if (status == EXIT_DONE)
		status = output_list(c, json_object_get(answer, "recipients"), columns, 4,
				     "nobody is registered; see: " COFFER " recipient add --help");
	json_decref(answer);
	return status;
}

int cmd_recipient_keygen(struct cli *c, const struct args *a)
{
	const char *path = a->operands[0];
	char *pem, public_pem[CURVE_PEM_MAX];
	uint8_t *private, public[CURVE_LEN];
	size_t len;
	int status = backup_prepare(), fd, r;

	(void)c;
	if (status)
		return status;
	private = secmem_alloc(CURVE_LEN);
	pem = secmem_alloc(CURVE_PEM_MAX);
	r = private && pem ? random_bytes(private, CURVE_LEN) : -ENOMEM;
	if (r == 0)
		r = x25519_public(private, public);
	if (r < 0) {
		status = fail(EXIT_ERROR, "the key cannot be made: %s", strerror(-r));
		goto out;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		status = fail(errno == EEXIST ? EXIT_CONFLICT : EXIT_ERROR, "%s: %s; nothing was written", path,
			      strerror(errno));
		goto out;
	}
	len = x25519_pem_print(private, true, pem);
	r = output_bytes(fd, pem, len);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	close(fd);
	x25519_pem_print(public, false, public_pem);
	if (r == 0 && (fputs(public_pem, stdout) < 0 || fflush(stdout) != 0))
		r = -errno;
	if (r < 0) {
		unlink(path);
		status = fail(EXIT_ERROR, "%s: %s; nothing was written", path, strerror(-r));
		goto out;
	}
	note("the private key is in %s: move it off this machine, and keep it as long as the backups", path);
out:
	secmem_free(pem, CURVE_PEM_MAX);
	secmem_free(private, CURVE_LEN);
	return status;
}
