#include "fs/keeper/mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/shared/mount_facts.h"

/* <sys/mount.h> and <linux/mount.h> of Debian 12 cannot both be included; these three are what we need of the former.
 */
extern int umount2(const char *target, int flags);
#define COFFER_MNT_DETACH         2
#define COFFER_UMOUNT_NOFOLLOW    8
#define COFFER_MOVE_MOUNT_BENEATH 0x200

#define NOTIFY_RESEND 7 /* newer than Debian 12's headers */

struct mount {
	int fuse_fd;
	int mount_fd;
	int id;                /* the kernel's mount id, -1: it is not to be seen from here */
	unsigned major, minor; /* of the file system's device */
	char directory[PATH_MAX];
	int list_fd;     /* the list of mounts, which tells poll(2) that it has changed; -1: it cannot be had */
	bool look, gone; /* it has; what was found the last time */
};

static int sys_fsopen(const char *type) { return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC); }
static int sys_fsconfig(int fd, unsigned command, const char *key, const char *value)
{
	return (int)syscall(SYS_fsconfig, fd, command, key, value, 0);
}
static int sys_fsmount(int fd, unsigned attributes)
{
	return (int)syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes);
}

static int fail(char *why, size_t why_len, int error, const char *format, ...) __attribute__((format(printf, 4, 5)));
static int fail(char *why, size_t why_len, int error, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	vsnprintf(why, why_len, format, ap);
	va_end(ap);
	return error ? -error : -EIO;
}

/* For tests: as an older binary mounted. */
static uint64_t flags_to_want(void)
{
#ifdef COFFER_TEST_HOOKS
	if (getenv("COFFER_TEST_OLD_MOUNT"))
		return mount_flags_wanted() & ~INIT_PASSTHROUGH;
#endif
	return mount_flags_wanted();
}

/* The flags that the keeper answers are the mount's for its life: a worker's libfuse may use fewer, never more. */
static int answer_init(int fd, struct shared_init *ret_init, char *why, size_t why_len)
{
	_Alignas(8) uint8_t buf[FUSE_MIN_READ_BUFFER];
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, 10000) != 1)
		return fail(why, why_len, ETIMEDOUT, "the kernel sent no FUSE_INIT");
	ssize_t n = read(fd, buf, sizeof buf);
	if (n < 0)
		return fail(why, why_len, errno, "read of /dev/fuse: %s", strerror(errno));
	const struct fuse_in_header *in = (const void *)buf;
	const struct fuse_init_in *init = (const void *)(buf + sizeof *in);
	if ((size_t)n < sizeof *in + 16 || in->opcode != FUSE_INIT || (size_t)n > sizeof ret_init->request)
		return fail(why, why_len, EPROTO, "the kernel's first FUSE request is not FUSE_INIT");
	if (init->major != 7 || init->minor < 31)
		return fail(why, why_len, EPROTONOSUPPORT,
			    "this kernel speaks FUSE %u.%u; 7.31 or later is needed (Linux 5.4)", init->major,
			    init->minor);

	uint64_t offered = init->flags;
	if (init->flags & FUSE_INIT_EXT)
		offered |= (uint64_t)init->flags2 << 32;
	uint64_t flags = flags_to_want() & offered;
	struct {
		struct fuse_out_header header;
		struct fuse_init_out out;
	} answer = {
		.header = { .len = sizeof answer, .unique = in->unique },
		.out = {
			.major = 7,
			.minor = init->minor < FUSE_KERNEL_MINOR_VERSION ? init->minor : FUSE_KERNEL_MINOR_VERSION,
			.max_readahead = init->max_readahead,
			.flags = (uint32_t)flags,
			.flags2 = (uint32_t)(flags >> 32),
			/* RELEASE of a written file is a background request that may take a commit: many must fit */
			.max_background = 1024,
			.congestion_threshold = 768,
			.max_write = FUSE_MAX_WRITE,
			.time_gran = 1,
			.max_pages = FUSE_MAX_WRITE / 4096,
			.INIT_STACK_DEPTH = flags & INIT_PASSTHROUGH ? STACK_DEPTH : 0,
		},
	};
	if (write(fd, &answer, sizeof answer) != (ssize_t)sizeof answer)
		return fail(why, why_len, errno, "answer to FUSE_INIT: %s", strerror(errno));
	memcpy(ret_init->request, buf, (size_t)n);
	ret_init->request_len = (uint32_t)n;
	memcpy(ret_init->answer, &answer, sizeof answer);
	ret_init->answer_len = sizeof answer;
	return 0;
}

