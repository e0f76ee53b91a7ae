#include "fs/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fs/serve/appear.h"
#include "fs/serve/changed.h"
#include "fs/common/clock.h"
#include "fs/process/control.h"
#include "fs/serve/heap.h"
#include "fs/serve/holds.h"
#include "fs/fuse/hot.h"
#include "fs/lifecycle/lifecycle.h"
#include "fs/common/log.h"
#include "fs/helpers/mm_holder.h"
#include "fs/shared/mount_facts.h"
#include "fs/fuse/ops.h"
#include "fs/serve/removal.h"
#include "fs/shared/inode.h"
#include "fs/process/sandbox.h"
#include "fs/serve/seal.h"
#include "fs/serve/staging.h"
#include "fs/serve/temporary.h"
#include "fs/shared/test_hook.h"
#include "fs/serve/vault.h"
#include "store/core/acts.h"
#include "store/core/tables.h"
#include "store/core/transaction.h"
#include "store/keys/keys.h"
#include "store/keys/vaultconf.h"
#include "store/lifecycle/events.h"
#include "store/objects/stages.h"
#include "store/store.h"

#define TICK_MS     250
/* plaintext that nobody read for this long is wiped, though somebody has it open */
#define IDLE_MS     1000
/* locked memory beside the pool: DEKs, copies under way, staged chunks */
#define ARENA_EXTRA (24u << 20)
#define CONTROL_MS  10000

static volatile bool stopping;

static void on_term(int signal)
{
	(void)signal;
	stopping = true;
}

struct worker {
	const struct role_args *args;
	struct vault vault;
	struct session *session;
	struct vaultconf conf;
	char host[65];
	pthread_mutex_t control_lock;
	pthread_t ticker, log_ticker;
	bool ticking, log_ticking;
	int segment_fd;    /* of the log, which came with the word to act; -1: none */
	uint32_t segment;  /* its number */
	bool store_is_old; /* its schema is brought up to date when nobody else serves from it any more */
	uint32_t index;    /* how often it was put aside before the store was opened */
	int wake[2];
	int linger_fd; /* eventfd: there is plaintext in the pool */
	struct lifecycle *lifecycle;
	struct heap heap;
	bool unmounted; /* the kernel ended the connection */
};

