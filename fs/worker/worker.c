#include "fs/worker/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "fs/serve/appear.h"
#include "fs/serve/changed.h"
#include "fs/common/clock.h"
#include "fs/serve/holds.h"
#include "fs/fuse/hot.h"
#include "fs/lifecycle/lifecycle.h"
#include "fs/common/log.h"
#include "fs/shared/mount_facts.h"
#include "fs/fuse/ops.h"
#include "fs/process/sandbox.h"
#include "fs/serve/seal.h"
#include "fs/serve/staging.h"
#include "fs/shared/test_hook.h"
#include "fs/worker/internal.h"
#include "store/keys/keys.h"
#include "store/objects/stages.h"
#include "store/store.h"

static volatile bool stopping;

static void on_term(int signal)
{
	(void)signal;
	stopping = true;
}

/* ---- what the rooms ask back ---- */

static int ctl_commit(void *arg) { return vault_commit(&((struct worker *)arg)->vault); }

static void ctl_changed(void *arg) { vault_changed(&((struct worker *)arg)->vault, RINGS_ALL); }

static void ctl_found(void *arg) { appear_wait_all(&((struct worker *)arg)->vault); }

static int ctl_program_user(void *arg, uint32_t *ret_user, char *why, size_t why_len)
{
	return lifecycle_default_user(((struct worker *)arg)->lifecycle, ret_user, why, why_len);
}

static int ctl_program_check(void *arg, const char *command, uint32_t user, char *why, size_t why_len)
{
	return lifecycle_check(((struct worker *)arg)->lifecycle, command, user, why, why_len);
}

static int ctl_program_value(void *arg, const struct rotation *rotation, const char *name, uint64_t unique,
			     struct secbuf **ret_value, char *why, size_t why_len)
{
	return lifecycle_value(((struct worker *)arg)->lifecycle, rotation, name, unique, ret_value, why, why_len);
}

static int ctl_seal(void *arg) { return vault_seal(&((struct worker *)arg)->vault); }

/* ---- set-up ---- */

/* The exit status for a vault that did not open. */
static int key_status(struct keys *keys, int r)
{
	char why[KEK_WHY_MAX];

	if (r == -EBADMSG)
		return 6;
	return keys_fault(keys, why, sizeof why) == -EKEYREJECTED ? 3 : 7;
}

/* migrate: only who is active may change the schema, and only after the one before has drained. */
static int open_store(struct worker *w, bool migrate)
{
	struct vault *v = &w->vault;
	char why[CONTROL_TEXT_MAX] = "";
	const struct store_config config = {
		.dir = v->shared->keeper.store,
		.conf = &w->conf,
		.stage_key = v->shared->stage_key,
		.cipher_cache = v->options->cipher_cache,
		.migrate = migrate,
		.boot = v->shared->keeper.boot,
	};
	w->index = atomic_load(&v->shared->keeper.indexes);
	int r = store_open(&config, &v->store, why, sizeof why);
	w->store_is_old = r == -ESTALE;
	if (w->store_is_old)
		return 0;
	if (r)
		return worker_fatal(w, r == -EBADMSG ? 6 : 1, "%s", why[0] ? why : strerror(-r));
	r = vault_unlock(v, why, sizeof why);
	if (r == -ENOKEY)
		log_warn("the vault is sealed; coffer unseal opens it");
	/* callers wait: they get their error, and not nothing */
	else if (r == -ETIMEDOUT && !v->shared->keeper.fresh)
		log_warn("%s; it is asked again", why);
	else if (r)
		return worker_fatal(w, key_status(v->keys, r), "%s", why[0] ? why : strerror(-r));
	return 0;
}