bool mount_can_resend(const struct shared_init *init)
{
	const struct fuse_init_out *out = (const void *)(init->answer + sizeof(struct fuse_out_header));
	return ((uint64_t)out->flags2 << 32) & INIT_HAS_RESEND;
}

/* A kernel without SELinux knows no such option; mount(8) leaves it out there, too. */
static int set_labels(int fs, const struct options *o)
{
	const char *const pairs[][2] = {
		{ "context", o->labels.context },
		{ "fscontext", o->labels.fscontext },
		{ "defcontext", o->labels.defcontext },
		{ "rootcontext", o->labels.rootcontext },
	};
	if (access("/sys/fs/selinux/enforce", F_OK))
		return 0;
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
		if (*pairs[i][1] && sys_fsconfig(fs, FSCONFIG_SET_STRING, pairs[i][0], pairs[i][1]))
			return -errno;
	return 0;
}

static int configure(int fs, int fuse_fd, const struct options *o)
{
	char number[16], max_read[16], source[PATH_MAX + 16];
	snprintf(number, sizeof number, "%d", fuse_fd);
	snprintf(max_read, sizeof max_read, "%u", o->max_read);
	snprintf(source, sizeof source, "coffer:%s", o->store);
	const char *const pairs[][2] = {
		{ "source", source },
		{ "subtype", "coffer" },
		{ "fd", number },
		{ "rootmode", "40000" },
		{ "user_id", "0" },
		{ "group_id", "0" },
		/* the kernel takes hold of so much of a reader's buffer for each request, however little there is to
		   read */
		{ "max_read", max_read },
	};
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
		if (sys_fsconfig(fs, FSCONFIG_SET_STRING, pairs[i][0], pairs[i][1]))
			return -errno;
	int r = set_labels(fs, o);
	if (r)
		return r;
	/* no default_permissions: the kernel would judge by attributes that differ from caller to caller */
	if (sys_fsconfig(fs, FSCONFIG_SET_FLAG, "allow_other", NULL) ||
	    sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL))
		return -errno;
	return 0;
}

/* The kernel's id of a mount, from fdinfo: no request goes to the file system. */
static int mount_id_of(int fd)
{
	char path[64], line[128];
	int id = -1;
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "mnt_id: %d", &id) == 1)
			break;
	if (f)
		fclose(f);
	return id;
}

/* With nothing open but that. */
static struct mount *make(void)
{
	struct mount *m = calloc(1, sizeof *m);

	if (!m)
		return NULL;
	m->fuse_fd = m->mount_fd = m->id = -1;
	m->list_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	m->look = true;
	return m;
}

int mount_new(const struct options *options, struct shared_init *ret_init, struct mount **ret_mount, char *why,
	      size_t why_len)
{
	int r, fs = -1;
	struct mount *m = make();
	if (!m)
		return -ENOMEM;
	m->fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (m->fuse_fd < 0) {
		r = fail(why, why_len, errno, "/dev/fuse: %s; load the fuse module, or give the container the device",
			 strerror(errno));
		goto out;
	}
	fs = sys_fsopen("fuse");
	if (fs < 0) {
		r = fail(why, why_len, errno,
			 "fsopen(fuse): %s; mounting needs root with CAP_SYS_ADMIN and Linux 5.4 or later",
			 strerror(errno));
		goto out;
	}
	r = configure(fs, m->fuse_fd, options);
	if (r) {
		fail(why, why_len, -r, "mount of a fuse file system: %s", strerror(-r));
		goto out;
	}
	m->mount_fd = sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (m->mount_fd < 0) {
		r = fail(why, why_len, errno, "fsmount: %s", strerror(errno));
		goto out;
	}
	m->id = mount_id_of(m->mount_fd);
	r = answer_init(m->fuse_fd, ret_init, why, why_len);
	if (r)
		goto out;
	*ret_mount = m;
	m = NULL;
out:
	if (fs >= 0)
		close(fs);
	mount_free(m);
	return r;
}

