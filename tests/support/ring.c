/* Reads of a file by every way that does not wait in read(2): io_uring, the older AIO of Linux, preadv2 with its flags;
 * with O_DIRECT too.
 *
 *   ring [--quick] PATH FILE
 *
 * For buffers smaller than, as large as and larger than FILE, at offsets before, at and behind its end: PATH gives
 * exactly the bytes of FILE, and then 0. Prints "ok N" with the number of reads; else what was wrong, and status 1.
 * What the kernel does not have is left out, and said. */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define VALUE_MAX (1u << 20)
#define BUF_SIZE  (2 * VALUE_MAX + 8192)

static char *want, *buf;
static size_t want_len;
static unsigned long done;
static const char *doing = "";
static bool quick;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "ring: %s: %s: %s\n", doing, what, strerror(errno));
	exit(1);
}

/* ---- io_uring, as its man pages have it ---- */

struct ring {
	int fd;
	unsigned *sq_head, *sq_tail, *sq_mask, *sq_flags, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	bool polled;
};

static bool ring_open(struct ring *r, unsigned flags)
{
	struct io_uring_params p = { .flags = flags, .sq_thread_idle = 100 };

	r->fd = (int)syscall(SYS_io_uring_setup, 8, &p);
	if (r->fd < 0)
		return false;
	size_t size = p.sq_off.array + p.sq_entries * sizeof(unsigned),
	       cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	char *m = mmap(NULL, size > cq ? size : cq, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd,
		       IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	if (m == MAP_FAILED || r->sqes == MAP_FAILED || !(p.features & IORING_FEAT_SINGLE_MMAP))
		die("mmap of a ring");
	void *const at = m;
	r->sq_head = (void *)((char *)at + p.sq_off.head);
	r->sq_tail = (void *)((char *)at + p.sq_off.tail);
	r->sq_mask = (void *)((char *)at + p.sq_off.ring_mask);
	r->sq_flags = (void *)((char *)at + p.sq_off.flags);
	r->cq_head = (void *)((char *)at + p.cq_off.head);
	r->cq_tail = (void *)((char *)at + p.cq_off.tail);
	r->cq_mask = (void *)((char *)at + p.cq_off.ring_mask);
	r->cqes = (void *)((char *)at + p.cq_off.cqes);
	unsigned *array = (void *)((char *)at + p.sq_off.array);
	for (unsigned i = 0; i < p.sq_entries; i++)
		array[i] = i;
	r->polled = flags & IORING_SETUP_SQPOLL;
	const struct iovec all = { buf, BUF_SIZE };
	/* what rings that have ended had locked of this user's memory, the kernel gives back a moment later */
	for (int i = 0; syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_BUFFERS, &all, 1) < 0; i++) {
		if (errno != ENOMEM || i == 1000)
			die("IORING_REGISTER_BUFFERS");
		usleep(10000);
	}
	return true;
}

/* Puts n requests in, and takes as many results, in their order. */
static void ring_run(struct ring *r, const struct io_uring_sqe *sqes, unsigned n, int *ret)
{
	unsigned tail = *r->sq_tail, got = 0;

	for (unsigned i = 0; i < n; i++, tail++) {
		r->sqes[tail & *r->sq_mask] = sqes[i];
		r->sqes[tail & *r->sq_mask].user_data = i;
	}
	__atomic_store_n(r->sq_tail, tail, __ATOMIC_SEQ_CST);
	unsigned flags = IORING_ENTER_GETEVENTS;
	if (r->polled && (__atomic_load_n(r->sq_flags, __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP))
		flags |= IORING_ENTER_SQ_WAKEUP;
	if (syscall(SYS_io_uring_enter, r->fd, n, n, flags, NULL, 0) < 0)
		die("io_uring_enter");
	while (got < n) {
		unsigned head = *r->cq_head;
		if (head == __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE)) {
			syscall(SYS_io_uring_enter, r->fd, 0, n - got, flags, NULL, 0);
			continue;
		}
		const struct io_uring_cqe *c = &r->cqes[head & *r->cq_mask];
		ret[c->user_data] = c->res;
		__atomic_store_n(r->cq_head, head + 1, __ATOMIC_RELEASE);
		got++;
	}
}

/* ---- the ways: each reads len bytes at offset into buf, and returns what pread(2) would, or a negative errno ---- */

static struct ring plain, polled;
static aio_context_t aio;
static int rwf;

