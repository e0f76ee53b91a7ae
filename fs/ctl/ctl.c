#include "fs/ctl/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/common/clock.h"
#include "fs/ctl/internal.h"
#include "fs/shared/shared.h"
#include "policy/scope.h"
#include "store/core/requests.h"
#include "store/core/transaction.h"
#include "store/objects/stages.h"

/* How a request goes:
 *
 *   parse      JSON, the operation, its fields by table
 *   check      the fields' values; until here nobody was asked and nothing is recorded: a flood of nonsense must not
 *              fill the log
 *   ask        the policy; a denial is recorded and answered with the command that would lift it
 *   load       what blocks on the key holder, so that a transaction need not
 *   run        reads: fill the answer, record, reply changes: begin, ask again (what was allowed before the wait for
 *              the lock may have been revoked), look for the id's first answer, change, keep the answer, record,
 *              commit. The record comes before the commit: what happened is in the log, what is in the log but failed
 *              is followed by a second record that says so. */

/* ---- the record ---- */

/* Records a failure, if the policy was asked: by then it is known who may cause how many of them. The answer stays what
 * it is, unless the log fails. */
static void record_failure(struct ctl *c, bool again)
{
	int error = c->error;

	if (!c->asked || c->unrecorded)
		return;
	if (c->denied && c->env->shared)
		atomic_fetch_add(&c->env->shared->denials, 1);
	if (!c->detail[0])
		snprintf(c->detail, sizeof(c->detail), "%s", c->message);
	ctl_record(c, c->denied ? AUDIT_DENY : AUDIT_ERROR, error, again);
}

/* ---- changes ---- */

#define DIGEST_CHUNK 65536

/* A chain of SHA-256 over the staged value: each link covers the one before and the next chunk, so that the value never
 * needs to be in one piece. */
static int value_digest(struct ctl *c, uint8_t ret[DIGEST_LEN])
{
	struct secbuf *chunk = NULL;
	uint8_t digest[DIGEST_LEN] = { 0 };
	uint64_t at = 0;
	size_t n = 0;
	int r = 0;

	if (c->request->stage && c->request->value_len)
		r = secbuf_new(DIGEST_CHUNK, &chunk);
	while (r == 0 && chunk && at < c->request->value_len) {
		r = store_stage_read(c->env->store, c->request->stage, at, secbuf_data(chunk), DIGEST_CHUNK, &n);
		if (r == 0 && n == 0)
			r = -EIO;
		if (r < 0)
			break;
		r = sha256((const struct bytes[]){ { digest, sizeof(digest) }, { secbuf_cdata(chunk), n } }, 2, digest);
		at += n;
	}
	secbuf_free(chunk);
	if (r < 0)
		return r;
	memcpy(ret, digest, sizeof(digest));
	return 0;
}

static int request_digest(struct ctl *c, uint8_t ret[DIGEST_LEN])
{
	uint8_t value[DIGEST_LEN];
	uint64_t len = c->request->value_len;
	int r = value_digest(c, value);

	if (r < 0)
		return r;
	return sha256((const struct bytes[]){ { c->request->line, c->request->len },
					      { &len, sizeof(len) },
					      { value, sizeof(value) } },
		      3, ret);
}

static struct request_key request_key(const struct ctl *c)
{
	struct request_key key = { .uid = c->who->uid, .user_ns = c->who->user_ns, .neighbour = c->who->neighbour };

	memcpy(key.id, c->id, sizeof(key.id));
	return key;
}

/* The first answer under this id. 1: *ret_answer; 0: there is none. */
static int first_answer(struct ctl *c, const uint8_t digest[DIGEST_LEN], char **ret_answer, size_t *ret_len)
{
	struct request_key key = request_key(c);
	int r = store_request_find(c->env->store, &key, digest, ret_answer);

	if (r == 0) {
		*ret_len = strlen(*ret_answer);
		return 1;
	}
	if (r == -ENOENT)
		return 0;
	if (r == -EEXIST) {
		ctl_hint(c, "make a new random id for each request");
		return ctl_fail(c, EEXIST, "id: another request was made under this id");
	}
	return ctl_fail_store(c, r, "look for an earlier answer");
}