void mount_free(struct mount *m)
{
	if (!m)
		return;
	if (m->mount_fd >= 0)
		close(m->mount_fd);
	if (m->fuse_fd >= 0)
		close(m->fuse_fd);
	if (m->list_fd >= 0)
		close(m->list_fd);
	free(m);
}

void mount_save(const struct mount *m, struct mount_state *ret)
{
	*ret = (struct mount_state){ .id = m->id, .major = m->major, .minor = m->minor };
	snprintf(ret->directory, sizeof ret->directory, "%s", m->directory);
}

/* Of a line of mountinfo. A byte of a path may be four there. */
struct seen {
	int id;
	unsigned major, minor;
	char point[4 * PATH_MAX], source[PATH_MAX + 16];
};

/* Blanks and what else would part fields stand there as \040. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from;)
		if (*from == '\\' && strspn(from + 1, "01234567") >= 3) {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to++ = *from++;
		}
	*to = '\0';
}

/* False: it is no mount of ours. */
static bool see(const char *line, struct seen *ret)
{
	const char *type = strstr(line, " - fuse.coffer ");

	if (!type || sscanf(line, "%d %*d %u:%u %*s %16383s", &ret->id, &ret->major, &ret->minor, ret->point) != 4 ||
	    sscanf(type, " - fuse.coffer %4111s", ret->source) != 1)
		return false;
	unescape(ret->point);
	unescape(ret->source);
	return true;
}

/* The mounts of ours, one after the other, up to the one that is wanted. 1: it is there; 0: it is not; negative errno:
 * the list could not be read to its end. */
static int find_mount(bool (*wanted)(const void *by, const struct seen *seen), const void *by, struct seen *ret)
{
	char *line = NULL;
	size_t cap = 0;
	bool found = false;
	FILE *f = fopen("/proc/self/mountinfo", "re");

	while (f && !found && getline(&line, &cap, f) > 0)
		found = see(line, ret) && wanted(by, ret);
	int r = !f ? -errno : found || feof(f) ? found : -EIO;
	free(line);
	if (f)
		fclose(f);
	return r;
}

static void note(struct mount *m, const struct seen *seen)
{
	m->id = seen->id;
	m->major = seen->major;
	m->minor = seen->minor;
}

/* Ids are used again at once: it could be another's by now. Before the device is known, it is the one that was just
 * attached. */
static bool has_id(const void *by, const struct seen *seen)
{
	const struct mount *m = by;
	return seen->id == m->id && ((!m->major && !m->minor) || (seen->major == m->major && seen->minor == m->minor));
}

static bool is_there(const void *by, const struct seen *seen)
{
	const struct mount *m = by;
	return seen->major == m->major && seen->minor == m->minor && !strcmp(seen->point, m->directory);
}

static bool is_the_same(const void *by, const struct seen *seen)
{
	const struct mount *m = by;
	return seen->major == m->major && seen->minor == m->minor;
}

bool mount_only_elsewhere(const struct mount_state *s, char ret_place[PATH_MAX])
{
	struct mount m = { .major = s->major, .minor = s->minor };
	struct seen seen;

	memcpy(m.directory, s->directory, sizeof m.directory);
	if (find_mount(is_there, &m, &seen) != 0 || find_mount(is_the_same, &m, &seen) != 1)
		return false;
	snprintf(ret_place, PATH_MAX, "%.*s", PATH_MAX - 1, seen.point);
	return true;
}

