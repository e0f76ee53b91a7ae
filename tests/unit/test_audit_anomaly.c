/* What the machine does to the log: writes that fail or stop half-way, memory and disk that run out, workers that are
 * killed between any two instructions. */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>

#include "audit_fixture.h"
#include "store/audit/log.h"

/* ---- the n-th call fails ---- */

enum fault {
	FAULT_NOSPACE,
	FAULT_IO,
	FAULT_SHORT,
	FAULT_NOTHING,
	FAULT_SHORT_OF_NEWLINE,
	FAULT_KILL_BEFORE,
	FAULT_KILL_HALF_WAY,
	FAULT_KILL_BEFORE_NEWLINE,
	FAULT_KILL_AFTER
};

static struct {
	int write_in, sync_in, alloc_in; /* 1: the next one; 0: none */
	int write_stays;                 /* and so many after it */
	enum fault fault;
	bool no_truncate, no_fallocate;
	unsigned allocations;  /* made */
	struct log *meanwhile; /* a record is written here during the next read */
} inject;

ssize_t __real_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len);
ssize_t __real_pread(int fd, void *data, size_t len, off_t offset);
ssize_t __wrap_pread(int fd, void *data, size_t len, off_t offset);
int __real_ftruncate(int fd, off_t len);
int __wrap_ftruncate(int fd, off_t len);
int __real_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);

static bool due(int *countdown) { return *countdown > 0 && --*countdown == 0; }

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
	if (!due(&inject.write_in))
		return __real_write(fd, data, len);
	if (inject.write_stays > 0) {
		inject.write_stays--;
		inject.write_in = 1;
	}
	switch (inject.fault) {
	case FAULT_IO:
	case FAULT_NOSPACE:
		errno = inject.fault == FAULT_IO ? EIO : ENOSPC;
		return -1;
	case FAULT_SHORT: /* a part, and then the disk is full */
	case FAULT_SHORT_OF_NEWLINE:
		len = inject.fault == FAULT_SHORT ? len / 2 : len - 1;
		inject.fault = FAULT_NOSPACE;
		inject.write_in = 1;
		return __real_write(fd, data, len);
	case FAULT_KILL_HALF_WAY:
		(void)!__real_write(fd, data, len / 3);
		break;
	case FAULT_KILL_BEFORE_NEWLINE:
		(void)!__real_write(fd, data, len - 1);
		break;
	case FAULT_KILL_AFTER:
		(void)!__real_write(fd, data, len);
		break;
	case FAULT_NOTHING:
		return __real_write(fd, data, len);
	case FAULT_KILL_BEFORE:
		break;
	}
	raise(SIGKILL);
	return -1;
}

ssize_t __wrap_pread(int fd, void *data, size_t len, off_t offset)
{
	struct log *l = inject.meanwhile;

	inject.meanwhile = NULL;
	if (l)
		log_allow(l, 1);
	return __real_pread(fd, data, len, offset);
}

int __wrap_ftruncate(int fd, off_t len)
{
	errno = EPERM;
	return inject.no_truncate ? -1 : __real_ftruncate(fd, len);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
	errno = EOPNOTSUPP;
	inject.allocations++;
	return inject.no_fallocate ? -1 : __real_fallocate(fd, mode, offset, len);
}

int __wrap_fdatasync(int fd)
{
	errno = EIO;
	return due(&inject.sync_in) ? -1 : __real_fdatasync(fd);
}

void *__wrap_malloc(size_t n) { return due(&inject.alloc_in) ? NULL : __real_malloc(n); }

void *__wrap_calloc(size_t n, size_t size) { return due(&inject.alloc_in) ? NULL : __real_calloc(n, size); }

void *__wrap_realloc(void *p, size_t n) { return due(&inject.alloc_in) ? NULL : __real_realloc(p, n); }

/* How many records of request `unique` there are. The kernel stops a write at a page's end when its process is killed:
 * a torn line may name the request too, and is no record. */
static unsigned int recorded(struct log *l, uint64_t unique)
{
	char what[32];
	unsigned int n = 0;

	snprintf(what, sizeof what, "-%llu\",\"duration_us\"", (unsigned long long)unique);
	for (uint32_t s = 1; s <= audit_at(l->head)->segment; s++) {
		struct audit_record rec;
		size_t len;
		char *text = log_text(l, s, &len), *rest = text, *line;
		while ((line = strsep(&rest, "\n")) != NULL)
			n += strstr(line, what) && audit_parse(line, strlen(line), &rec) == 0;
		free(text);
	}
	return n;
}

static const enum fault write_faults[] = { FAULT_NOSPACE, FAULT_IO, FAULT_SHORT, FAULT_SHORT_OF_NEWLINE };

