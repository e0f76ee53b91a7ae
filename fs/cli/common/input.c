#include "fs/cli/common/input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <termios.h>
#include <unistd.h>

#include "fs/cli/common/cli.h"
#include "fs/cli/common/output.h"
#include "store/crypto/aead.h"
#include "store/keys/envelope.h"
#include "store/keys/kek.h"

/* 2.5 MiB: one value of VALUE_MAX + 1 bytes, rounded up by the allocator, and small things */
#define ARENA_VALUE  (5u << 19)
#define ARENA_MIN    (16u << 10)
/* Linux, N_TTY_BUF_SIZE: of a longer line the newline alone comes through, and then it has 4096 bytes */
#define TTY_LINE_MAX 4095u
#define PASTE_MS     100

static volatile sig_atomic_t interrupted;

int input_prepare(size_t values)
{
	struct rlimit limit;
	int r = -ENOMEM;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &limit);
	}
	/* Not memfd_secret: the mount does direct I/O, for which the kernel pins the caller's pages, and those it
	 * refuses to pin (EFAULT). */
	for (size_t size = values * ARENA_VALUE; size >= ARENA_MIN; size /= 2) {
		r = secmem_init(size, SECMEM_ONLY_MLOCK);
		if (r == 0 || r == -EALREADY)
			return EXIT_DONE;
	}
	return fail(
		EXIT_ERROR,
		"cannot lock memory for the value (%s); raise the limit: ulimit -l 8192, or LimitMEMLOCK= of the unit",
		strerror(-r));
}

struct secbuf *input_buffer(void)
{
	struct secbuf *b;

	for (size_t size = VALUE_MAX + 1; size >= 1024; size /= 2)
		if (secbuf_new(size, &b) == 0)
			return b;
	fail(EXIT_ERROR, "cannot lock memory for the value; raise the limit: ulimit -l 8192");
	return NULL;
}

int input_read(int fd, struct secbuf *ret_buf)
{
	size_t len = 0, capacity = secbuf_capacity(ret_buf);
	int r = secbuf_set_len(ret_buf, capacity);

	if (r < 0)
		return r;
	while (len < capacity) {
		ssize_t n = read(fd, secbuf_data(ret_buf) + len, capacity - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			r = -errno;
			break;
		}
		if (n == 0)
			break;
		len += (size_t)n;
	}
	if (r == 0 && len > VALUE_MAX)
		r = -EFBIG;
	/* A full buffer says nothing of what comes after it. */
	if (r == 0 && len == capacity) {
		char one;

		r = read(fd, &one, 1) == 0 ? 0 : -EFBIG;
		secmem_wipe(&one, 1);
	}
	secbuf_set_len(ret_buf, r == 0 ? len : 0);
	return r;
}

size_t input_trimmed(const void *data, size_t len)
{
	const char *p = data;

	if (len > 0 && p[len - 1] == '\n')
		len -= len > 1 && p[len - 2] == '\r' ? 2 : 1;
	return len;
}

static void on_signal(int signal_number) { interrupted = signal_number; }

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGPIPE };
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

/* Whatever of these would end or stop the process is seen by wait_for_line only. What is ignored stays so (nohup). */
static void catch_signals(struct sigaction old[SIGNALS], sigset_t *ret_mask)
{
	const struct sigaction action = { .sa_handler = on_signal };
	sigset_t set;

	interrupted = 0;
	sigemptyset(&set);
	for (size_t i = 0; i < SIGNALS; i++) {
		sigaction(signals[i], NULL, &old[i]);
		if (old[i].sa_handler == SIG_IGN)
			continue;
		sigaction(signals[i], &action, NULL);
		sigaddset(&set, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &set, ret_mask);
}

/* One that came is raised again, now that the terminal is as it was. */
static void release_signals(const struct sigaction old[SIGNALS], const sigset_t *mask)
{
	for (size_t i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &old[i], NULL);
	if (interrupted)
		raise(interrupted);
	sigprocmask(SIG_SETMASK, mask, NULL);
}

/* 0; -EINTR: a signal came, also before we began to wait. A terminal has something to read once a line is whole. */
static int wait_for_line(int fd, const sigset_t *mask)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return ppoll(&p, 1, NULL, mask) < 0 ? -errno : 0;
}