/* In the transaction: everything up to the commit. 1: the answer is that of the first time, nothing was done. */
static int change_in_transaction(struct ctl *c, const uint8_t digest[DIGEST_LEN], char **ret_answer, size_t *ret_len)
{
	struct request_key key = request_key(c);
	int r;

	if (c->op->ask && (r = c->op->ask(c)) < 0)
		return r;
	r = first_answer(c, digest, ret_answer, ret_len);
	if (r != 0)
		return r;
	r = c->op->run(c);
	if (r < 0)
		return r;
	if (c->hint[0])
		ctl_set(c, "hint", json_string(c->hint));
	if (c->short_of_memory || (r = ctl_render(c->out, c->text, c->text_len, ret_answer, ret_len)) < 0)
		return ctl_fail_store(c, -ENOMEM, "answer");
	if (*ret_len >= REQUEST_ANSWER_MAX)
		return ctl_fail(c, E2BIG, "the answer would be too long: ask for less at a time");
	r = store_request_put(c->env->store, &key, digest, *ret_answer);
	if (r < 0)
		return ctl_fail_store(c, r, "keep the answer");
	return 0;
}

/* What follows the commit. Whoever finds the first answer does it too: it can be lost with the worker that committed,
 * and does no harm twice. */
static int follow(struct ctl *c)
{
	int r = c->op->after ? c->op->after(c) : 0;

	if (r < 0) {
		c->detail[0] = '\0';
		record_failure(c, true);
		c->unrecorded = true;
	}
	return r;
}

/* 1: the answer is that of the first time. */
static int change_once(struct ctl *c, const uint8_t digest[DIGEST_LEN], char **ret_answer, size_t *ret_len)
{
	int r;

	if (c->op->load && (r = c->op->load(c)) < 0)
		return r;
	r = c->role == ROLE_ADMINISTRATOR ? store_begin_privileged(c->env->store) : store_begin(c->env->store);
	if (r < 0)
		return ctl_fail_store(c, r, "begin a change");
	r = change_in_transaction(c, digest, ret_answer, ret_len);
	if (r != 0) {
		store_rollback(c->env->store);
		return r;
	}
	r = c->op->record ? c->op->record(c) : ctl_record(c, AUDIT_ALLOW, 0, false);
	if (r < 0) {
		store_rollback(c->env->store);
		c->unrecorded = true;
		return r;
	}
	r = c->env->commit ? c->env->commit(c->env->arg) : store_commit(c->env->store);
	if (r < 0) {
		ctl_fail_store(c, r, "commit");
		c->detail[0] = '\0';
		record_failure(c, true);
		c->unrecorded = true;
	}
	return r;
}

static int change(struct ctl *c, char **ret_answer, size_t *ret_len)
{
	uint8_t digest[DIGEST_LEN];
	char *answer = NULL;
	size_t len = 0;
	int r;

	r = request_digest(c, digest);
	if (r < 0)
		return ctl_fail_store(c, r, "read the request");
	r = first_answer(c, digest, &answer, &len);
	if (r == 0)
		r = change_once(c, digest, &answer, &len);
	const bool committed = r == 0;
	if (r >= 0)
		r = follow(c);
	if (committed && c->env->changed)
		c->env->changed(c->env->arg);
	if (r >= 0 && !committed && c->env->found)
		c->env->found(c->env->arg);
	if (r < 0) {
		free(answer);
		return r;
	}
	*ret_answer = answer;
	*ret_len = len;
	return 0;
}

/* A request that is sent again, for a worker died on it. What that one did can have taken away the right to do it: it
 * was allowed, and is recorded, and its caller is to hear so. */
static bool was_done(struct ctl *c)
{
	struct request_key key = request_key(c);
	uint8_t digest[DIGEST_LEN];
	char *answer;

	if (!c->op->changes || !c->request->resent || request_digest(c, digest) < 0 ||
	    store_request_find(c->env->store, &key, digest, &answer) < 0)
		return false;
	free(answer);
	ctl_forgive(c);
	return true;
}

/* ---- the whole ---- */

