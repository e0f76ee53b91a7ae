/* One system call and what became of it, in a word: for scripts that must know the errno, which the tools of a shell
 * only describe.
 *
 *   sysop COMMAND [ARGUMENT…] [+ COMMAND [ARGUMENT…]]…
 *   sysop -                         commands from stdin, a line each; an answer on stdout for each
 *
 * Every command answers with one line: "ok", perhaps with facts after it, or the name of the errno ("EACCES"). Content
 * is answered as its SHA-256 in hex and its length. The exit status is that of the last command: 0 for ok, 1 for an
 * errno, 2 for a command that does not exist. After an error the commands that follow a + are not run.
 *
 * There is one descriptor at hand, which open and fd set and most commands use, so that rights can be watched on an
 * open file: open r PATH, then read again and again. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <openssl/sha.h>

#define CONTENT_MAX (4u << 20)
#define WORDS_MAX   16

static int at_hand = -1;
static void *mapped = MAP_FAILED;
static size_t mapped_len;
static unsigned char content[CONTENT_MAX];
static sigjmp_buf bus;

/* ---- answers ---- */

static int answer_errno(void)
{
	const char *name = strerrorname_np(errno);

	printf("%s\n", name ? name : "an unknown errno");
	return 1;
}

static int answer(bool ok)
{
	if (!ok)
		return answer_errno();
	puts("ok");
	return 0;
}

static int answer_content(ssize_t len)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];

	if (len < 0)
		return answer_errno();
	SHA256(content, (size_t)len, digest);
	fputs("ok ", stdout);
	for (size_t i = 0; i < sizeof digest; i++)
		printf("%02x", digest[i]);
	printf(" %zd\n", len);
	return 0;
}

/* ---- the descriptor at hand ---- */

static int keep(int fd)
{
	if (fd < 0)
		return answer_errno();
	if (at_hand > 2)
		close(at_hand);
	at_hand = fd;
	return answer(true);
}

/* open FLAGS PATH: r, w, rw, and then any of t (O_TRUNC), a (O_APPEND), c (O_CREAT), x (O_EXCL), e (O_CLOEXEC), p
 * (O_PATH) after a comma: "w,ta" */
static int run_open(char **words)
{
	int flags = !strncmp(words[0], "rw", 2) ? O_RDWR : words[0][0] == 'w' ? O_WRONLY : O_RDONLY;
	const char *more = strchr(words[0], ',');

	for (; more && *more; more++)
		flags |= *more == 't'   ? O_TRUNC
			 : *more == 'a' ? O_APPEND
			 : *more == 'c' ? O_CREAT
			 : *more == 'x' ? O_EXCL
			 : *more == 'e' ? O_CLOEXEC
			 : *more == 'p' ? O_PATH
					: 0;
	return keep(open(words[1], flags, 0600));
}

static int run_fd(char **words)
{
	at_hand = atoi(words[0]);
	return answer(fcntl(at_hand, F_GETFD) >= 0);
}

static int run_close(char **words)
{
	int r = close(at_hand);

	(void)words;
	at_hand = -1;
	return answer(r == 0);
}

/* From offset 0 to end of file, whatever was read before. */
static ssize_t slurp(int fd)
{
	size_t len = 0;
	ssize_t n;

	while ((n = pread(fd, content + len, CONTENT_MAX - len, (off_t)len)) > 0)
		len += (size_t)n;
	return n < 0 ? -1 : (ssize_t)len;
}

static int run_read(char **words)
{
	(void)words;
	return answer_content(slurp(at_hand));
}

/* seqread: read(2) from the file's position on, for files that have none to give to pread */
static int run_seqread(char **words)
{
	size_t len = 0;
	ssize_t n;

	(void)words;
	while (len < CONTENT_MAX && (n = read(at_hand, content + len, CONTENT_MAX - len)) > 0)
		len += (size_t)n;
	return answer_content(n < 0 ? -1 : (ssize_t)len);
}

static int run_pread(char **words)
{
	return answer_content(
		pread(at_hand, content, strtoul(words[1], NULL, 10) % (CONTENT_MAX + 1), atoll(words[0])));
}