/* _i: fault, whether a part can be cut off again, whether the worker dies after it. */
START_TEST(a_write_that_fails_leaves_a_clean_chain)
{
	enum fault fault = write_faults[_i % 4];
	bool no_truncate = _i / 4 % 2, dies = _i / 8;

	for (int n = 1; n <= 12; n++) {
		struct log *l = log_new(in_memory());
		int results[20];

		l->config.segment_size = AUDIT_SEGMENT_MIN;
		ck_assert_int_eq(log_open(l), 0);
		inject.fault = fault;
		inject.no_truncate = no_truncate;
		inject.write_in = n;
		for (int i = 0; i < 12; i++)
			results[i] = log_event(l, AUDIT_ALLOW, "db", (uint64_t)i + 1, false);
		if (dies) {
			log_drop(l);
			ck_assert_int_eq(log_open(l), 0);
		}
		inject.write_in = 0;
		for (int i = 12; i < 20; i++)
			results[i] = log_event(l, AUDIT_ALLOW, "db", (uint64_t)i + 1, false);
		inject.no_truncate = false;
		log_verify_clean(l);
		int failed = 0;
		for (int i = 0; i < 20; i++) {
			ck_assert(results[i] == 0 || results[i] == -EIO || results[i] == -ENOSPC);
			ck_assert_uint_eq(recorded(l, (uint64_t)i + 1), results[i] == 0);
			failed += results[i] != 0;
		}
		ck_assert_int_le(failed, 1);
		log_free(l);
	}
}
END_TEST

START_TEST(writes_that_go_on_failing_are_reported_and_recovered_from)
{
	struct log *l = log_new_open();
	struct audit_state s;

	inject.fault = FAULT_NOSPACE;
	inject.write_in = 1;
	inject.write_stays = 50;
	inject.no_truncate = true;
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 7, false), -ENOSPC);
	audit_state(l->a, &s);
	ck_assert_int_eq(s.failing, -ENOSPC);
	ck_assert_uint_eq(s.headroom_percent, 0);
	inject.write_in = 0;
	log_allow(l, 1);
	audit_state(l->a, &s);
	ck_assert_int_eq(s.failing, 0);
	log_verify_clean(l);
	ck_assert_uint_eq(recorded(l, 7), 0);
	log_free(l);
}
END_TEST

START_TEST(a_sync_that_fails_is_told)
{
	struct log *l = log_new(in_memory());

	l->config.durability = AUDIT_DURABILITY_FDATASYNC;
	ck_assert_int_eq(log_open(l), 0);
	log_allow(l, 1);
	inject.sync_in = 1;
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 1, false), -EIO);
	log_allow(l, 1);
	for (int n = 1; n <= 2; n++) { /* of the segment, of the head file */
		log_allow(l, 1);
		inject.sync_in = n;
		ck_assert_int_eq(audit_tick(l->a), -EIO);
		ck_assert_int_eq(audit_tick(l->a), 0);
		log_verify_clean(l);
	}
	log_free(l);
}
END_TEST

