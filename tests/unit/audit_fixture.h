/* A log in a directory of its own, with its head in shared memory as the keeper has it, and tools to play the attacker.
 */
#ifndef COFFER_TESTS_AUDIT_FIXTURE_H
#define COFFER_TESTS_AUDIT_FIXTURE_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/audit/log.h"
#include "store/crypto/secbuf.h"

struct FTW;
struct stat;

struct log {
	char dir[256], verify[300], audit[300];
	int dir_fd, head_fd;
	struct audit_head *head;
	struct audit_config config;
	struct audit *a;
	char why[512];
	struct audit_verify_report report;
	uint64_t keep_bytes; /* retention, as the keeper applies it; both 0: none */
	int64_t keep_seconds;
};

static inline int log_segment_open(void *arg, uint32_t number, bool create, int *ret_fd)
{
	return audit_segment_open_at(((struct log *)arg)->dir_fd, number, create, 0, ret_fd);
}

static inline int log_retain_callback(void *arg, uint32_t recorded, uint32_t *ret_due)
{
	const struct log *l = arg;

	return audit_retain(l->dir_fd, l->keep_bytes, l->keep_seconds, recorded, ret_due);
}

static inline int log_open(struct log *l) { return audit_open(&l->config, &l->a, l->why, sizeof l->why); }

static inline struct log *log_new(const char *where)
{
	struct log *l = calloc(1, sizeof *l);

	ck_assert_ptr_nonnull(l);
	snprintf(l->dir, sizeof l->dir, "%s/coffer-audit-XXXXXX", where);
	ck_assert_ptr_nonnull(mkdtemp(l->dir));
	snprintf(l->verify, sizeof l->verify, "%s/test.verify", l->dir);
	snprintf(l->audit, sizeof l->audit, "%s/audit", l->dir);
	ck_assert_int_eq(audit_create(l->dir, l->verify, "test", 0, l->why, sizeof l->why), 0);
	l->dir_fd = open(l->audit, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	l->head_fd = openat(l->dir_fd, "head", O_RDWR | O_CLOEXEC);
	l->head = mmap(NULL, sizeof *l->head, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(l->head != MAP_FAILED);
	l->config = (struct audit_config){ .dir_fd = l->dir_fd,
					   .head_fd = l->head_fd,
					   .head = l->head,
					   .vault = "test",
					   .host = "box",
					   .segment_open = log_segment_open,
					   .retain = log_retain_callback,
					   .arg = l };
	return l;
}

static inline struct log *log_new_open(void)
{
	struct log *l = log_new("/tmp");

	ck_assert_int_eq(log_open(l), 0);
	return l;
}

/* For tests that make many logs: where a sync costs nothing. */
static inline const char *in_memory(void) { return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; }

/* As if the worker had been killed: nothing is flushed. */
static inline void log_drop(struct log *l)
{
	audit_free(l->a);
	l->a = NULL;
}

static inline int log_remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

static inline void log_free(struct log *l)
{
	audit_free(l->a);
	(void)audit_protect(l->dir_fd, false);
	close(l->dir_fd);
	close(l->head_fd);
	munmap(l->head, sizeof *l->head);
	nftw(l->dir, log_remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(l);
}

static inline int log_verify(struct log *l)
{
	return audit_verify(l->dir, l->verify, &l->report, l->why, sizeof l->why);
}

#define log_verify_clean(l)                                            \
	do {                                                           \
		int r_ = log_verify(l);                                \
		ck_assert_msg(r_ == 0, "verify: %d %s", r_, (l)->why); \
	} while (0)

/* Retention with these bounds, from a tick. */
static inline void log_retain(struct log *l, uint64_t keep_bytes, int64_t keep_seconds)
{
	l->keep_bytes = keep_bytes;
	l->keep_seconds = keep_seconds;
	l->a->retain_after = 0;
	ck_assert_int_eq(audit_tick(l->a), 0);
	l->keep_bytes = 0;
	l->keep_seconds = 0;
}

/* One open of `name` by uid 1000. */
static inline int log_event(struct log *l, enum audit_result result, const char *name, uint64_t unique, bool resent)
{
	struct audit_caller who = {
		.uid = 1000, .gid = 1000, .pid = 77, .neighbour = 1000, .loginuid = -1, .comm = "cat"
	};
	struct audit_event e = {
		.operation = AUDIT_SECRET_GET,
		.result = result,
		.error = result == AUDIT_ALLOW ? 0 : EACCES,
		.secret = name,
		.caller = &who,
		.unique = unique,
		.resent = resent,
	};

	return audit_append(l->a, &e, NULL);
}

static inline void log_allow(struct log *l, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 0, false), 0);
}

static inline uint64_t log_seq(struct log *l) { return audit_at(l->head)->seq; }

static inline void log_path(struct log *l, uint32_t segment, char ret[400])
{
	char name[AUDIT_SEGMENT_NAME_LEN];

	audit_segment_name(segment, name);
	snprintf(ret, 400, "%s/%s", l->audit, name);
}

/* A file's text, ended by a NUL; to be freed. */
static inline char *file_get(const char *path, size_t *ret_len)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	char *text = calloc(1, (size_t)st.st_size + 1);
	ck_assert_ptr_nonnull(text);
	ck_assert_int_eq(audit_pread_full(fd, text, (size_t)st.st_size, 0), 0);
	close(fd);
	*ret_len = (size_t)st.st_size;
	return text;
}

static inline void file_put(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, data, len, 0), (ssize_t)len);
	close(fd);
}

static inline char *log_text(struct log *l, uint32_t segment, size_t *ret_len)
{
	char path[400];

	log_path(l, segment, path);
	return file_get(path, ret_len);
}

static inline void log_text_put(struct log *l, uint32_t segment, const void *data, size_t len)
{
	char path[400];

	log_path(l, segment, path);
	file_put(path, data, len);
}

/* Line i of a text, from 0, with its newline; its length in *ret_len. */
static inline char *line_at(char *text, unsigned int i, size_t *ret_len)
{
	while (i--)
		text = strchr(text, '\n') + 1;
	*ret_len = (size_t)(strchr(text, '\n') - text) + 1;
	return text;
}

static inline unsigned int occurrences(const char *text, const char *what)
{
	unsigned int n = 0;

	for (; (text = strstr(text, what)) != NULL; text += strlen(what))
		n++;
	return n;
}

static inline int suite_run(TCase *const *cases, size_t n, const char *name)
{
	Suite *s = suite_create(name);
	SRunner *runner;
	int failed;

	for (size_t i = 0; i < n; i++)
		suite_add_tcase(s, cases[i]);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