static int run_write(char **words)
{
	return answer(write(at_hand, words[0], strlen(words[0])) == (ssize_t)strlen(words[0]));
}

static int run_pwrite(char **words)
{
	return answer(pwrite(at_hand, words[1], strlen(words[1]), atoll(words[0])) == (ssize_t)strlen(words[1]));
}

static int run_fsync(char **words)
{
	(void)words;
	return answer(fsync(at_hand) == 0);
}
static int run_ftruncate(char **words) { return answer(ftruncate(at_hand, atoll(words[0])) == 0); }

static int run_seekend(char **words)
{
	off_t at = lseek(at_hand, 0, SEEK_END);

	(void)words;
	if (at < 0)
		return answer_errno();
	printf("ok %jd\n", (intmax_t)at);
	return 0;
}

/* dup: a duplicate is made and closed, which sends a FLUSH */
static int run_dup(char **words)
{
	int fd = dup(at_hand);

	(void)words;
	return answer(fd >= 0 && close(fd) == 0);
}

/* text: read(2) from the file's position on to its end; the answer is the text itself, without its last newline */
static int run_text(char **words)
{
	size_t len = 0;
	ssize_t n;

	(void)words;
	while (len < CONTENT_MAX && (n = read(at_hand, content + len, CONTENT_MAX - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		return answer_errno();
	if (len && content[len - 1] == '\n')
		len--;
	printf("ok %.*s\n", (int)len, (char *)content);
	return 0;
}

/* put FILE PIECE: the bytes of FILE by write(2), PIECE bytes at a time */
static int run_put(char **words)
{
	size_t piece = strtoul(words[1], NULL, 10), at = 0;
	int from = open(words[0], O_RDONLY | O_CLOEXEC);
	ssize_t len, n = 1;

	if (from < 0)
		return answer_errno();
	len = slurp(from);
	close(from);
	while (len >= 0 && at < (size_t)len &&
	       (n = write(at_hand, content + at, (size_t)len - at < piece ? (size_t)len - at : piece)) > 0)
		at += (size_t)n;
	return answer(len >= 0 && n > 0);
}

/* ---- another process, another caller ---- */

/* fork: a child ends, and so closes what it inherited */
static int run_fork(char **words)
{
	pid_t pid = fork();

	(void)words;
	if (pid == 0)
		_exit(0);
	return answer(pid > 0 && waitpid(pid, NULL, 0) == pid);
}

static int unix_socket(const char *path, struct sockaddr_un *ret_address)
{
	*ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof ret_address->sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(ret_address->sun_path, path, strlen(path));
	return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

union rights {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* sendfd SOCKET: the descriptor at hand, by SCM_RIGHTS, to who waits there with recvfd */
static int run_sendfd(char **words)
{
	struct sockaddr_un address;
	union rights rights = { .bytes = { 0 } };
	struct iovec byte = { .iov_base = &(char){ 0 }, .iov_len = 1 };
	struct msghdr m = { .msg_name = &address,
			    .msg_namelen = sizeof address,
			    .msg_iov = &byte,
			    .msg_iovlen = 1,
			    .msg_control = rights.bytes,
			    .msg_controllen = sizeof rights.bytes };
	int s = unix_socket(words[0], &address), r;

	rights.align = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
					 .cmsg_level = SOL_SOCKET,
					 .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&rights.align), &at_hand, sizeof at_hand);
	r = answer(s >= 0 && sendmsg(s, &m, 0) == 1);
	close(s);
	return r;
}

/* recvfd SOCKET: makes the socket, which anybody may write to, and takes the descriptor that comes */
static int run_recvfd(char **words)
{
	struct sockaddr_un address;
	union rights rights = { .bytes = { 0 } };
	char byte;
	struct iovec io = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr m = {
		.msg_iov = &io, .msg_iovlen = 1, .msg_control = rights.bytes, .msg_controllen = sizeof rights.bytes
	};
	int s = unix_socket(words[0], &address), fd = -1;

	if (s < 0 || bind(s, (struct sockaddr *)&address, sizeof address) < 0 || chmod(words[0], 0666) < 0 ||
	    recvmsg(s, &m, 0) < 0)
		return answer_errno();
	if (m.msg_controllen >= CMSG_LEN(sizeof fd))
		memcpy(&fd, CMSG_DATA(&rights.align), sizeof fd);
	close(s);
	errno = EBADMSG;
	return keep(fd);
}

/* groups GID,GID…: of a process that is root by its real uid, whoever it acts as */
static int run_groups(char **words)
{
	gid_t groups[32];
	size_t n = 0;
	uid_t uid = geteuid();
	bool ok;

	for (char *save = NULL, *word = strtok_r(words[0], ",", &save); word && n < 32;
	     word = strtok_r(NULL, ",", &save))
		groups[n++] = (gid_t)strtoul(word, NULL, 10);
	ok = seteuid(0) == 0 && setgroups(n, groups) == 0;
	return answer(seteuid(uid) == 0 && ok);
}

/* act-as UID GID: in place, by the effective uid, of a process whose real uid is root's */
static int run_act_as(char **words)
{
	return answer(seteuid(0) == 0 && setegid((gid_t)strtoul(words[1], NULL, 10)) == 0 &&
		      seteuid((uid_t)strtoul(words[0], NULL, 10)) == 0);
}

/* ---- the ways of the page cache ---- */

static int run_sendfile(char **words)
{
	int to = memfd_create("sysop", MFD_CLOEXEC);
	off_t at = 0;
	ssize_t n, len;

	(void)words;
	while ((n = sendfile(to, at_hand, &at, CONTENT_MAX)) > 0)
		;
	len = n < 0 ? -1 : slurp(to);
	int error = errno;
	close(to);
	errno = error;
	return answer_content(len);
}

static int run_splice(char **words)
{
	int ends[2];
	off64_t at = 0;
	size_t len = 0;
	ssize_t n, got;

	(void)words;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return answer_errno();
	while ((n = splice(at_hand, &at, ends[1], NULL, 32768, 0)) > 0)
		for (; n > 0 && (got = read(ends[0], content + len, (size_t)n)) > 0; n -= got)
			len += (size_t)got;
	int error = errno;
	close(ends[0]);
	close(ends[1]);
	errno = error;
	return answer_content(n < 0 ? -1 : (ssize_t)len);
}

static void on_bus(int signal)
{
	(void)signal;
	siglongjmp(bus, 1);
}

static int map_content(void)
{
	struct sigaction act = { .sa_handler = on_bus };

	sigaction(SIGBUS, &act, NULL);
	if (sigsetjmp(bus, 1)) {
		puts("SIGBUS");
		return 1;
	}
	memcpy(content, mapped, mapped_len);
	return answer_content((ssize_t)mapped_len);
}

/* mapwrite BYTE: maps the first page shared and writable, and writes to it; "SIGBUS": the map is there, and a touch is
 * refused */
static int run_mapwrite(char **words)
{
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, at_hand, 0);
	struct sigaction act = { .sa_handler = on_bus };
	int r;

	if (p == MAP_FAILED)
		return answer_errno();
	sigaction(SIGBUS, &act, NULL);
	if (sigsetjmp(bus, 1)) {
		munmap(p, 4096);
		puts("SIGBUS");
		return 1;
	}
	*(volatile char *)p = words[0][0];
	r = msync(p, 4096, MS_SYNC);
	munmap(p, 4096);
	return answer(r == 0);
}

/* mmap private|shared: maps the whole file and reads it. The map stays: "mapped" reads it again */
static int run_mmap(char **words)
{
	struct stat st;

	if (mapped != MAP_FAILED)
		munmap(mapped, mapped_len);
	mapped = MAP_FAILED;
	if (fstat(at_hand, &st) < 0)
		return answer_errno();
	mapped_len = st.st_size > 0 && (size_t)st.st_size <= CONTENT_MAX ? (size_t)st.st_size : 1;
	mapped = mmap(NULL, mapped_len, PROT_READ, words[0][0] == 's' ? MAP_SHARED : MAP_PRIVATE, at_hand, 0);
	return mapped == MAP_FAILED ? answer_errno() : map_content();
}

static int run_mapped(char **words)
{
	(void)words;
	errno = EINVAL;
	return mapped == MAP_FAILED ? answer_errno() : map_content();
}

static int run_copy_file_range(char **words)
{
	int to = memfd_create("sysop", MFD_CLOEXEC);
	ssize_t n = copy_file_range(at_hand, NULL, to, NULL, CONTENT_MAX, 0);
	int error = errno;

	(void)words;
	close(to);
	errno = error;
	return answer(n >= 0);
}

/* ---- names ---- */

static int answer_stat(const struct stat *st)
{
	printf("ok %s %04o %u %u %jd %ju %ju\n",
	       S_ISDIR(st->st_mode)   ? "dir"
	       : S_ISREG(st->st_mode) ? "file"
				      : "other",
	       (unsigned)st->st_mode & 07777, st->st_uid, st->st_gid, (intmax_t)st->st_size, (uintmax_t)st->st_nlink,
	       (uintmax_t)st->st_ino);
	return 0;
}

/* stat PATH: type, mode, uid, gid, size, links, inode */
static int run_stat(char **words)
{
	struct stat st;
	return lstat(words[0], &st) < 0 ? answer_errno() : answer_stat(&st);
}

static int run_fstat(char **words)
{
	struct stat st;

	(void)words;
	return fstat(at_hand, &st) < 0 ? answer_errno() : answer_stat(&st);
}

static int not_a_dot(const struct dirent *d) { return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0; }

static int run_readdir(char **words)
{
	struct dirent **entries;
	int n = scandir(words[0], &entries, not_a_dot, alphasort);

	if (n < 0)
		return answer_errno();
	fputs("ok", stdout);
	for (int i = 0; i < n; i++) {
		printf(" %s", entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	putchar('\n');
	return 0;
}

/* access rwxf PATH */
static int run_access(char **words)
{
	int mode = (strchr(words[0], 'r') ? R_OK : 0) | (strchr(words[0], 'w') ? W_OK : 0) |
		   (strchr(words[0], 'x') ? X_OK : 0);
	return answer(faccessat(AT_FDCWD, words[1], mode, AT_EACCESS) == 0);
}

static int run_mkdir(char **words) { return answer(mkdir(words[0], 0755) == 0); }
static int run_rmdir(char **words) { return answer(rmdir(words[0]) == 0); }
static int run_unlink(char **words) { return answer(unlink(words[0]) == 0); }
static int run_link(char **words) { return answer(link(words[0], words[1]) == 0); }
static int run_symlink(char **words) { return answer(symlink(words[0], words[1]) == 0); }
static int run_rename(char **words) { return answer(rename(words[0], words[1]) == 0); }
static int run_renamenoreplace(char **words)
{
	return answer(renameat2(AT_FDCWD, words[0], AT_FDCWD, words[1], RENAME_NOREPLACE) == 0);
}
static int run_renameexchange(char **words)
{
	return answer(renameat2(AT_FDCWD, words[0], AT_FDCWD, words[1], RENAME_EXCHANGE) == 0);
}
static int run_mknod(char **words) { return answer(mknod(words[0], S_IFIFO | 0600, makedev(0, 0)) == 0); }
static int run_truncate(char **words) { return answer(truncate(words[1], atoll(words[0])) == 0); }
static int run_chmod(char **words) { return answer(chmod(words[1], (mode_t)strtoul(words[0], NULL, 8)) == 0); }
static int run_utimens(char **words) { return answer(utimensat(AT_FDCWD, words[0], NULL, 0) == 0); }

static int run_chown(char **words)
{
	return answer(lchown(words[2], (uid_t)strtol(words[0], NULL, 10), (gid_t)strtol(words[1], NULL, 10)) == 0);
}

/* getxattr NAME PATH: the value, as text */
static int run_getxattr(char **words)
{
	ssize_t n = getxattr(words[1], words[0], content, CONTENT_MAX - 1);

	if (n < 0)
		return answer_errno();
	printf("ok %.*s\n", (int)n, (char *)content);
	return 0;
}

static int run_setxattr(char **words)
{
	return answer(setxattr(words[2], words[0], words[1], strlen(words[1]), 0) == 0);
}
static int run_removexattr(char **words) { return answer(removexattr(words[1], words[0]) == 0); }

static int run_listxattr(char **words)
{
	ssize_t n = listxattr(words[0], (char *)content, CONTENT_MAX);

	if (n < 0)
		return answer_errno();
	fputs("ok", stdout);
	for (ssize_t i = 0; i < n; i += (ssize_t)strlen((char *)content + i) + 1)
		printf(" %s", (char *)content + i);
	putchar('\n');
	return 0;
}

/* ---- the commands ---- */

static const struct command {
	const char *name;
	int words;
	int (*run)(char **words);
} commands[] = {
	{ "open", 2, run_open },
	{ "fd", 1, run_fd },
	{ "close", 0, run_close },
	{ "read", 0, run_read },
	{ "seqread", 0, run_seqread },
	{ "pread", 2, run_pread },
	{ "write", 1, run_write },
	{ "pwrite", 2, run_pwrite },
	{ "fsync", 0, run_fsync },
	{ "ftruncate", 1, run_ftruncate },
	{ "seekend", 0, run_seekend },
	{ "dup", 0, run_dup },
	{ "text", 0, run_text },
	{ "put", 2, run_put },
	{ "fork", 0, run_fork },
	{ "sendfd", 1, run_sendfd },
	{ "recvfd", 1, run_recvfd },
	{ "groups", 1, run_groups },
	{ "act-as", 2, run_act_as },
	{ "mapwrite", 1, run_mapwrite },
	{ "sendfile", 0, run_sendfile },
	{ "splice", 0, run_splice },
	{ "mmap", 1, run_mmap },
	{ "mapped", 0, run_mapped },
	{ "copy_file_range", 0, run_copy_file_range },
	{ "stat", 1, run_stat },
	{ "fstat", 0, run_fstat },
	{ "readdir", 1, run_readdir },
	{ "access", 2, run_access },
	{ "mkdir", 1, run_mkdir },
	{ "rmdir", 1, run_rmdir },
	{ "unlink", 1, run_unlink },
	{ "link", 2, run_link },
	{ "symlink", 2, run_symlink },
	{ "rename", 2, run_rename },
	{ "rename-noreplace", 2, run_renamenoreplace },
	{ "rename-exchange", 2, run_renameexchange },
	{ "mknod", 1, run_mknod },
	{ "truncate", 2, run_truncate },
	{ "chmod", 2, run_chmod },
	{ "chown", 3, run_chown },
	{ "utimens", 1, run_utimens },
	{ "getxattr", 2, run_getxattr },
	{ "setxattr", 3, run_setxattr },
	{ "removexattr", 2, run_removexattr },
	{ "listxattr", 1, run_listxattr },
};

static int run(char **words, int n)
{
	for (size_t i = 0; n > 0 && i < sizeof commands / sizeof *commands; i++)
		if (!strcmp(commands[i].name, words[0]) && commands[i].words == n - 1)
			return commands[i].run(words + 1);
	fprintf(stderr, "sysop: no such command, or not its number of words: %s\n", n > 0 ? words[0] : "");
	return 2;
}

static int run_lines(void)
{
	char *line = NULL;
	size_t room = 0;
	int r = 0;

	while (getline(&line, &room, stdin) > 0) {
		char *words[WORDS_MAX], *save = NULL;
		int n = 0;

		for (char *word = strtok_r(line, " \n", &save); word && n < WORDS_MAX;
		     word = strtok_r(NULL, " \n", &save))
			words[n++] = word;
		r = run(words, n);
		fflush(stdout);
	}
	free(line);
	return r;
}

int main(int argc, char **argv)
{
	int r = 0;

	if (argc == 2 && !strcmp(argv[1], "-"))
		return run_lines();
	for (int i = 1, n; i < argc && r == 0; i += n + 1) {
		for (n = 0; i + n < argc && strcmp(argv[i + n], "+") != 0; n++)
			;
		r = run(argv + i, n);
	}
	return argc < 2 ? 2 : r;
}
