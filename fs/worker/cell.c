#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/common/log.h"
#include "fs/helpers/mm_holder.h"
#include "fs/process/sandbox.h"
#include "fs/shared/test_hook.h"
#include "fs/worker/internal.h"

/* locked memory beside the pool: DEKs, copies under way, staged chunks */
#define ARENA_EXTRA (24u << 20)

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

/* Locked memory comes first, for its limit is root's to ignore. */
int worker_enter(struct worker *w)
{
	int r = role_harden();
	if (!r)
		r = map_shared(w);
	if (r == -EPROTO)
		return worker_fatal(
			w, 1,
			"the keeper that runs is of another version, whose memory this one does not know: restart "
			"the daemon");
	if (r)
		return worker_fatal(w, 1, "memory shared with the keeper: %s", strerror(-r));
	r = secmem_init(w->vault.options->plain_pool + ARENA_EXTRA, w->vault.options->locked_memory);
	if (r)
		return worker_fatal(
			w, 1, "locked memory (%zu MiB): %s; raise the limit on locked memory, or lower -o plain_pool",
			(w->vault.options->plain_pool + ARENA_EXTRA) >> 20, strerror(-r));
	r = crypto_init();
	if (r)
		return worker_fatal(w, 1, "OpenSSL lacks AES-256-GCM or SHA-256");
	r = role_confine(w->args, -1);
	if (r)
		return worker_fatal(w, 1, "giving up root: %s", strerror(-r));
	r = keep_memory(w);
	if (r)
		log_warn("should this worker die, callers wait some milliseconds longer, for its memory cannot be "
			 "freed later: %s",
			 strerror(-r));
	r = enter_cell(w);
	if (r == -ENOSYS)
		return worker_fatal(
			w, 1,
			"this kernel lacks Landlock or seccomp, and -o require_sandbox says not to serve without; "
			"coffer doctor tells which");
	if (r)
		return worker_fatal(w, 1, "Landlock and seccomp: %s", strerror(-r));
#ifdef COFFER_TEST_HOOKS
	r = start_hooks(w);
#endif
	return r;
}