static int open_rest(struct worker *w)
{
	struct vault *v = &w->vault;
	struct callers_config callers = { .proc_fd = role_fd(w->args, "proc"),
					  .resolver_fd = role_fd(w->args, "resolver") };

	v->bell_fd = role_fd(w->args, "bell");
	v->proc_fd = role_fd(w->args, "proc");
	v->stackable = mount_can_be_stacked_on(&v->shared->init);
	v->fuse_fd = role_fd(w->args, "fuse");
	pthread_mutex_init(&v->buffers.lock, NULL);
	pthread_mutex_init(&v->told.lock, NULL);
	pthread_mutex_init(&v->staged.lock, NULL);
	pthread_mutex_init(&v->emptying.lock, NULL);
	pthread_mutex_init(&v->temps_lock, NULL);
	v->openers = calloc(HANDLES_MAX, sizeof *v->openers);
	int r = v->openers ? accounts_new(vault_wake_lifecycle, v, &v->accounts) : -ENOMEM;
	callers.accounts = v->accounts;
	if (!r)
		r = callers_new(&callers, &v->callers);
	w->linger_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!r && (w->linger_fd < 0 || pipe(w->wake)))
		r = -errno;
	if (!r)
		r = plain_pool_new(v->options->plain_pool, w->linger_fd, &v->plain);
	if (!r)
		r = answers_new(&v->answers);
	if (!r)
		r = backups_new(&v->backups);
	if (r)
		return worker_fatal(w, 1, "set-up: %s", strerror(-r));
	const struct session_config config = {
		.fuse_fd = role_fd(w->args, "fuse"),
		.shared = v->shared,
		.ops = ops_table(),
		.hot = hot_handle,
		.neighbour = hot_neighbour,
		.container = hot_container,
		.known = hot_known,
		.bell = hot_bell,
		.userdata = v,
		.given_up = worker_given_up,
		.lost = worker_lost,
		.stop = &stopping,
	};
	r = session_new(&config, &w->session);
	if (r)
		return worker_fatal(w, 1, "libfuse does not take the connection as the keeper opened it: %s",
				    strerror(-r));
	return 0;
}

/* All that can be done while another worker is active: nothing here writes to the log, the store or the shared memory.
 */
static int prepare(struct worker *w)
{
	char why[CONTROL_TEXT_MAX] = "";
	int r = vaultconf_read(role_fd(w->args, "store"), &w->conf, why, sizeof why);
	if (r)
		return worker_fatal(w, 6, "%s", why);
	r = keys_new_socket(role_fd(w->args, "keys"), &w->vault.keys);
	if (r)
		return worker_fatal(w, 1, "key holder: %s", strerror(-r));
	r = open_store(w, false);
	if (!r)
		r = open_rest(w);
	if (!r)
		callers_follow(w->vault.callers, CALLERS_FIRST_MS);
	const struct control_message prepared = { .type = CONTROL_PREPARED };
	return r ? r : control_send(w->vault.control_fd, &prepared, -1);
}

/* A worker that was left behind keeps its locks of the database's index; the keeper puts that index aside. */
static int use_new_index(struct worker *w)
{
	const uint32_t now = atomic_load(&w->vault.shared->keeper.indexes);

	if (now == w->index)
		return 0;
	w->index = now;
	return store_reopen(w->vault.store);
}

static int follow(struct worker *w)
{
	struct vault *v = &w->vault;
	char why[CONTROL_TEXT_MAX] = "";

	if (w->store_is_old)
		return 0;
	int r = use_new_index(w);
	if (r)
		return worker_fatal(w, 1, "the database cannot be opened anew: %s", strerror(-r));
	r = vault_stand_by(v);
	if (r == -EBADMSG)
		return worker_fatal(w, 6, "rows in the store are not authentic; coffer fsck %s says which",
				    v->shared->keeper.store);
	if ((keys_state_changed(v->keys) || v->keys_silent) && store_sealed(v->store) && !v->unlock_failed)
		vault_unlock(v, why, sizeof why);
	return 0;
}

/* Until the keeper says that nobody else acts. The keeper alone decides: that a process is dead is not for us to find
 * out. */
static int stand_by(struct worker *w)
{
	struct control_message m;

	for (;;) {
		struct pollfd p[] = { { .fd = w->vault.control_fd, .events = POLLIN },
				      { .fd = keys_fd(w->vault.keys), .events = POLLIN } };
		poll(p, 2, TICK_MS);
		if (stopping)
			return -ECANCELED;
		if (p[0].revents) {
			int r = control_receive(w->vault.control_fd, &m, &w->segment_fd, 0);
			if (r != -ETIMEDOUT) {
				w->segment = r ? 0 : m.number;
				return r ? r : m.type == CONTROL_ACTIVATE ? 0 : -EPROTO;
			}
		}
		int r = follow(w);
		if (r)
			return r;
		heap_give_back(&w->heap, clock_ms());
		callers_follow(w->vault.callers, CALLERS_FOLLOW_MS);
	}
}

/* What is left in the stages is of a daemon that is gone, and its key with it; or of a worker that is. */
static void take_over_stages(struct vault *v)
{
	if (v->shared->keeper.fresh)
		store_stages_clear(v->store);
	else
		staging_recover(v);
}

/* What the operations of ctl work on, and what they ask back. */
static void set_ctl(struct worker *w)
{
	struct vault *v = &w->vault;

	v->ctl = (struct ctl_env){
		.store = v->store,
		.audit = v->audit,
		.keys = v->keys,
		.shared = v->shared,
		.vault = w->conf.name,
		.handles = v->handles,
		.callers = v->callers,
		.backups = v->backups,
		.cell = sandbox_state(),
		.proc_fd = role_fd(w->args, "proc"),
		.commit = ctl_commit,
		.changed = ctl_changed,
		.found = ctl_found,
		.seal = ctl_seal,
		.program_user = ctl_program_user,
		.program_check = ctl_program_check,
		.program_value = ctl_program_value,
		.arg = w,
	};
}

