#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/common/log.h"
#include "fs/fuse/session.h"
#include "fs/serve/appear.h"
#include "fs/serve/removal.h"
#include "fs/serve/ring.h"
#include "fs/serve/seal.h"
#include "fs/serve/temporary.h"
#include "fs/worker/internal.h"
#include "store/core/acts.h"
#include "store/core/transaction.h"
#include "store/keys/keys.h"
#include "store/lifecycle/events.h"
#include "store/store.h"

/* plaintext that nobody read for this long is wiped, though somebody has it open */
#define IDLE_MS 1000

/* Acts of offline commands that their processes could not log, for the log was ours. */
static int log_pending(uint64_t id, const char *act, void *arg)
{
	struct vault *v = arg;
	static const char restored[] = "{\"operation\":\"SecretRestore\"";
	const struct audit_event e = {
		.operation = strncmp(act, restored, sizeof restored - 1) == 0 ? AUDIT_SECRET_RESTORE
									      : AUDIT_BREAK_GLASS,
		.result = AUDIT_ALLOW,
		.detail = act,
		.privileged = true,
	};
	int r = audit_append(v->audit, &e, NULL);
	return r ? r : store_pending_act_done(v->store, id);
}

static void try_unlock(struct vault *v)
{
	char why[256] = "";
	int r = vault_unlock(v, why, sizeof why);
	if (r && r != -ENOKEY && r != -ETIMEDOUT)
		log_error("the vault stays sealed: %s", why[0] ? why : strerror(-r));
	else if (!r)
		log_info("the vault is open");
}

/* That somebody removes parts of the log is told to whoever listens, too. A sealed vault keeps it until it is opened.
 */
static void tell_tampering(struct vault *v)
{
	char detail[EVENT_DETAIL_MAX];
	const struct event e = { .kind = EVENT_AUDIT_TAMPERED, .name = "*", .detail = detail };

	if (!audit_tampering(v->audit, detail, sizeof detail) || store_sealed(v->store) ||
	    store_begin_privileged(v->store) < 0)
		return;
	int r = store_event_add(v->store, &e);
	if (r < 0)
		store_rollback(v->store);
	else
		r = store_commit(v->store);
	if (r < 0)
		return;
	log_error("the files of the audit log were tampered with: %s; coffer audit verify %s tells what is left",
		  detail, v->shared->keeper.store);
	audit_tampering_told(v->audit);
	vault_events_told(v);
}

static void tick(struct worker *w)
{
	struct vault *v = &w->vault;

	const bool changed = keys_state_changed(v->keys);
	char why[CONTROL_TEXT_MAX];
	if (changed && keys_fault(v->keys, why, sizeof why))
		log_error("the key holder is gone: %s", why);
	if ((changed || v->keys_silent) && store_sealed(v->store) && !v->unlock_failed)
		try_unlock(v);
	/* not before: to verify a large store may take longer than anything else */
	v->shared->tick_began = clock_coarse_ms();
	const uint64_t epoch = store_epoch(v->store);
	int r = store_follow(v->store, vault_ring_current, v);
	if (!r)
		vault_told(v, epoch);
	appear_look(v);
	if (r == -EBADMSG) {
		log_error("rows in the store are not authentic: sealing; coffer fsck %s says which",
			  v->shared->keeper.store);
		vault_seal(v);
		v->unlock_failed = true;
	}
	/* A restore has the store for as long as it takes, and what was read must be wiped meanwhile: what needs a
	 * transaction waits for a tick after it. */
	const bool busy = r == -ETIMEDOUT;
	if (!busy && !store_sealed(v->store))
		store_pending_acts(v->store, log_pending, v);
	if (vault_events_new(v)) /* of other processes */
		vault_events_told(v);
	if (!busy && !vault_read_only(v)) {
		removal_tick(v);
		temporary_tick(v);
	}
	if (!busy)
		tell_tampering(v);
	space_look(&v->space, v->shared->keeper.store);
	backups_expire(v->backups);
	log_limits_end();
	heap_give_back(&w->heap, clock_ms());
	callers_follow(v->callers, CALLERS_FOLLOW_MS);
	v->shared->tick_began = 0;
}

static int sooner(int a, int b) { return b >= 0 && b < a ? b : a; }

/* What the log has counted is in its file within a second: so nothing that waits for the store, or for the key holder,
 * stands before it. */
static void *log_ticker(void *arg)
{
	struct worker *w = arg;
	struct pollfd p = { .fd = w->wake[0], .events = POLLIN };

	while (poll(&p, 1, TICK_MS) <= 0) {
		audit_tick(w->vault.audit);
		vault_ring_log(&w->vault);
	}
	return NULL;
}

static void *ticker(void *arg)
{
	struct worker *w = arg;
	int wait = TICK_MS;
	int64_t due = clock_ms() + TICK_MS;
	uint64_t count;

	for (;;) {
		struct pollfd p[] = {
			{ .fd = w->wake[0], .events = POLLIN },
			{ .fd = keys_fd(w->vault.keys), .events = POLLIN },
			{ .fd = w->linger_fd, .events = POLLIN },
		};
		poll(p, 3, wait);
		if (p[0].revents)
			break;
		if (p[2].revents)
			(void)!read(w->linger_fd, &count, sizeof count);
		if (p[1].revents || clock_ms() >= due) {
			tick(w);
			due = clock_ms() + TICK_MS;
		}
		int64_t left = due - clock_ms();
		wait = sooner(left > 0 ? (int)left : 0, session_send_delayed(w->session));
		if (plain_expire(w->vault.plain, IDLE_MS))
			wait = sooner(wait, PLAIN_LINGER_MS / 2);
	}
	return NULL;
}

int worker_start_ticks(struct worker *w)
{
	int r = -pthread_create(&w->ticker, NULL, ticker, w);

	w->ticking = !r;
	if (!r)
		r = -pthread_create(&w->log_ticker, NULL, log_ticker, w);
	w->log_ticking = !r;
	return r;
}

void worker_stop_ticks(struct worker *w)
{
	if (w->ticking) {
		(void)!write(w->wake[1], "", 1);
		pthread_join(w->ticker, NULL);
	}
	if (w->log_ticking)
		pthread_join(w->log_ticker, NULL);
}