/* What is pasted comes in pieces. Lines behind the first would be dropped, or meet the shell. */
static bool more_lines(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n = 0;

	return poll(&p, 1, PASTE_MS) > 0 && ioctl(fd, FIONREAD, &n) == 0 && n > 0;
}

/* 0; -EOVERFLOW: the terminal has cut it off; -EMSGSIZE: more lines follow. */
static int read_line(int fd, const sigset_t *mask, struct secbuf *buf, size_t *ret_len)
{
	size_t len = 0, capacity = secbuf_capacity(buf);

	while (len < capacity) {
		ssize_t n = wait_for_line(fd, mask);

		if (n == 0)
			n = read(fd, secbuf_data(buf) + len, capacity - len);
		if (n < 0)
			return interrupted ? -EINTR : -errno;
		len += (size_t)n;
		if (n > 0 && !memchr(secbuf_data(buf) + len - n, '\n', (size_t)n))
			continue;
		*ret_len = len;
		return len > TTY_LINE_MAX ? -EOVERFLOW : more_lines(fd) ? -EMSGSIZE : 0;
	}
	return -EFBIG;
}

static int read_hidden_once(int fd, const char *prompt, struct secbuf *buf)
{
	struct sigaction old[SIGNALS];
	struct termios shown, hidden;
	sigset_t mask;
	size_t len = 0;
	int r = secbuf_set_len(buf, secbuf_capacity(buf));

	if (r < 0)
		return r;
	if (tcgetattr(fd, &shown) < 0)
		return -errno;
	catch_signals(old, &mask);
	hidden = shown;
	hidden.c_lflag &= ~(tcflag_t)ECHO;
	hidden.c_lflag |= ECHONL | ICANON | ISIG;
	tcsetattr(fd, TCSAFLUSH, &hidden);
	output_bytes(STDERR_FILENO, prompt, strlen(prompt));
	r = read_line(fd, &mask, buf, &len);
	tcsetattr(fd, TCSAFLUSH, &shown);
	secbuf_set_len(buf, r == 0 ? input_trimmed(secbuf_cdata(buf), len) : 0);
	release_signals(old, &mask);
	return r;
}

/* One line into buf, with the terminal's echo off. Signals that end or stop the process first give the terminal its
 * echo back; who goes on after a stop is asked again. */
static int read_hidden(int fd, const char *prompt, struct secbuf *buf)
{
	int r;

	do
		r = read_hidden_once(fd, prompt, buf);
	while (r == -EINTR && interrupted == SIGTSTP);
	return r;
}

/* What a terminal cannot give. EXIT_USAGE with the error printed. */
static int explain_line(int r, const char *what, const char *instead)
{
	if (r == -EOVERFLOW)
		return fail(
			EXIT_USAGE,
			"a terminal takes no line of more than %u characters, and drops the rest; %s was not taken; %s",
			TTY_LINE_MAX - 1, what, instead);
	return fail(EXIT_USAGE, "more than one line was typed, or pasted; %s was not taken; %s", what, instead);
}