START_TEST(an_allocation_that_fails_is_told)
{
	struct log *l = log_new(in_memory());
	char got[100];
	size_t n;
	uint64_t size;
	int r, failures = 0;

	l->config.segment_size = AUDIT_SEGMENT_MIN;
	ck_assert_int_eq(log_open(l), 0);
	log_allow(l, 30);
	log_drop(l);
	for (int i = 1;; i++) {
		inject.alloc_in = i;
		r = log_open(l);
		bool reached = inject.alloc_in == 0;
		inject.alloc_in = 0;
		if (r == 0 && !reached)
			break;
		ck_assert_int_eq(r, -ENOMEM);
		failures++;
	}
	inject.alloc_in = 1;
	ck_assert_int_eq(audit_size(l->a, 1, &size), -ENOMEM);
	ck_assert_int_eq(audit_size(l->a, 1, &size), 0);
	ck_assert_int_eq(audit_read(l->a, 1, 0, got, sizeof got, &n), 0);
	for (int i = 1;; i++) {
		inject.alloc_in = i;
		r = log_verify(l);
		bool reached = inject.alloc_in == 0;
		inject.alloc_in = 0;
		if (r == 0 && !reached)
			break;
		ck_assert_int_eq(r, -ENOMEM);
		failures++;
	}
	ck_assert_int_ge(failures, 5);
	log_allow(l, 1);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

/* ---- a full disk ---- */

static int administrators_act(struct log *l)
{
	struct audit_caller who = { .uid = 0, .loginuid = -1, .comm = "coffer" };
	struct audit_event e = {
		.operation = AUDIT_BINDING_DELETE, .result = AUDIT_ALLOW, .caller = &who, .privileged = true
	};

	return audit_append(l->a, &e, NULL);
}

static int denied_act(struct log *l)
{
	struct audit_caller who = { .uid = 1000, .loginuid = -1, .comm = "coffer" };
	struct audit_event e = { .operation = AUDIT_BINDING_DELETE,
				 .result = AUDIT_DENY,
				 .error = EACCES,
				 .caller = &who,
				 .privileged = true };

	return audit_append(l->a, &e, NULL);
}

static void fill(const char *path, bool *ret_full)
{
	static const char block[4096] = { 1 };
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	while (write(fd, block, sizeof block) == sizeof block)
		*ret_full = true;
	close(fd);
}

/* Whoever reads the log from a slow disk keeps nobody from writing. */
START_TEST(who_reads_keeps_nobody_from_writing)
{
	struct log *l = log_new_open();
	uint64_t size, after;
	char *text;
	size_t got;

	log_allow(l, 3);
	ck_assert_int_eq(audit_size(l->a, 1, &size), 0);
	text = malloc(size + 1000);
	ck_assert_ptr_nonnull(text);
	inject.meanwhile = l;
	ck_assert_int_eq(audit_read(l->a, 1, 0, text, size + 1000, &got), 0);
	ck_assert_uint_eq(got, size); /* what was there when it began */
	ck_assert_ptr_null(inject.meanwhile);
	ck_assert_int_eq(audit_size(l->a, 1, &after), 0);
	ck_assert_uint_gt(after, size);
	free(text);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

/* The head has not heard of the last record: its request and its result are read from the line. */
START_TEST(a_record_that_is_rolled_forward_over_is_known_by_its_result)
{
	struct log *l = log_new_open();
	const uint64_t seq = log_seq(l);
	int status;
	const pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		inject.fault = FAULT_KILL_AFTER;
		inject.write_in = 1;
		log_event(l, AUDIT_ERROR, "db", 300, false);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	log_drop(l);
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_int_eq(log_event(l, AUDIT_ERROR, "db", 300, true), 0);
	ck_assert_uint_eq(log_seq(l), seq + 1);
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 300, true), 0);
	ck_assert_uint_eq(log_seq(l), seq + 2);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

/* On some file systems allocating takes the longer the larger the log is, and callers wait while a worker takes over.
 */
START_TEST(a_takeover_allocates_nothing_anew)
{
	struct log *l = log_new_open();
	const unsigned before = inject.allocations;

	ck_assert_uint_gt(before, 0);
	log_allow(l, 3);
	log_drop(l);
	ck_assert_int_eq(log_open(l), 0);
	log_allow(l, 3);
	ck_assert_uint_eq(inject.allocations, before);
	/* an orderly end gives back what was allocated ahead */
	audit_close(l->a);
	l->a = NULL;
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_uint_gt(inject.allocations, before);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

/* That there is room is not believed of a worker that may have been somebody else's: administrators would have no
 * reserve. */
START_TEST(a_takeover_looks_whether_the_reserve_is_there)
{
	struct log *l = log_new_open();
	struct stat st;

	log_allow(l, 3);
	l->head->allocated[0] = l->head->allocated[1] = UINT64_MAX / 2;
	log_drop(l);
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_int_eq(fstat(l->a->fd, &st), 0);
	ck_assert_uint_le(l->a->space.allocated, (uint64_t)st.st_blocks * 512);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

/* To cut off what a failed write left gives back what was allocated ahead, the reserve among it. */
START_TEST(room_that_was_cut_off_is_taken_again)
{
	struct log *l = log_new_open();
	unsigned before;

	log_allow(l, 1);
	inject.fault = FAULT_SHORT;
	inject.write_in = 1;
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 0, false), -ENOSPC);
	before = inject.allocations;
	log_allow(l, 1);
	ck_assert_uint_gt(inject.allocations, before);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

/* _i: 0 with fallocate, 1 without. In a mount namespace of its own, so that nothing is left mounted. */
START_TEST(a_full_disk_leaves_room_for_administrators)
{
	char where[] = "/tmp/coffer-full-XXXXXX", ballast[100];
	struct audit_state s;
	bool full = false;

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
		return;
	ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ck_assert_ptr_nonnull(mkdtemp(where));
	ck_assert_int_eq(mount("tmpfs", where, "tmpfs", 0, "size=3m"), 0);
	inject.no_fallocate = _i;
	struct log *l = log_new(where);
	ck_assert_int_eq(log_open(l), 0);
	audit_state(l->a, &s);
	ck_assert_int_eq(s.reserve_allocated, !_i);

	/* the log itself fills it up to the reserve */
	int r, ordinary = 0, privileged = 0;
	while ((r = log_event(l, AUDIT_ALLOW, "db", 0, false)) == 0)
		ck_assert_int_lt(++ordinary, 10000);
	ck_assert_int_eq(r, -ENOSPC);
	audit_state(l->a, &s);
	ck_assert_int_eq(s.failing, -ENOSPC);
	ck_assert_int_eq(denied_act(l), -ENOSPC);
	ck_assert_int_eq(administrators_act(l), 0);
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 0, false), -ENOSPC);
	log_verify_clean(l);
	/* somebody else takes the last byte: what was allocated stays ours */
	snprintf(ballast, sizeof ballast, "%s/ballast", where);
	if (!_i)
		fill(ballast, &full);
	while ((r = administrators_act(l)) == 0)
		ck_assert_int_lt(++privileged, 10000);
	ck_assert_int_eq(r, -ENOSPC);
	ck_assert_int_gt(privileged, 300);
	ck_assert_int_eq(audit_tick(l->a), -ENOSPC);
	log_verify_clean(l);
	/* a worker that starts on a full disk does start */
	log_drop(l);
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 0, false), -ENOSPC);
	(void)unlink(ballast);
	ck_assert_int_eq(mount("tmpfs", where, "tmpfs", MS_REMOUNT, "size=8m"), 0);
	ck_assert_int_eq(audit_tick(l->a), 0);
	audit_state(l->a, &s);
	ck_assert_int_eq(s.failing, 0);
	log_allow(l, 100);
	log_verify_clean(l);
	ck_assert_uint_eq(l->report.torn, 0);
	log_free(l);
	ck_assert_int_eq(umount(where), 0);
	ck_assert_int_eq(rmdir(where), 0);
}
END_TEST

