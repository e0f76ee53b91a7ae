/* A file system of one file whose reads and writes are never answered: who is at one waits in the kernel, and not even
 * SIGKILL ends that, until this program is ended.
 *
 *   stuckfs DIRECTORY
 *
 * The file is DIRECTORY/file. Says "a read waits", or "a write waits", for each. SIGTERM unmounts it; they then fail
 * with ENOTCONN. Speaks the kernel's protocol itself, for it needs a few requests of it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILE_INO 2u

static int fuse = -1;
static volatile sig_atomic_t stop;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

static void answer(uint64_t unique, int error, const void *what, size_t len)
{
	struct fuse_out_header h = { .len = (uint32_t)(sizeof h + len), .error = error, .unique = unique };
	const struct iovec v[] = { { &h, sizeof h }, { (void *)(uintptr_t)what, len } };

	(void)!writev(fuse, v, len ? 2 : 1);
}

static struct fuse_attr attributes(uint64_t ino)
{
	return (struct fuse_attr){ .ino = ino,
				   .size = ino == FILE_INO ? 4096 : 0,
				   .mode = ino == FILE_INO ? S_IFREG | 0444 : S_IFDIR | 0755,
				   .nlink = 1 };
}

static void serve(const struct fuse_in_header *in, const void *more)
{
	const struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096, .max_background = 12
	};
	const struct fuse_entry_out entry = { .nodeid = FILE_INO, .attr = attributes(FILE_INO) };
	const struct fuse_attr_out attr = { .attr = attributes(in->nodeid) };
	const struct fuse_open_out opened = { .open_flags = FOPEN_DIRECT_IO };

	switch (in->opcode) {
	case FUSE_INIT:
		answer(in->unique, 0, &init, sizeof init);
		break;
	case FUSE_LOOKUP:
		answer(in->unique, strcmp(more, "file") ? -ENOENT : 0, &entry, strcmp(more, "file") ? 0 : sizeof entry);
		break;
	case FUSE_GETATTR:
		answer(in->unique, 0, &attr, sizeof attr);
		break;
	case FUSE_OPEN:
		answer(in->unique, 0, &opened, sizeof opened);
		break;
	case FUSE_READ:
		puts("a read waits");
		break;
	case FUSE_WRITE:
		puts("a write waits");
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	case FUSE_RELEASE:
	case FUSE_FLUSH:
		answer(in->unique, 0, NULL, 0);
		break;
	default:
		answer(in->unique, -ENOSYS, NULL, 0);
		break;
	}
}

int main(int argc, char **argv)
{
	static _Alignas(8) char buf[FUSE_MIN_READ_BUFFER + 4096];
	const struct sigaction term = { .sa_handler = on_term };
	char options[96];

	if (argc != 2)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGTERM, &term, NULL);
	fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fuse);
	if (fuse < 0 || mount("stuckfs", argv[1], "fuse.stuckfs", MS_NOSUID | MS_NODEV, options)) {
		perror(argv[1]);
		return 1;
	}
	while (!stop) {
		ssize_t n = read(fuse, buf, sizeof buf);
		if (n < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (n < (ssize_t)sizeof(struct fuse_in_header))
			break;
		serve((const void *)buf, buf + sizeof(struct fuse_in_header));
	}
	close(fuse); /* before the unmount, which waits for nobody then */
	return umount2(argv[1], MNT_DETACH) ? 1 : 0;
}
