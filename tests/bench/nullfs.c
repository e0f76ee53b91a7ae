/* The yardstick of the benchmark: a libfuse server that decides, decrypts and records nothing.
 *
 *   bench_nullfs MOUNTPOINT SECRETS SIZE[,SIZE…]
 *
 * It serves coffer's tree, /v<SIZE>-<NUMBER>/current and versions/1 with SECRETS directories for each SIZE, from one
 * block of memory, in the foreground until it is unmounted. Mount options, timeouts and open flags are those that
 * coffer uses, so that what coffer takes beyond it is coffer's own work and not the kernel's. */
#define FUSE_USE_VERSION 314

#include <errno.h>
#include <fuse_lowlevel.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SIZES_MAX   8
#define SECRETS_MAX 1000000u
#define VALUE_LEN   (1u << 20)
#define MAX_WRITE   (128u * 1024)

/* An inode is its kind and the number of its secret, counted over all sizes; the root is 1. */
enum kind { KIND_NONE = 0, KIND_ROOT, KIND_SECRET, KIND_VERSIONS, KIND_CURRENT, KIND_VERSION };

struct tree {
	uint32_t secrets; /* of each size */
	size_t n_sizes;
	uint32_t sizes[SIZES_MAX];
	struct timespec born;
	char *value;
};

static uint64_t ino_make(enum kind kind, uint32_t secret)
{
	return kind == KIND_ROOT ? FUSE_ROOT_ID : (uint64_t)kind << 32 | secret;
}

static enum kind ino_kind(uint64_t ino)
{
	if (ino == FUSE_ROOT_ID)
		return KIND_ROOT;
	return ino >> 32 <= KIND_VERSION ? (enum kind)(ino >> 32) : KIND_NONE;
}

static uint32_t size_of(const struct tree *t, uint64_t ino) { return t->sizes[(uint32_t)ino / t->secrets]; }

static void attributes(const struct tree *t, const struct fuse_ctx *who, uint64_t ino, struct stat *ret_st)
{
	enum kind kind = ino_kind(ino);
	struct stat st = { .st_ino = ino, .st_mtim = t->born, .st_ctim = t->born, .st_atim = t->born };

	if (kind == KIND_CURRENT || kind == KIND_VERSION) {
		st.st_mode = S_IFREG | 0400;
		st.st_nlink = 1;
		st.st_uid = who->uid;
		st.st_gid = who->gid;
		st.st_size = size_of(t, ino);
	} else {
		st.st_mode = S_IFDIR | 0755;
		st.st_nlink = 2;
	}
	*ret_st = st;
}

/* The number of the secret that a name stands for. */
static int secret_find(const struct tree *t, const char *name, uint32_t *ret_secret)
{
	uint32_t size, number;
	char again[64];

	if (sscanf(name, "v%" SCNu32 "-%" SCNu32, &size, &number) != 2 || number >= t->secrets)
		return -ENOENT;
	snprintf(again, sizeof again, "v%" PRIu32 "-%" PRIu32, size, number);
	if (strcmp(again, name) != 0)
		return -ENOENT;
	for (size_t i = 0; i < t->n_sizes; i++)
		if (t->sizes[i] == size) {
			*ret_secret = (uint32_t)i * t->secrets + number;
			return 0;
		}
	return -ENOENT;
}

static int child_find(const struct tree *t, uint64_t parent, const char *name, uint64_t *ret_ino)
{
	uint32_t secret = (uint32_t)parent;
	enum kind kind = ino_kind(parent);

	if (kind == KIND_ROOT) {
		if (secret_find(t, name, &secret) < 0)
			return -ENOENT;
		*ret_ino = ino_make(KIND_SECRET, secret);
	} else if (kind == KIND_SECRET && strcmp(name, "current") == 0) {
		*ret_ino = ino_make(KIND_CURRENT, secret);
	} else if (kind == KIND_SECRET && strcmp(name, "versions") == 0) {
		*ret_ino = ino_make(KIND_VERSIONS, secret);
	} else if (kind == KIND_VERSIONS && strcmp(name, "1") == 0) {
		*ret_ino = ino_make(KIND_VERSION, secret);
	} else {
		return -ENOENT;
	}
	return 0;
}

static void null_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_write = MAX_WRITE;
	/* coffer answers from locked memory with writev */
	conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

static void null_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct tree *t = fuse_req_userdata(req);
	struct fuse_entry_param e = { .generation = 1, .entry_timeout = HUGE_VAL, .attr_timeout = 0 };

	if (child_find(t, parent, name, &e.ino) < 0) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	attributes(t, fuse_req_ctx(req), e.ino, &e.attr);
	fuse_reply_entry(req, &e);
}