START_TEST(a_full_disk_keeps_the_old_segment_in_use)
{
	char where[] = "/tmp/coffer-full-XXXXXX", ballast[100];
	bool full = false;

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
		return;
	ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ck_assert_ptr_nonnull(mkdtemp(where));
	ck_assert_int_eq(mount("tmpfs", where, "tmpfs", 0, "size=8m"), 0);
	struct log *l = log_new(where);
	l->config.segment_size = 8192;
	ck_assert_int_eq(log_open(l), 0);
	log_allow(l, 5);
	snprintf(ballast, sizeof ballast, "%s/ballast", where);
	fill(ballast, &full);
	log_allow(l, 100); /* beyond the segment's size: there is no room for another, but in this one */
	ck_assert_uint_eq(audit_at(l->head)->segment, 1);
	log_verify_clean(l);
	ck_assert_int_eq(unlink(ballast), 0);
	l->a->rotate_after = 0; /* a second has passed */
	log_allow(l, 1);
	ck_assert_uint_eq(audit_at(l->head)->segment, 2);
	log_verify_clean(l);
	log_free(l);
	ck_assert_int_eq(umount(where), 0);
	ck_assert_int_eq(rmdir(where), 0);
}
END_TEST

/* ---- kill -9 ---- */

START_TEST(a_worker_killed_in_a_write_is_taken_over_from)
{
	for (int fault = FAULT_KILL_BEFORE; fault <= FAULT_KILL_AFTER; fault++) {
		for (int n = 1; n <= 12; n++) {
			struct log *l = log_new(in_memory());
			_Atomic uint64_t *asked = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
						       -1, 0);
			int status;

			ck_assert(asked != MAP_FAILED);
			l->config.segment_size = AUDIT_SEGMENT_MIN;
			pid_t child = fork();
			if (child == 0) {
				inject.fault = (enum fault)fault;
				inject.write_in = n;
				if (log_open(l) < 0)
					_exit(1);
				for (;;) {
					*asked = *asked + 1;
					if (log_event(l, AUDIT_ALLOW, "db", *asked, false) < 0)
						_exit(2);
				}
			}
			ck_assert_int_eq(waitpid(child, &status, 0), child);
			ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
			ck_assert_int_eq(log_open(l), 0);
			ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", *asked, true), 0);
			for (uint64_t unique = 1; unique <= *asked; unique++)
				ck_assert_uint_eq(recorded(l, unique), 1);
			log_allow(l, 8);
			log_verify_clean(l);
			munmap((void *)(uintptr_t)asked, 4096);
			log_free(l);
		}
	}
}
END_TEST

struct progress {
	_Atomic uint64_t asked, answered;
};