int input_value(const char *file, const char *prompt, struct secbuf **ret_value)
{
	int fd = STDIN_FILENO, status = EXIT_ERROR, r;
	struct secbuf *b = NULL;
	size_t room;

	if (file && strcmp(file, "-") != 0) {
		fd = open(file, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return fail(EXIT_ERROR, "cannot read %s: %s", file, strerror(errno));
	}
	b = input_buffer();
	if (!b)
		goto out;
	room = secbuf_capacity(b);
	r = fd == STDIN_FILENO && isatty(fd) ? read_hidden(fd, prompt, b) : input_read(fd, b);
	if (r == -EOVERFLOW || r == -EMSGSIZE) {
		status = explain_line(r, "the value", "for such values: " COFFER " put NAME --file FILE");
		goto out;
	}
	if (r == -EFBIG && room <= VALUE_MAX) {
		fail(EXIT_ERROR,
		     "the value is longer than the %zu bytes that could be locked in memory; raise the limit: ulimit "
		     "-l 8192",
		     room);
		goto out;
	}
	if (r == -EFBIG) {
		fail(EXIT_ERROR, "the value is longer than %u bytes, the most that a secret may have", VALUE_MAX);
		goto out;
	}
	if (r < 0) {
		fail(EXIT_ERROR, "cannot read %s: %s", fd == STDIN_FILENO ? "standard input" : file, strerror(-r));
		goto out;
	}
	/* At a terminal an empty line is a change of mind. */
	if (secbuf_len(b) == 0 && fd == STDIN_FILENO && isatty(fd)) {
		status = fail(EXIT_USAGE, "nothing was typed, so nothing is stored; for an empty value: " COFFER
					  " put NAME < /dev/null");
		goto out;
	}
	*ret_value = b;
	b = NULL;
	status = EXIT_DONE;
out:
	secbuf_free(b);
	if (fd != STDIN_FILENO)
		close(fd);
	return status;
}

static int passphrase_once(const char *prompt, struct secbuf **ret_passphrase)
{
	struct secbuf *b = NULL;
	int r;

	/* Two bytes more than the longest, for its newline. */
	if (secbuf_new(PASSPHRASE_MAX + 2, &b) < 0)
		return fail(EXIT_ERROR, "cannot lock memory for the passphrase; raise the limit: ulimit -l 8192");
	r = isatty(STDIN_FILENO) ? read_hidden(STDIN_FILENO, prompt, b) : input_read(STDIN_FILENO, b);
	if (r == 0)
		secbuf_set_len(b, input_trimmed(secbuf_cdata(b), secbuf_len(b)));
	if (r == 0 && secbuf_len(b) > PASSPHRASE_MAX)
		r = -EFBIG;
	if (r == 0 && memchr(secbuf_cdata(b), '\n', secbuf_len(b)))
		r = -EBADMSG;
	if (r == 0 && secbuf_len(b) > 0) {
		*ret_passphrase = b;
		return EXIT_DONE;
	}
	secbuf_free(b);
	if (r == -EBADMSG)
		return fail(EXIT_USAGE,
			    "the passphrase has more than one line, and could not be typed at a terminal; give "
			    "it once, in one line");
	if (r == -EOVERFLOW || r == -EMSGSIZE)
		return explain_line(r, "the passphrase", "it is one line");
	if (r == -EFBIG)
		return fail(EXIT_USAGE, "the passphrase is longer than %d bytes", PASSPHRASE_MAX);
	if (r < 0)
		return fail(EXIT_ERROR, "cannot read the passphrase: %s", strerror(-r));
	return fail(EXIT_USAGE, "the passphrase is empty; type it at the terminal, or give it on standard input");
}

int input_passphrase(const char *prompt, bool twice, struct secbuf **ret_passphrase)
{
	struct secbuf *first = NULL, *second = NULL;
	int status = passphrase_once(prompt, &first);

	if (status || !twice || !isatty(STDIN_FILENO))
		goto out;
	status = passphrase_once("Again: ", &second);
	if (status)
		goto out;
	if (secbuf_len(first) != secbuf_len(second) ||
	    secret_cmp(secbuf_cdata(first), secbuf_cdata(second), secbuf_len(first)) != 0)
		status = fail(EXIT_USAGE, "the two passphrases differ; nothing was made, try again");
out:
	secbuf_free(second);
	if (status) {
		secbuf_free(first);
		return status;
	}
	*ret_passphrase = first;
	return EXIT_DONE;
}

/* A key or certificate in PEM: its last newline belongs to it, and OpenSSH refuses the key without. */
static bool is_pem(const struct secbuf *value)
{
	static const char begin[] = "-----BEGIN ";

	return secbuf_len(value) >= sizeof(begin) - 1 && !memcmp(secbuf_cdata(value), begin, sizeof(begin) - 1);
}

bool input_trim(struct secbuf *value)
{
	if (is_pem(value))
		return false;
	secbuf_set_len(value, input_trimmed(secbuf_cdata(value), secbuf_len(value)));
	return true;
}

bool input_ends_oddly(const struct secbuf *value)
{
	const uint8_t *p = secbuf_cdata(value);
	size_t len = secbuf_len(value);

	return len > 0 && memchr(p, '\n', len) == p + len - 1 && !is_pem(value);
}

void input_warn_of_newline(const struct secbuf *value)
{
	if (input_ends_oddly(value))
		note("warning: the value ends in a newline (typed by an editor or echo?); --trim removes it");
}