static void null_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	attributes(fuse_req_userdata(req), fuse_req_ctx(req), ino, &st);
	fuse_reply_attr(req, &st, 0);
}

static void null_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->direct_io = 1;
	fi->noflush = 1;
	fuse_reply_open(req, fi);
}

static void null_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off, struct fuse_file_info *fi)
{
	const struct tree *t = fuse_req_userdata(req);
	size_t size = size_of(t, ino);

	(void)fi;
	if ((size_t)off >= size)
		len = 0;
	else if (len > size - (size_t)off)
		len = size - (size_t)off;
	fuse_reply_buf(req, len ? t->value + off : NULL, len);
}

static void null_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, 0);
}

/* One name after the other from offset; false when there is no more. */
static int child_at(const struct tree *t, uint64_t dir, off_t at, char ret_name[64], uint64_t *ret_ino)
{
	static const char *const files[] = { "current", "versions" };
	uint32_t secret = (uint32_t)dir;

	switch (ino_kind(dir)) {
	case KIND_ROOT:
		if ((uint64_t)at >= (uint64_t)t->secrets * t->n_sizes)
			return -ENOENT;
		secret = (uint32_t)at;
		snprintf(ret_name, 64, "v%" PRIu32 "-%" PRIu32, size_of(t, secret), secret % t->secrets);
		break;
	case KIND_SECRET:
		if (at >= 2)
			return -ENOENT;
		snprintf(ret_name, 64, "%s", files[at]);
		break;
	case KIND_VERSIONS:
		if (at >= 1)
			return -ENOENT;
		snprintf(ret_name, 64, "1");
		break;
	case KIND_NONE:
	case KIND_CURRENT:
	case KIND_VERSION:
	default:
		return -ENOTDIR;
	}
	return child_find(t, dir, ret_name, ret_ino);
}

static void null_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	const struct tree *t = fuse_req_userdata(req);
	char buf[4096], name[64];
	size_t used = 0;
	uint64_t child;

	(void)fi;
	if (size > sizeof buf)
		size = sizeof buf;
	for (; child_at(t, ino, off, name, &child) == 0; off++) {
		struct stat st;

		attributes(t, fuse_req_ctx(req), child, &st);
		size_t need = fuse_add_direntry(req, buf + used, size - used, name, &st, off + 1);
		if (need > size - used)
			break;
		used += need;
	}
	fuse_reply_buf(req, buf, used);
}

static const struct fuse_lowlevel_ops null_ops = {
	.init = null_init,
	.lookup = null_lookup,
	.getattr = null_getattr,
	.open = null_open,
	.read = null_read,
	.release = null_release,
	.readdir = null_readdir,
};

static int tree_from_args(char **argv, struct tree *ret_tree)
{
	struct tree t = { .secrets = (uint32_t)strtoul(argv[2], NULL, 10) };
	char *sizes = argv[3];

	if (t.secrets == 0 || t.secrets > SECRETS_MAX)
		return -EINVAL;
	for (char *word; (word = strsep(&sizes, ",")); t.n_sizes++) {
		unsigned long size = strtoul(word, NULL, 10);
		if (t.n_sizes == SIZES_MAX || size > VALUE_LEN)
			return -EINVAL;
		t.sizes[t.n_sizes] = (uint32_t)size;
	}
	clock_gettime(CLOCK_REALTIME, &t.born);
	t.value = mmap(NULL, VALUE_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (t.value == MAP_FAILED)
		return -ENOMEM;
	memset(t.value, 'x', VALUE_LEN);
	*ret_tree = t;
	return 0;
}

int main(int argc, char **argv)
{
	char name[] = "nullfs", flag[] = "-o",
	     options[] = "allow_other,nosuid,nodev,noexec,fsname=nullfs,subtype=nullfs";
	char *fuse_argv[] = { name, flag, options, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, fuse_argv);
	struct tree tree;
	int status = 1;

	if (argc != 4 || tree_from_args(argv, &tree) < 0) {
		fprintf(stderr, "usage: bench_nullfs MOUNTPOINT SECRETS SIZE[,SIZE...]\n");
		return 2;
	}
	struct fuse_session *session = fuse_session_new(&args, &null_ops, sizeof null_ops, &tree);
	if (!session)
		goto out;
	if (fuse_set_signal_handlers(session) < 0 || fuse_session_mount(session, argv[1]) < 0)
		goto out;
	status = fuse_session_loop(session) == 0 ? 0 : 1;
	fuse_session_unmount(session);
	fuse_remove_signal_handlers(session);
out:
	if (session)
		fuse_session_destroy(session);
	fuse_opt_free_args(&args);
	munmap(tree.value, VALUE_LEN);
	return status;
}
