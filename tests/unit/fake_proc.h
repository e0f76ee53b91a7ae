/* A directory that looks like a procfs where a test needs what the machine does not show: links and files as the kernel
 * would have them. */
#ifndef COFFER_TESTS_FAKE_PROC_H
#define COFFER_TESTS_FAKE_PROC_H

#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct FTW;
struct stat;

#define FAKE_INIT_MNT 4026531832u

struct fake_proc {
	char path[64];
	int fd;
};

static inline void fake_proc_new(struct fake_proc *p)
{
	strcpy(p->path, "/tmp/fake-proc-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(p->path));
	p->fd = open(p->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(p->fd, 0);
}

static inline int fake_proc_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void fake_proc_free(struct fake_proc *p)
{
	close(p->fd);
	nftw(p->path, fake_proc_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void fake_file(struct fake_proc *p, const char *who, const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", who, name);
	unlinkat(p->fd, path, 0);
	int fd = openat(p->fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static inline void fake_namespace(struct fake_proc *p, const char *who, const char *type, uint32_t number)
{
	char path[128], text[64];

	snprintf(path, sizeof(path), "%s/ns/%s", who, type);
	snprintf(text, sizeof(text), "%s:[%u]", type, number);
	unlinkat(p->fd, path, 0);
	ck_assert_int_eq(symlinkat(text, p->fd, path), 0);
}

/* A process in the initial pid, user and cgroup namespaces and the mount namespace FAKE_INIT_MNT. who: "self", or its
 * number. */
static inline void fake_process(struct fake_proc *p, const char *who, const char *comm, uint64_t start_time)
{
	char path[64], text[512];

	ck_assert_int_eq(mkdirat(p->fd, who, 0700), 0);
	snprintf(path, sizeof(path), "%s/ns", who);
	ck_assert_int_eq(mkdirat(p->fd, path, 0700), 0);
	fake_namespace(p, who, "user", 0xeffffffdu);
	fake_namespace(p, who, "pid", 0xeffffffcu);
	fake_namespace(p, who, "cgroup", 0xeffffffbu);
	fake_namespace(p, who, "mnt", FAKE_INIT_MNT);
	snprintf(path, sizeof(path), "%s/exe", who);
	ck_assert_int_eq(symlinkat("/usr/bin/fake", p->fd, path), 0);
	snprintf(text, sizeof(text),
		 "Name:\t%s\nTgid:\t%s\nPid:\t%s\nPPid:\t1\nUid:\t1000\t1000\t1000\t1000\nGid:"
		 "\t1000\t1000\t1000\t1000\nGroups:\t30 20 20 \nNSpid:\t%s\nKthread:\t0\nThreads:\t1\n",
		 comm, who, who, who);
	fake_file(p, who, "status", text);
	snprintf(text, sizeof(text), "%s (%s) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 %llu 9 9\n", who, comm,
		 (unsigned long long)start_time);
	fake_file(p, who, "stat", text);
	fake_file(p, who, "cgroup", "0::/system.slice/fake.service\n");
	fake_file(p, who, "loginuid", "4294967295");
}

/* The daemon itself, an init process and kthreadd. */
static inline void fake_machine(struct fake_proc *p)
{
	fake_process(p, "self", "coffer", 1);
	fake_process(p, "1", "systemd", 2);
	fake_process(p, "2", "kthreadd", 3);
	fake_file(p, "2", "stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 1 0 0 20 0 1 0 27 0 0\n");
}

static inline void fake_remove(struct fake_proc *p, const char *path) { ck_assert_int_eq(unlinkat(p->fd, path, 0), 0); }

#endif