static void worker_loop(struct log *l, struct progress *p)
{
	if (log_open(l) < 0)
		_exit(1);
	for (;;) {
		uint64_t unique = p->asked + 1;
		p->asked = unique;
		if (log_event(l, unique % 4 == 3 ? AUDIT_DENY : AUDIT_ALLOW, "db", unique, false) < 0)
			_exit(2);
		p->answered = unique;
		if (unique % 16 == 0) {
			for (size_t i = 0; i < AUDIT_FOLDS; i++)
				l->head->folds[i].tally.last -= 2 * (int64_t)AUDIT_NS;
			if (audit_tick(l->a) < 0)
				_exit(3);
		}
	}
}

static uint64_t denials_counted(struct log *l)
{
	uint64_t counted = 0;

	for (uint32_t s = 1; s <= audit_at(l->head)->segment; s++) {
		size_t len;
		unsigned long long count;
		char *text = log_text(l, s, &len);
		for (char *p = text; (p = strstr(p, "\"result\":\"deny\"")) != NULL; p++) {
			ck_assert_int_eq(sscanf(strstr(p, "\"count\":"), "\"count\":%llu", &count), 1);
			counted += count;
		}
		free(text);
	}
	for (size_t i = 0; i < AUDIT_FOLDS; i++)
		counted += l->head->folds[i].tally.count;
	return counted;
}

/* Eight logs of 25 rounds: a worker is killed at some moment, its successor takes over and is sent again what was not
 * answered. */
START_TEST(two_hundred_killed_workers_lose_and_double_nothing)
{
	struct log *l = log_new(in_memory());
	struct progress *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert(p != MAP_FAILED);
	srand((unsigned int)_i + 1);
	l->config.segment_size = 12000;
	l->config.deny_rate = l->config.deny_burst = 1;
	for (int round = 0; round < 25; round++) {
		uint64_t goal = p->answered + (uint64_t)(rand() % 40);
		int status;
		pid_t child = fork();

		if (child == 0)
			worker_loop(l, p);
		while (p->answered < goal && waitpid(child, &status, WNOHANG) == 0)
			sched_yield();
		for (volatile int spin = rand() % 20000; spin > 0; spin--)
			;
		ck_assert_int_eq(kill(child, SIGKILL), 0);
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_msg(WIFSIGNALED(status), "exit %d", WEXITSTATUS(status));
		ck_assert_msg(log_open(l) == 0, "%s", l->why);
		if (p->asked > p->answered) {
			ck_assert_int_eq(
				log_event(l, p->asked % 4 == 3 ? AUDIT_DENY : AUDIT_ALLOW, "db", p->asked, true), 0);
			p->answered = p->asked;
		}
		log_verify_clean(l);
		log_drop(l);
	}
	uint64_t denied = 0;
	for (uint64_t unique = 1; unique <= p->answered; unique++) {
		if (unique % 4 == 3)
			denied++;
		else
			ck_assert_msg(recorded(l, unique) == 1, "request %llu is there %u times",
				      (unsigned long long)unique, recorded(l, unique));
	}
	ck_assert_uint_eq(denials_counted(l), denied);
	munmap(p, 4096);
	log_free(l);
}
END_TEST

int main(void)
{
	TCase *faults = tcase_create("faults"), *disk = tcase_create("full disk"), *kills = tcase_create("kill -9");
	TCase *all[] = { faults, disk, kills };

	crypto_init();
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		tcase_set_timeout(all[i], 120);
	tcase_add_loop_test(faults, a_write_that_fails_leaves_a_clean_chain, 0, 16);
	tcase_add_test(faults, who_reads_keeps_nobody_from_writing);
	tcase_add_test(faults, a_record_that_is_rolled_forward_over_is_known_by_its_result);
	tcase_add_test(faults, a_takeover_allocates_nothing_anew);
	tcase_add_test(faults, a_takeover_looks_whether_the_reserve_is_there);
	tcase_add_test(faults, room_that_was_cut_off_is_taken_again);
	tcase_add_test(faults, writes_that_go_on_failing_are_reported_and_recovered_from);
	tcase_add_test(faults, a_sync_that_fails_is_told);
	tcase_add_test(faults, an_allocation_that_fails_is_told);
	tcase_add_loop_test(disk, a_full_disk_leaves_room_for_administrators, 0, 2);
	tcase_add_test(disk, a_full_disk_keeps_the_old_segment_in_use);
	tcase_add_test(kills, a_worker_killed_in_a_write_is_taken_over_from);
	tcase_add_loop_test(kills, two_hundred_killed_workers_lose_and_double_nothing, 0, 8);
	return suite_run(all, sizeof all / sizeof all[0], "audit anomalies");
}