static ssize_t by_ring(struct ring *r, int fd, size_t len, off_t offset, int op, unsigned flags)
{
	static struct iovec v;
	int res = 0;

	v = (struct iovec){ buf, len };
	const struct io_uring_sqe e = {
		.opcode = (uint8_t)op,
		.flags = (uint8_t)flags,
		.fd = fd,
		.off = (uint64_t)offset,
		.addr = (uint64_t)(uintptr_t)(op == IORING_OP_READV ? (void *)&v : buf),
		.len = op == IORING_OP_READV ? 1 : (uint32_t)len,
	};
	ring_run(r, &e, 1, &res);
	return res;
}

static ssize_t by_plain(int fd, size_t len, off_t offset)
{
	return by_ring(&plain, fd, len, offset, IORING_OP_READ, 0);
}
static ssize_t by_async(int fd, size_t len, off_t offset)
{
	return by_ring(&plain, fd, len, offset, IORING_OP_READ, IOSQE_ASYNC);
}
static ssize_t by_readv(int fd, size_t len, off_t offset)
{
	return by_ring(&plain, fd, len, offset, IORING_OP_READV, 0);
}
static ssize_t by_fixed(int fd, size_t len, off_t offset)
{
	return by_ring(&plain, fd, len, offset, IORING_OP_READ_FIXED, 0);
}
static ssize_t by_fixed_async(int fd, size_t len, off_t offset)
{
	return by_ring(&plain, fd, len, offset, IORING_OP_READ_FIXED, IOSQE_ASYNC);
}
static ssize_t by_polled(int fd, size_t len, off_t offset)
{
	return by_ring(&polled, fd, len, offset, IORING_OP_READ, 0);
}

/* Two halves, the second when the first is done. A chain is broken by a short read: then the second is cancelled. */
static ssize_t by_linked(int fd, size_t len, off_t offset)
{
	const size_t half = len / 2;
	const struct io_uring_sqe e[2] = {
		{ .opcode = IORING_OP_READ,
		  .flags = IOSQE_IO_LINK,
		  .fd = fd,
		  .off = (uint64_t)offset,
		  .addr = (uint64_t)(uintptr_t)buf,
		  .len = (uint32_t)half },
		{ .opcode = IORING_OP_READ,
		  .fd = fd,
		  .off = (uint64_t)offset + half,
		  .addr = (uint64_t)(uintptr_t)(buf + half),
		  .len = (uint32_t)(len - half) },
	};
	int res[2] = { 0 };

	ring_run(&plain, e, 2, res);
	if (res[0] < 0 || (size_t)res[0] < half)
		return res[0];
	return res[1] < 0 ? res[1] : res[0] + res[1];
}

static ssize_t by_aio_of(int fd, size_t len, off_t offset, bool vector)
{
	const struct iovec v = { buf, len };
	struct iocb cb = {
		.aio_lio_opcode = vector ? IOCB_CMD_PREADV : IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)fd,
		.aio_offset = offset,
		.aio_buf = (uint64_t)(uintptr_t)(vector ? (const void *)&v : buf),
		.aio_nbytes = vector ? 1 : len,
	};
	struct iocb *cbs[] = { &cb };
	struct io_event event;

	if (syscall(SYS_io_submit, aio, 1, cbs) != 1)
		return -errno;
	if (syscall(SYS_io_getevents, aio, 1, 1, &event, NULL) != 1)
		die("io_getevents");
	return (ssize_t)event.res;
}

static ssize_t by_aio(int fd, size_t len, off_t offset) { return by_aio_of(fd, len, offset, false); }
static ssize_t by_aio_vector(int fd, size_t len, off_t offset) { return by_aio_of(fd, len, offset, true); }

static ssize_t by_preadv2(int fd, size_t len, off_t offset)
{
	const struct iovec v[2] = { { buf, len / 2 }, { buf + len / 2, len - len / 2 } };
	const ssize_t n = preadv2(fd, v, 2, offset, rwf);

	return n < 0 ? -errno : n;
}

static const struct way {
	const char *name;
	ssize_t (*read)(int fd, size_t len, off_t offset);
	struct ring *ring;
} ways[] = {
	{ "io_uring", by_plain, &plain },
	{ "io_uring async", by_async, &plain },
	{ "io_uring readv", by_readv, &plain },
	{ "io_uring fixed", by_fixed, &plain },
	{ "io_uring fixed async", by_fixed_async, &plain },
	{ "io_uring linked", by_linked, &plain },
	{ "io_uring polled", by_polled, &polled },
	{ "aio", by_aio, NULL },
	{ "aio vector", by_aio_vector, NULL },
};

/* ---- what is tried ---- */

