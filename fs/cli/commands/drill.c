/* coffer backup drill: is this backup one that a vault could be made of again? It is restored into a scratch vault,
 * under a key that nobody keeps, every value of which is then opened; what came is compared with what the backup says;
 * and the scratch vault is destroyed. The vault that is mounted keeps the date. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/cli/commands/backup.h"
#include "fs/cli/common/client.h"
#include "fs/cli/common/janitor.h"
#include "fs/common/timefmt.h"
#include "policy/principal.h"
#include "store/backup/restore.h"
#include "store/core/rules_table.h"
#include "store/core/transaction.h"
#include "store/keys/envelope.h"
#include "store/keys/kek_provider.h"
#include "store/keys/keys.h"
#include "store/keys/transport.h"
#include "store/store.h"
#include "fs/cli/commands/commands.h"

struct scratch {
	struct janitor janitor; /* of the directory, which goes also when the drill is killed */
	struct vaultconf conf;
	struct keys *keys;
	struct store *store;
};

static void scratch_end(struct scratch *s)
{
	store_close(s->store);
	keys_free(s->keys);
	janitor_close(&s->janitor);
}

/* A KEK of a passphrase that is random and never leaves this function: no file has it. */
static int scratch_keys(struct scratch *s, char *why, size_t why_len)
{
	struct wrap_context ctx = { .type = WRAP_VAULT_KEY };
	struct kek_source source = { .uri = "passphrase:?ln=15", .fd = -1, .passphrase_len = 2 * KEY_LEN };
	struct kek *kek = NULL;
	uint8_t *secret = secmem_alloc(2 * KEY_LEN);
	int r = secret ? random_bytes(secret, 2 * KEY_LEN) : -ENOMEM;

	source.passphrase = secret;
	if (r == 0)
		r = random_bytes(s->conf.id, sizeof s->conf.id);
	if (r == 0)
		r = kek_create(&source, s->conf.kek_params, &kek, why, why_len);
	if (r == 0) {
		r = keys_new_local(kek, &s->keys);
		if (r < 0)
			kek_close(kek);
	}
	memcpy(ctx.vault, s->conf.id, sizeof ctx.vault);
	if (r == 0)
		r = keys_wrap_new(s->keys, &ctx, secret, s->conf.vault_record, &s->conf.vault_record_len);
	secmem_free(secret, 2 * KEY_LEN);
	return r;
}

static int scratch_begin(struct scratch *s, char *why, size_t why_len)
{
	const struct store_settings settings = { .retention_days = 90, .value_max = VALUE_MAX };
	const struct principal nobody = { .n = 1, .conditions = { { PRINCIPAL_USER, UINT32_MAX - 1 } } };
	struct store_config config = { .dir = s->janitor.dir, .conf = &s->conf };
	const char *tmp = getenv("TMPDIR");
	char template[PATH_MAX];
	int r;

	snprintf(template, sizeof template, "%s/coffer-drill-XXXXXX", tmp && *tmp ? tmp : "/var/tmp");
	r = janitor_open(template, false, &s->janitor);
	if (r < 0) {
		snprintf(why, why_len, "no scratch vault can be made in %s: %s; name another directory with TMPDIR",
			 tmp && *tmp ? tmp : "/var/tmp", strerror(-r));
		return r;
	}
	snprintf(s->conf.name, sizeof s->conf.name, "drill");
	snprintf(s->conf.kek, sizeof s->conf.kek, "passphrase:");
	r = scratch_keys(s, why, why_len);
	if (r == 0)
		r = store_create(s->janitor.dir, &s->conf, s->keys, &settings, &nobody, 1, getuid(), getgid(), why,
				 why_len);
	if (r == 0)
		r = store_open(&config, &s->store, why, why_len);
	return r < 0 ? r : store_unlock(s->store, s->keys, why, why_len);
}

static void show_progress(uint64_t done, uint64_t size, void *arg)
{
	(void)size;
	(void)arg;
	backup_progress("bytes restored:", done, false);
}

static int scratch_restore(struct scratch *s, int *fd, const uint8_t file_key[KEY_LEN],
			   const uint8_t signer[DIGEST_LEN], struct restore_counts *ret_counts, char *why,
			   size_t why_len)
{
	uint8_t holder[CURVE_LEN], box[BOX_LEN];
	const struct restore_options options = {
		.box = box, .signer = signer, .grants = true, .progress = show_progress
	};
	const struct backup_source source = backup_file_source(fd);
	struct backup_header header;
	int r = keys_restore_key(s->keys, holder);

	if (r == 0)
		r = box_seal(box_label_holder, holder, file_key, box);
	if (r == 0)
		r = store_begin(s->store);
	if (r < 0)
		return r;
	r = store_restore(s->store, &source, &options, &header, ret_counts, why, why_len);
	if (r == 0)
		return store_commit(s->store);
	store_rollback(s->store);
	return r;
}