/* Says why this worker cannot serve, to the keeper and so to whoever started the daemon. number is an exit status. */
static int fatal(struct worker *w, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int fatal(struct worker *w, int status, const char *format, ...)
{
	struct control_message m = { .type = CONTROL_FATAL, .number = (uint32_t)status };
	va_list ap;
	va_start(ap, format);
	vsnprintf(m.text, sizeof m.text, format, ap);
	va_end(ap);
	control_send(role_fd(w->args, "control"), &m, -1);
	return -EIO;
}

/* ---- what the rooms ask back ---- */

/* What the keeper says to m: 0 or its error. An answer that came too late for the one who asked before is not taken for
 * it. ret_fd may be NULL. */
static int ask_keeper(struct worker *w, const struct control_message *m, struct control_message *ret_answer,
		      int *ret_fd)
{
	const int socket = w->vault.control_fd;
	int late = -1;

	pthread_mutex_lock(&w->control_lock);
	while (control_receive(socket, ret_answer, &late, 0) == 0)
		if (late >= 0)
			close(late);
	int r = control_send(socket, m, -1);
	if (!r)
		r = control_receive(socket, ret_answer, ret_fd, CONTROL_MS);
	pthread_mutex_unlock(&w->control_lock);
	if (!r && ret_answer->type != m->type)
		r = -EPROTO;
	return r ? r : ret_answer->error;
}

static int segment_open(void *arg, uint32_t number, bool create, int *ret_fd)
{
	struct worker *w = arg;
	const struct control_message m = { .type = CONTROL_SEGMENT, .number = number, .create = create };
	struct control_message answer;
	int fd = -1;

	if (!create && w->segment_fd >= 0 && number == w->segment) {
		*ret_fd = w->segment_fd;
		w->segment_fd = -1;
		return 0;
	}
	int r = ask_keeper(w, &m, &answer, &fd);
	if (!r && (answer.number != number || fd < 0))
		r = -EPROTO;
	if (r) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static int retain(void *arg, uint32_t recorded, uint32_t *ret_due)
{
	const struct control_message m = { .type = CONTROL_RETAIN, .number = recorded };
	struct control_message answer;
	int r = ask_keeper(arg, &m, &answer, NULL);

	if (!r)
		*ret_due = answer.number;
	return r;
}

static bool still_unanswered(void *arg, uint64_t recorded)
{
	struct shared *s = ((struct worker *)arg)->vault.shared;
	const uint64_t unique = recorded & ((UINT64_C(1) << AUDIT_PART_SHIFT) - 1);

	return unanswered_has(&s->unanswered, unique) || suspects_deaths(&s->suspects, unique);
}

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

/* ---- what happens by itself, in the active worker ---- */

static void try_unlock(struct vault *v)
{
	char why[256] = "";
	int r = vault_unlock(v, why, sizeof why);
	if (r && r != -ENOKEY && r != -ETIMEDOUT)
		log_error("the vault stays sealed: %s", why[0] ? why : strerror(-r));
	else if (!r)
		log_info("the vault is open");
}

/* Of what a request asks something: NULL where its node is no secret's. */
static const char *name_of_node(struct vault *v, uint64_t ino, char name[NAME_LEN_MAX + 1])
{
	struct inode i;

	*name = '\0';
	store_rdlock(v->store);
	const struct catalog_secret *s = inode_unpack(ino, &i) && i.type != INODE_OWN && i.type != INODE_REQUEST &&
							 i.type != INODE_TEMP && i.type != INODE_MARKER
						 ? store_get(v->store, i.secret)
						 : NULL;
	if (s)
		snprintf(name, NAME_LEN_MAX + 1, "%s", s->name);
	store_unlock_tables(v->store);
	return *name ? name : NULL;
}

/* The alarm: whoever sends such a request may be trying to break in. */
static uint32_t given_up(void *userdata, const struct fuse_in_header *in)
{
	struct vault *v = userdata;
	struct audit_caller caller = { .neighbour = neighbours_guess(callers_neighbours(v->callers), in->uid),
				       .uid = in->uid,
				       .gid = in->gid,
				       .pid = (int32_t)in->pid,
				       .loginuid = -1 };
	char detail[128], name[NAME_LEN_MAX + 1];

	snprintf(detail, sizeof detail, "two workers died on it: request kind %u, node %llu", in->opcode,
		 (unsigned long long)in->nodeid);
	audit_caller_render(&caller);
	const struct audit_event e = {
		.operation = AUDIT_REQUEST_GIVE_UP,
		.result = AUDIT_ERROR,
		.error = EIO,
		.secret = name_of_node(v, in->nodeid, name),
		.caller = &caller,
		.detail = detail,
		.unique = request_unique(),
		.resent = true,
		.privileged = true,
	};
	log_caused(LOG_ERR, "a request of uid %u, process %d is given up with EIO, %s", in->uid, (int)in->pid, detail);
	if (audit_append(v->audit, &e, NULL))
		log_caused(LOG_ERR, "and the log cannot be written");
	v->shared->keeper.deaths_of_request++;
	return suspects_penalty(&v->shared->suspects, vault_neighbour_guess(v, in->uid), clock_ms());
}

static void lost(void *userdata, const struct fuse_in_header *in, size_t len)
{
	const struct fuse_write_in *write = (const void *)(in + 1);

	if (len >= sizeof *in + sizeof *write) {
		staging_lost(userdata, write->fh, in->uid);
		temporary_lost(userdata, write->fh, in->uid);
	}
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

/* ---- set-up ---- */

static int map_shared(struct worker *w)
{
	void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, role_fd(w->args, "shared"), 0);
	if (p == MAP_FAILED)
		return -errno;
	struct shared *s = p;
	if (s->magic != SHARED_MAGIC || s->size != sizeof *s)
		return -EPROTO;
	/* resident: a read of /dev/fuse into a page that is not would fail the caller if we died meanwhile. After the
	 * read, in the kernel, nothing faults. */
	if (mlock(s->slots, sizeof s->slots) || mlock(s->stage_key, KEY_LEN) ||
	    mlock(&s->audit_head, sizeof s->audit_head) || madvise(p, sizeof *s, MADV_DONTDUMP))
		return -errno;
	w->vault.shared = s;
	w->vault.options = &s->keeper.options;
	return 0;
}

/* From here on: the database, the log (read; what is written to is open), the callers' processes. Nothing else can be
 * opened. */
static int enter_cell(struct worker *w)
{
	const int store = role_fd(w->args, "store");
	const int db = openat(store, "db", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
		  conf = openat(store, "vault.conf", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	const struct sandbox_place places[] = {
		{ db, SANDBOX_WRITE },
		{ conf, SANDBOX_READ_FILE },
		{ role_fd(w->args, "audit"), SANDBOX_READ },
		{ role_fd(w->args, "proc"), SANDBOX_READ },
#ifdef COFFER_TEST_HOOKS
		{ test_hook_place("/proc"), SANDBOX_READ },
		{ test_hook_place(getenv("COFFER_TEST_MARKER_DIR")), SANDBOX_READ },
#endif
	};
	int r = sandbox_enter(SANDBOX_WORKER, places, sizeof places / sizeof *places, w->args->require_sandbox);
	if (db >= 0)
		close(db);
	if (conf >= 0)
		close(conf);
	return r;
}

/* For a moment longer than this process lives; the keeper, who ends that, is told of it before anything else is looked
 * at here. */
static int keep_memory(struct worker *w)
{
	const pid_t pid = mm_holder_start(w->args->keeper);
	const struct control_message m = { .type = CONTROL_HOLDER, .number = (uint32_t)pid };

	int r = pid < 0 ? pid : control_send(w->vault.control_fd, &m, -1);
	if (!r)
		mm_holder_keep();
	return r;
}

/* As root: what needs it. Locked memory comes first, for its limit is root's to ignore. */
static int set_up_privileged(struct worker *w)
{
	int r = role_harden();
	if (!r)
		r = map_shared(w);
	if (r == -EPROTO)
		return fatal(w, 1,
			     "the keeper that runs is of another version, whose memory this one does not know: restart "
			     "the daemon");
	if (r)
		return fatal(w, 1, "memory shared with the keeper: %s", strerror(-r));
	r = secmem_init(w->vault.options->plain_pool + ARENA_EXTRA, w->vault.options->locked_memory);
	if (r)
		return fatal(w, 1,
			     "locked memory (%zu MiB): %s; raise the limit on locked memory, or lower -o plain_pool",
			     (w->vault.options->plain_pool + ARENA_EXTRA) >> 20, strerror(-r));
	r = crypto_init();
	if (r)
		return fatal(w, 1, "OpenSSL lacks AES-256-GCM or SHA-256");
	r = role_confine(w->args, -1);
	if (r)
		return fatal(w, 1, "giving up root: %s", strerror(-r));
	r = keep_memory(w);
	if (r)
		log_warn("should this worker die, callers wait some milliseconds longer, for its memory cannot be "
			 "freed later: %s",
			 strerror(-r));
	r = enter_cell(w);
	if (r == -ENOSYS)
		return fatal(w, 1,
			     "this kernel lacks Landlock or seccomp, and -o require_sandbox says not to serve without; "
			     "coffer doctor tells which");
	return r ? fatal(w, 1, "Landlock and seccomp: %s", strerror(-r)) : 0;
}

static int open_audit(struct worker *w)
{
	char why[256] = "";
	const struct options *o = w->vault.options;
	/* beside the database, where we can make it; without it shares of the log begin anew with each daemon */
	const int shares = openat(role_fd(w->args, "store"), "db/log-shares",
				  O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (shares < 0)
		log_warn("STORE/db/log-shares: %s: who has written how much of the log is forgotten when the daemon "
			 "ends",
			 strerror(errno));
	gethostname(w->host, sizeof w->host - 1);
	const struct audit_config config = {
		.dir_fd = role_fd(w->args, "audit"),
		.head_fd = role_fd(w->args, "head"),
		.head = &w->vault.shared->audit_head,
		.vault = w->conf.name,
		.host = w->host,
		.durability = o->durability,
		.segment_size = o->audit_segment_size,
		.keep_bytes = o->audit_keep_bytes,
		.keep_seconds = o->audit_keep_seconds,
		.segment_open = segment_open,
		.retain = retain,
		.unanswered = still_unanswered,
		.arg = w,
		.shares_fd = shares > 0 ? shares : 0,
		.boot = w->vault.shared->keeper.boot,
		.lasts = neighbour_lasts,
	};
	int r = audit_open(&config, &w->vault.audit, why, sizeof why);
	if (w->segment_fd >= 0) /* another one is the open one by now */
		close(w->segment_fd);
	w->segment_fd = -1;
	return r ? fatal(w, r == -EBADMSG ? 6 : 1, "audit log: %s", why[0] ? why : strerror(-r)) : 0;
}

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
		return fatal(w, r == -EBADMSG ? 6 : 1, "%s", why[0] ? why : strerror(-r));
	r = vault_unlock(v, why, sizeof why);
	if (r == -ENOKEY)
		log_warn("the vault is sealed; coffer unseal opens it");
	/* callers wait: they get their error, and not nothing */
	else if (r == -ETIMEDOUT && !v->shared->keeper.fresh)
		log_warn("%s; it is asked again", why);
	else if (r)
		return fatal(w, key_status(v->keys, r), "%s", why[0] ? why : strerror(-r));
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
		return fatal(w, 1, "set-up: %s", strerror(-r));
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
		.given_up = given_up,
		.lost = lost,
		.stop = &stopping,
	};
	r = session_new(&config, &w->session);
	if (r)
		return fatal(w, 1, "libfuse does not take the connection as the keeper opened it: %s", strerror(-r));
	return 0;
}

/* All that can be done while another worker is active: nothing here writes to the log, the store or the shared memory.
 */
static int prepare(struct worker *w)
{
	char why[CONTROL_TEXT_MAX] = "";
	int r = vaultconf_read(role_fd(w->args, "store"), &w->conf, why, sizeof why);
	if (r)
		return fatal(w, 6, "%s", why);
	r = keys_new_socket(role_fd(w->args, "keys"), &w->vault.keys);
	if (r)
		return fatal(w, 1, "key holder: %s", strerror(-r));
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
		return fatal(w, 1, "the database cannot be opened anew: %s", strerror(-r));
	r = vault_stand_by(v);
	if (r == -EBADMSG)
		return fatal(w, 6, "rows in the store are not authentic; coffer fsck %s says which",
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

/* From here on this is the one worker that acts. Callers wait: nothing in here takes longer with more secrets. */
static int activate(struct worker *w)
{
	struct vault *v = &w->vault;
	const bool fresh = v->shared->keeper.fresh;
	TEST_POINT("before", 0);
	int r = open_audit(w);
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
		return fatal(w, 1, "open files: %s", strerror(-r));
	r = temps_new(&v->shared->temps, v->handles, &v->temps);
	if (r)
		return fatal(w, 1, "temporary files: %s", strerror(-r));
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
	vault_take_over(v);
	take_over_stages(v);
	r = drops_new(v->fuse_fd, v->handles, &v->drops);
	if (!r)
		r = holds_new(v, &v->holds);
	if (!r)
		r = appear_new(v, ops_answers(), fresh, &v->appear);
	if (r)
		return fatal(w, 1, "thread: %s", strerror(-r));
	drops_all(v->drops); /* a page that the worker before us brought to the kernel may be there still */
	vault_ring_missed(v);
	const struct audit_event e = { .operation = fresh ? AUDIT_VAULT_START : AUDIT_WORKER_START,
				       .result = AUDIT_ALLOW,
				       .privileged = true };
	if (audit_append(v->audit, &e, NULL))
		log_error("the log cannot be written: every open is refused until it can");
	v->shared->keeper.fresh = 0;
	r = -pthread_create(&w->ticker, NULL, ticker, w);
	if (r)
		return fatal(w, 1, "thread: %s", strerror(-r));
	w->ticking = true;
	r = -pthread_create(&w->log_ticker, NULL, log_ticker, w);
	if (r)
		return fatal(w, 1, "thread: %s", strerror(-r));
	w->log_ticking = true;
	r = lifecycle_start(v, role_fd(w->args, "runner"), &w->lifecycle);
	if (r)
		return fatal(w, 1, "rotation and hooks: %s", strerror(-r));
	const struct control_message ready = { .type = CONTROL_READY };
	return control_send(v->control_fd, &ready, -1);
}

static void tear_down(struct worker *w)
{
	struct vault *v = &w->vault;
	if (w->ticking) {
		(void)!write(w->wake[1], "", 1);
		pthread_join(w->ticker, NULL);
	}
	if (w->log_ticking)
		pthread_join(w->log_ticker, NULL);
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

#ifdef COFFER_TEST_HOOKS
static int start_hooks(const struct worker *w)
{
	static char conf[PATH_MAX + 16], memory[64];
	const struct shared_keeper *k = &w->vault.shared->keeper;
	const char *kek = getenv("COFFER_TEST_KEK");

	snprintf(conf, sizeof conf, "%s/vault.conf", k->store);
	snprintf(memory, sizeof memory, "/proc/%d/mem", (int)k->keyholder);
	const struct test_cell cell = {
		.kek = kek ? kek : "",
		.conf = conf,
		.memory = memory,
		.audit_dir = role_fd(w->args, "audit"),
		.control = role_fd(w->args, "control"),
		.keeper = w->args->keeper,
		.shared = w->vault.shared,
	};
	return test_hook_start(&cell);
}
#endif

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
	int r = set_up_privileged(w);
#ifdef COFFER_TEST_HOOKS
	if (!r)
		r = start_hooks(w);
#endif
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