/* optional: the kernel may say that it has no such thing. */
static void try_one(ssize_t (*read_it)(int fd, size_t len, off_t offset), int fd, size_t len, size_t offset,
		    bool optional)
{
	const size_t expected = offset >= want_len ? 0 : want_len - offset < len ? want_len - offset : len;

	memset(buf, '?', len);
	const ssize_t n = read_it(fd, len, (off_t)offset);
	if (optional && (n == -EOPNOTSUPP || n == -EINVAL || n == -EAGAIN))
		return;
	done++;
	if (n == (ssize_t)expected && !memcmp(buf, want + offset, expected))
		return;
	fprintf(stderr, "ring: %s: %zu bytes of %zu at %zu: %zd, not %zu%s\n", doing, len, want_len, offset, n,
		expected, n == (ssize_t)expected ? ", and other bytes" : "");
	exit(1);
}

static void try_all(ssize_t (*read_it)(int fd, size_t len, off_t offset), int fd, bool optional)
{
	const size_t lens[] = {
		64,     want_len,         want_len + 1,    want_len > 1 ? want_len - 1 : 4096, 4096, want_len + 4096,
		131072, VALUE_MAX + 4096, 2 * want_len + 2
	};
	const size_t offsets[] = { 0, want_len, want_len ? want_len - 1 : 0, want_len / 2, 1, want_len + 1, 4096 };
	const size_t n = quick ? 4 : sizeof offsets / sizeof *offsets;

	for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
		for (size_t k = 0; k < n && lens[i]; k++)
			try_one(read_it, fd, lens[i], offsets[k], optional);
}

/* Piece by piece, until there is no more. */
static void try_stream(const struct way *way, int fd, size_t chunk)
{
	size_t got = 0;

	for (size_t steps = 0; steps <= want_len / chunk + 2; steps++) {
		const ssize_t n = way->read(fd, chunk, (off_t)got);
		done++;
		if (n == 0 && got == want_len)
			return;
		if (n <= 0 || got + (size_t)n > want_len || memcmp(buf, want + got, (size_t)n))
			break;
		got += (size_t)n;
	}
	fprintf(stderr, "ring: %s: a stream of pieces of %zu bytes of %zu goes wrong after %zu\n", doing, chunk,
		want_len, got);
	exit(1);
}

static int open_it(const char *path, int flags)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | flags);

	if (fd < 0)
		die(path);
	return fd;
}

static void try_flags(const char *path, int flags)
{
	/* HIPRI, DSYNC, SYNC, NOWAIT, APPEND, NOAPPEND, ATOMIC, DONTCACHE */
	for (int bit = 0; bit <= 8; bit++) {
		int fd = open_it(path, flags);
		char name[64];
		rwf = bit ? 1 << (bit - 1) : 0;
		snprintf(name, sizeof name, "preadv2, flags %d%s", rwf, flags ? ", O_DIRECT" : "");
		doing = name;
		try_all(by_preadv2, fd, rwf != 0);
		doing = "";
		close(fd);
	}
}

static void try_way(const struct way *way, const char *path, int flags)
{
	char name[64];
	int fd = open_it(path, flags);

	snprintf(name, sizeof name, "%s%s", way->name, flags ? ", O_DIRECT" : "");
	doing = name;
	try_all(way->read, fd, false);
	close(fd);
	for (size_t chunk = 64; way->ring && way->read == by_plain && chunk <= 131072; chunk *= 32) {
		if (want_len / chunk > 4096)
			continue;
		fd = open_it(path, flags);
		try_stream(way, fd, chunk);
		close(fd);
	}
	doing = "";
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--quick")) {
		quick = true;
		argc--;
		argv++;
	}
	if (argc != 3)
		return fputs("see the head of ring.c\n", stderr), 2;
	buf = mmap(NULL, BUF_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	want = mmap(NULL, BUF_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open_it(argv[2], 0);
	ssize_t n = read(fd, want, VALUE_MAX);
	if (buf == MAP_FAILED || want == MAP_FAILED || n < 0)
		die(argv[2]);
	want_len = (size_t)n;
	close(fd);
	const bool rings = ring_open(&plain, 0), aios = syscall(SYS_io_setup, 8, &aio) == 0;
	const bool thread = rings && ring_open(&polled, IORING_SETUP_SQPOLL);
	if (!rings || !thread || !aios)
		printf("not here:%s%s%s\n", rings ? "" : " io_uring", thread ? "" : " SQPOLL", aios ? "" : " aio");
	for (int direct = 0; direct < 2; direct++) {
		for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
			if (ways[i].ring == &plain ? rings : ways[i].ring == &polled ? thread : aios)
				try_way(&ways[i], argv[1], direct ? O_DIRECT : 0);
		try_flags(argv[1], direct ? O_DIRECT : 0);
	}
	printf("ok %lu\n", done);
	return 0;
}