int mount_adopt(const struct mount_state *s, int fuse_fd, struct mount **ret_mount)
{
	struct mount *m = make();
	if (!m)
		return -ENOMEM;
	m->fuse_fd = fuse_fd;
	m->id = s->id;
	m->major = s->major;
	m->minor = s->minor;
	memcpy(m->directory, s->directory, sizeof m->directory);
	struct seen seen;
	if (m->id < 0 && find_mount(is_there, m, &seen) == 1)
		note(m, &seen);
	*ret_mount = m;
	return 0;
}

bool mount_is_here(const struct mount *m) { return m->id >= 0; }

int mount_fuse_fd(const struct mount *m) { return m->fuse_fd; }
int mount_root_fd(const struct mount *m) { return m->mount_fd; }

int mount_point_check(const char *directory, char *why, size_t why_len)
{
	struct stat st, parent;
	char up[PATH_MAX + 4];

	if (lstat(directory, &st))
		return errno == ENOTCONN
			       ? fail(why, why_len, errno, "%s is a dead mount; umount %s first", directory, directory)
			       : fail(why, why_len, errno, "%s: %s; mkdir it first", directory, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return fail(why, why_len, ENOTDIR, "%s is not a directory", directory);
	snprintf(up, sizeof up, "%s/..", directory);
	if (!stat(up, &parent) && parent.st_dev != st.st_dev)
		return fail(why, why_len, EBUSY,
			    "%s is a mount point already; umount %s first, or choose another directory", directory,
			    directory);
	DIR *d = opendir(directory);
	if (!d)
		return fail(why, why_len, errno, "%s: %s", directory, strerror(errno));
	bool empty = true;
	for (struct dirent *e; (e = readdir(d));)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			empty = false;
	closedir(d);
	if (!empty)
		return fail(why, why_len, ENOTEMPTY, "%s is not empty; mount on an empty directory", directory);
	return 0;
}

/* The attached mount in m->directory: a view of it for the bell. */
static int take_clone(struct mount *m, int *ret_clone, char *why, size_t why_len)
{
	int clone = (int)syscall(SYS_open_tree, m->mount_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (clone < 0) {
		int r = fail(why, why_len, errno, "open_tree of %s: %s", m->directory, strerror(errno));
		mount_detach(m);
		return r;
	}
	/* the descriptor would keep the mount busy for ever */
	close(m->mount_fd);
	m->mount_fd = -1;
	struct seen seen;
	if (find_mount(has_id, m, &seen) == 1)
		note(m, &seen); /* its device, for whoever takes the mount over */
	*ret_clone = clone;
	return 0;
}

int mount_attach(struct mount *m, const char *directory, int *ret_clone, char *why, size_t why_len)
{
	int r = mount_point_check(directory, why, why_len);
	if (r)
		return r;
	if (syscall(SYS_move_mount, m->mount_fd, "", -100 /* AT_FDCWD */, directory, MOVE_MOUNT_F_EMPTY_PATH))
		return fail(why, why_len, errno, "mount at %s: %s", directory, strerror(errno));
	snprintf(m->directory, sizeof m->directory, "%s", directory);
	return take_clone(m, ret_clone, why, why_len);
}

int mount_replace(struct mount *m, struct mount *dead, int *ret_clone, char *why, size_t why_len)
{
	/* Linux 6.5 and later: first beneath it, so that nobody sees the bare directory */
	const bool beneath = !syscall(SYS_move_mount, m->mount_fd, "", -100 /* AT_FDCWD */, dead->directory,
				      MOVE_MOUNT_F_EMPTY_PATH | COFFER_MOVE_MOUNT_BENEATH);

	if (umount2(dead->directory, COFFER_UMOUNT_NOFOLLOW | COFFER_MNT_DETACH))
		return fail(why, why_len, errno, "the dead mount at %s: %s", dead->directory, strerror(errno));
	if (!beneath)
		return mount_attach(m, dead->directory, ret_clone, why, why_len);
	snprintf(m->directory, sizeof m->directory, "%s", dead->directory);
	return take_clone(m, ret_clone, why, why_len);
}

bool mount_aborted(const struct mount *m)
{
	struct pollfd p = { .fd = m->fuse_fd };
	return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

struct dead {
	const char *directory, *store;
};

static bool is_dead(const void *by, const struct seen *seen)
{
	const struct dead *d = by;
	return !strcmp(seen->point, d->directory) && !strncmp(seen->source, "coffer:", 7) &&
	       !strcmp(seen->source + 7, d->store);
}

/* Through a fusectl of our own: nobody need have mounted one. */
static void abort_connection(unsigned minor)
{
	char path[32];
	int fs = sys_fsopen("fusectl"), root = -1, fd = -1;

	if (fs >= 0 && !sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL))
		root = sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	snprintf(path, sizeof path, "%u/abort", minor);
	if (root >= 0)
		fd = openat(root, path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!write(fd, "1", 1);
	const int all[] = { fd, root, fs };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (all[i] >= 0)
			close(all[i]);
}

void mount_abort(const struct mount *m)
{
	/* one that has ended is no more: its number may be another's by now */
	if (m->major == 0 && m->minor != 0 && m->fuse_fd >= 0 && !mount_aborted(m))
		abort_connection(m->minor);
}

bool mount_clear_dead(const char *directory, const char *store)
{
	const struct dead dead = { directory, store };
	struct seen seen;
	struct stat st;

	if (find_mount(is_dead, &dead, &seen) != 1)
		return false;
	/* What is left of its daemon may wait in the kernel, /dev/fuse still open, for an answer that nobody gives any
	 * more: and so would we. */
	if (seen.major == 0)
		abort_connection(seen.minor);
	if (!lstat(directory, &st) || errno != ENOTCONN)
		return false;
	return !umount2(directory, COFFER_UMOUNT_NOFOLLOW | COFFER_MNT_DETACH);
}

const char *mount_place(const struct mount *m) { return m->directory; }

int mount_list_fd(const struct mount *m) { return m->list_fd; }
void mount_list_changed(struct mount *m) { m->look = true; }

bool mount_attached(struct mount *m)
{
	struct pollfd list = { .fd = m->list_fd, .events = POLLPRI };
	struct seen seen;

	if (m->id < 0)
		return true;
	if (m->look || m->list_fd < 0 || poll(&list, 1, 0) != 0) {
		/* only what was read says that it is gone, and twice: kernels before 5.8 leave out a line when another
		 * mount goes meanwhile */
		int r = find_mount(has_id, m, &seen);
		if (!r)
			r = find_mount(has_id, m, &seen);
		m->look = r < 0;
		m->gone = r == 0;
		if (r == 1 && m->directory[0] && strlen(seen.point) < sizeof m->directory) /* mount --move */
			memcpy(m->directory, seen.point, strlen(seen.point) + 1);
	}
	return !m->gone;
}

int mount_detach(struct mount *m)
{
	if (!m->directory[0] || m->id < 0 || !mount_attached(m))
		return 0;
	if (!umount2(m->directory, COFFER_UMOUNT_NOFOLLOW))
		return 0;
	if (!umount2(m->directory, COFFER_UMOUNT_NOFOLLOW | COFFER_MNT_DETACH))
		return 0;
	return -errno;
}

int mount_resend(const struct mount *m)
{
	struct fuse_out_header notify = { .len = sizeof notify, .error = NOTIFY_RESEND, .unique = 0 };
	return write(m->fuse_fd, &notify, sizeof notify) == (ssize_t)sizeof notify ? 0 : -errno;
}

int mount_private_proc(void)
{
	int fs = sys_fsopen("proc"), fd = -1;

	if (fs >= 0) {
		/* subset and hidepid are newer than the call itself: without them it is still a procfs of ours */
		(void)sys_fsconfig(fs, FSCONFIG_SET_STRING, "hidepid", "0");
		(void)sys_fsconfig(fs, FSCONFIG_SET_STRING, "subset", "pid");
		if (!sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL))
			fd = sys_fsmount(fs,
					 MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY);
		close(fs);
	}
	if (fd < 0)
		fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