/* From here on this is the one worker that acts. Callers wait: nothing in here takes longer with more secrets. */
static int activate(struct worker *w)
{
	struct vault *v = &w->vault;
	const bool fresh = v->shared->keeper.fresh;
	TEST_POINT("before", 0);
	int r = worker_open_log(w);
	if (!r && w->store_is_old) {
		v->active = true;
		r = open_store(w, true);
	}
	if (!r)
		r = follow(w);
	if (r)
		return r;
	r = handles_new(&v->shared->handles, &v->handles);
	if (r)
		return worker_fatal(w, 1, "open files: %s", strerror(-r));
	r = temps_new(&v->shared->temps, v->handles, &v->temps);
	if (r)
		return worker_fatal(w, 1, "temporary files: %s", strerror(-r));
	set_ctl(w);
	vault_take_over(v);
	take_over_stages(v);
	r = drops_new(v->fuse_fd, v->handles, &v->drops);
	if (!r)
		r = holds_new(v, &v->holds);
	if (!r)
		r = appear_new(v, ops_answers(), fresh, &v->appear);
	if (r)
		return worker_fatal(w, 1, "thread: %s", strerror(-r));
	drops_all(v->drops); /* a page that the worker before us brought to the kernel may be there still */
	vault_ring_missed(v);
	const struct audit_event e = { .operation = fresh ? AUDIT_VAULT_START : AUDIT_WORKER_START,
				       .result = AUDIT_ALLOW,
				       .privileged = true };
	if (audit_append(v->audit, &e, NULL))
		log_error("the log cannot be written: every open is refused until it can");
	v->shared->keeper.fresh = 0;
	r = worker_start_ticks(w);
	if (r)
		return worker_fatal(w, 1, "thread: %s", strerror(-r));
	r = lifecycle_start(v, role_fd(w->args, "runner"), &w->lifecycle);
	if (r)
		return worker_fatal(w, 1, "rotation and hooks: %s", strerror(-r));
	const struct control_message ready = { .type = CONTROL_READY };
	return control_send(v->control_fd, &ready, -1);
}

static void tear_down(struct worker *w)
{
	struct vault *v = &w->vault;
	worker_stop_ticks(w);
	lifecycle_stop(w->lifecycle);
	drops_stop(v->drops);
	session_end(w->session);
	lifecycle_free(w->lifecycle);
	appear_free(v->appear);
	holds_free(v->holds);
	/* A thread of it may wait for a page whose READ is for the next worker to answer. What it writes to stays open
	 * then, so that the keeper sees what it is at, and what it comes back to stays, too. */
	const bool dropped = drops_free(v->drops);
	if (dropped)
		session_free(w->session);
	if (v->audit && (stopping || w->unmounted) && v->shared->keeper.ending) {
		const struct audit_event e = { .operation = AUDIT_VAULT_STOP,
					       .result = AUDIT_ALLOW,
					       .privileged = true };
		audit_append(v->audit, &e, NULL);
	}
	shares_free(v->buffers.shares);
	shares_free(v->staged.shares);
	answers_free(v->answers);
	backups_free(v->backups);
	plain_pool_free(v->plain);
	temps_free(v->temps);
	if (dropped)
		handles_free(v->handles);
	callers_free(v->callers);
	accounts_free(v->accounts);
	store_close(v->store);
	audit_close(v->audit);
	keys_free(v->keys);
	free(v->openers);
}

int worker_run(const struct role_args *args)
{
	static struct worker worker;
	struct worker *w = &worker;
	struct sigaction term = { .sa_handler = on_term }; /* no SA_RESTART: it ends the read of /dev/fuse */

	heap_share();
	w->args = args;
	w->segment_fd = -1;
	w->vault.control_fd = role_fd(args, "control");
	pthread_mutex_init(&w->control_lock, NULL);
	sigaction(SIGTERM, &term, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN); /* of a terminal: the keeper decides */
#ifdef COFFER_TEST_HOOKS
	test_hook_open();
#endif
	int r = worker_enter(w);
	if (!r)
		r = prepare(w);
	if (!r)
		r = stand_by(w);
	if (!r)
		r = activate(w);
	if (!r) {
		appear_look(&w->vault); /* only now: the bell can make no name while nobody answers it */
		r = session_run(w->session);
		w->unmounted = !r;
	}
	if (r)
		log_error("worker ends: %s", strerror(-r));
	tear_down(w);
	return r ? 1 : 0;
}