static void report(const char *line, void *arg)
{
	(void)arg;
	note("%s", line);
}

/* What lies in the scratch vault is what the restore says it put there; and every value opens. */
static int scratch_check(struct scratch *s, const struct restore_counts *n, char *why, size_t why_len)
{
	struct store_counts there;
	size_t rotations, hooks;
	int r = store_fsck(s->store, s->keys, true, report, NULL);

	if (r == -EBADMSG)
		snprintf(why, why_len, "what was restored is not whole");
	if (r < 0)
		return r;
	store_rdlock(s->store);
	store_counts(s->store, &there);
	rotations = store_rules(s->store)->n_rotations;
	hooks = store_rules(s->store)->n_hooks;
	store_unlock_tables(s->store);
	if (there.secrets + there.deleted == n->secrets && there.deleted == n->deleted &&
	    there.versions == n->versions && rotations == n->rotations && hooks == n->hooks)
		return 0;
	snprintf(why, why_len,
		 "%" PRIu64 " secrets with %" PRIu64 " versions, %" PRIu64
		 " policies and hooks were restored, and %u with %u, and %zu, are there",
		 n->secrets, n->versions, n->rotations + n->hooks, there.secrets + there.deleted, there.versions,
		 rotations + hooks);
	return -EBADMSG;
}

/* The fingerprint that the mounted vault shows, for whom none was given. */
static int mounted_signer(struct cli *c, uint8_t ret_fingerprint[DIGEST_LEN])
{
	json_t *answer = NULL;
	const char *signer;
	int status = client_ask(c, json_pack("{s:s}", "op", "status"), &answer);

	if (status)
		return status;
	signer = json_string_value(json_object_get(answer, "signer"));
	status = signer ? backup_signer(signer, ret_fingerprint)
			: fail(EXIT_USAGE, "the mounted vault has signed nothing yet; name the signer with --signer");
	json_decref(answer);
	return status;
}

static int keep_date(struct cli *c, const struct backup_header *h, const struct restore_counts *n)
{
	char vault[33], when[TIME_TEXT_MAX];
	json_t *answer = NULL;
	int status;

	backup_hex(h->vault, sizeof h->vault, vault);
	time_print(h->created, when);
	status = client_change(c,
			       json_pack("{s:s, s:s, s:s, s:I, s:I}", "op", "drill", "vault", vault, "created", when,
					 "secrets", (json_int_t)n->secrets, "versions", (json_int_t)n->versions),
			       NULL, 0, &answer);
	json_decref(answer);
	return status;
}

static int run_drill(const struct backup_key *key, int *fd, const uint8_t signer[DIGEST_LEN],
		     struct backup_header *ret_header, struct restore_counts *ret_counts)
{
	struct scratch s = { .janitor.alive = -1 };
	char why[512] = "";
	uint8_t *file_key = secmem_alloc(KEY_LEN);
	int status = file_key ? backup_read_header(*fd, ret_header) : fail(EXIT_ERROR, "no locked memory left"), r;

	if (status == EXIT_DONE)
		status = backup_key_use(key, ret_header, file_key);
	if (status)
		goto out;
	r = scratch_begin(&s, why, sizeof why);
	if (r == 0)
		r = scratch_restore(&s, fd, file_key, signer, ret_counts, why, sizeof why);
	if (r == 0)
		r = scratch_check(&s, ret_counts, why, sizeof why);
	backup_progress("bytes restored:", (uint64_t)lseek(*fd, 0, SEEK_END), true);
	if (r < 0)
		status = fail(exit_for_errno(r), "the drill failed: %s", *why ? why : strerror(-r));
out:
	scratch_end(&s);
	secmem_free(file_key, KEY_LEN);
	return status;
}

int cmd_backup_drill(struct cli *c, const struct args *a)
{
	const char *signer = args_value(a, "signer"), *path = a->operands[0];
	struct backup_header header;
	struct restore_counts counts;
	struct backup_key key = { .fd = -1 };
	uint8_t fingerprint[DIGEST_LEN];
	int fd = -1, status = backup_prepare();

	if (status == EXIT_DONE)
		status = signer ? backup_signer(signer, fingerprint) : mounted_signer(c, fingerprint);
	if (status == EXIT_DONE)
		status = backup_key_open(a, &key);
	if (status)
		goto out;
	status = backup_file_open(path, &fd);
	if (status == EXIT_DONE)
		status = run_drill(&key, &fd, fingerprint, &header, &counts);
	if (status)
		goto out;
	printf("%s is good: %" PRIu64 " secrets with %" PRIu64
	       " versions were restored into a scratch vault and opened\n",
	       path, counts.secrets, counts.versions);
	if (!args_has(a, "no-record"))
		status = keep_date(c, &header, &counts);
out:
	backup_key_close(&key);
	if (fd >= 0)
		close(fd);
	return status;
}