/* Bytes after the line, as a request has them. */
static int append_raw(struct ctl *c, char **answer, size_t *len)
{
	char *grown;

	if (!c->raw)
		return 0;
	grown = realloc(*answer, *len + c->raw_len);
	if (!grown) {
		free(*answer);
		return -ENOMEM;
	}
	memcpy(grown + *len, c->raw, c->raw_len);
	*answer = grown;
	*len += c->raw_len;
	return 0;
}

static int look(struct ctl *c, char **ret_answer, size_t *ret_len)
{
	int r = c->op->run(c);

	if (r < 0)
		return r;
	if (c->asked && !c->unrecorded && (r = ctl_record(c, AUDIT_ALLOW, 0, false)) < 0) {
		c->unrecorded = true;
		return r;
	}
	if (c->hint[0])
		ctl_set(c, "hint", json_string(c->hint));
	if (c->short_of_memory || ctl_render(c->out, c->text, c->text_len, ret_answer, ret_len) < 0 ||
	    append_raw(c, ret_answer, ret_len) < 0)
		return ctl_fail_store(c, -ENOMEM, "answer");
	return 0;
}

/* A sealed vault knows no policy. Sealing it again does nothing, so whoever lost the answer may have it; that it is
 * sealed is no secret. */
static int sealed(struct ctl *c, char **ret_answer, size_t *ret_len)
{
	if (c->op->operation == AUDIT_VAULT_SEAL)
		return look(c, ret_answer, ret_len);
	c->asked = true;
	c->secret = c->args.name ? c->args.name : c->args.scope;
	return ctl_fail_store(c, -ENOKEY, "%s", c->op->name);
}

static int execute(struct ctl *c, char **ret_answer, size_t *ret_len)
{
	int r = ctl_check_line(c);

	if (r < 0)
		return r;
	/* a sealed vault takes no bytes either: that it is sealed is the better word */
	if (!c->op->while_sealed && store_sealed(c->env->store))
		return sealed(c, ret_answer, ret_len);
	if (c->op->changes && !c->op->while_read_only && c->env->shared &&
	    atomic_load(&c->env->shared->keeper.read_only)) {
		ctl_hint(c, "as root: cofferd %.1024s %.1024s -o remount,rw", c->env->shared->keeper.store,
			 c->env->shared->keeper.mount);
		return ctl_fail(c, EROFS, "the vault is mounted read-only (-o ro), so nothing is changed");
	}
	if (c->request->value_error == -EFBIG)
		return ctl_fail_large(c);
	if (c->request->value_error)
		return ctl_fail_store(c, c->request->value_error, "take the value");
	if (c->request->refused) {
		if (c->op->ask && (r = c->op->ask(c)) < 0)
			return r;
		return ctl_fail(c, EAGAIN, "your rights changed while the value was on its way; send it again");
	}
	if (c->request->value_len != c->args.value_length || (c->request->value_len && !c->request->stage))
		return ctl_fail(c, EINVAL, "value_length: %llu bytes were announced and %llu came",
				(unsigned long long)c->args.value_length, (unsigned long long)c->request->value_len);
	if (c->op->ask && (r = c->op->ask(c)) < 0 && !was_done(c))
		return r;
	return c->op->changes ? change(c, ret_answer, ret_len) : look(c, ret_answer, ret_len);
}

void ctl_done(struct ctl *c)
{
	json_decref(c->in);
	json_decref(c->out);
	json_decref(c->begun);
	free(c->text);
	free(c->ids);
	free(c->raw);
	free(c->set);
	secbuf_free(c->value);
}

int ctl_execute(const struct ctl_env *env, const struct identity *who, const struct ctl_request *request,
		char **ret_answer, size_t *ret_len)
{
	struct ctl c = { .env = env, .who = who, .request = request, .now = time_now(), .started = clock_monotonic() };
	int r = -ENOMEM;

	c.out = json_pack("{s:b}", "ok", 1);
	if (c.out) {
		r = execute(&c, ret_answer, ret_len);
		if (r < 0) {
			record_failure(&c, false);
			r = ctl_render_error(c.error, c.message, c.hint, ret_answer, ret_len);
		}
	}
	ctl_done(&c);
	return r < 0 ? r : 0;
}
