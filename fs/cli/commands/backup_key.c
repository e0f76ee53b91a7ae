#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/cli/commands/backup.h"
#include "fs/cli/common/input.h"
#include "store/keys/transport.h"

int backup_prepare(void)
{
	int status = input_prepare(1);

	if (status == EXIT_DONE && crypto_init() < 0)
		status = fail(EXIT_ERROR,
			      "OpenSSL lacks an algorithm that backups need (X25519, Ed25519, AES-256-GCM, scrypt)");
	return status;
}

/* ---- files with keys ---- */

static int read_small(int fd, const char *path, struct secbuf **ret_text)
{
	struct secbuf *b = NULL;
	int r = secbuf_new(KEY_FILE_MAX, &b);

	if (r == 0)
		r = input_read(fd, b);
	if (r < 0) {
		secbuf_free(b);
		return fail(EXIT_ERROR, "%s: %s", path, r == -EFBIG ? "too large for a key" : strerror(-r));
	}
	*ret_text = b;
	return EXIT_DONE;
}

int backup_public_key(const char *path, uint8_t ret_key[CURVE_LEN])
{
	struct secbuf *text = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC), status, r;

	if (fd < 0)
		return fail(exit_for_errno(errno), "%s: %s", path, strerror(errno));
	status = read_small(fd, path, &text);
	close(fd);
	if (status)
		return status;
	r = x25519_pem_parse((const char *)secbuf_cdata(text), secbuf_len(text), false, ret_key);
	secbuf_free(text);
	return r == 0 ? EXIT_DONE
		      : fail(EXIT_USAGE,
			     "%s is not an X25519 public key in PEM; make a pair with: coffer recipient keygen FILE",
			     path);
}

int backup_passphrase_key(int fd, const char *path, const uint8_t salt[BACKUP_SALT_LEN], unsigned ln,
			  uint8_t ret_private[CURVE_LEN])
{
	struct secbuf *text = NULL;
	size_t len;
	int status = read_small(fd, path, &text), r;

	if (status)
		return status;
	len = input_trimmed(secbuf_cdata(text), secbuf_len(text));
	if (len == 0 || len > PASSPHRASE_MAX) {
		secbuf_free(text);
		return fail(EXIT_USAGE, "%s: a passphrase has 1 to %d bytes", path, PASSPHRASE_MAX);
	}
	r = scrypt256((struct bytes){ secbuf_cdata(text), len }, (struct bytes){ salt, BACKUP_SALT_LEN }, ln, 8, 1,
		      ret_private);
	secbuf_free(text);
	return r == 0 ? EXIT_DONE : fail(EXIT_ERROR, "not enough memory for scrypt (%u MiB)", 1u << (ln - 10));
}

int backup_key_open(const struct args *a, struct backup_key *ret_key)
{
	const char *key = args_value(a, "key"), *passphrase = args_value(a, "passphrase-file");

	*ret_key = (struct backup_key){ .fd = -1, .passphrase = passphrase != NULL, .path = key ? key : passphrase };
	if (!key == !passphrase)
		return fail(EXIT_USAGE, "what opens the backup is missing: --key FILE with the recipient's private "
					"key, or --passphrase-file FILE; one of them");
	ret_key->fd = open(ret_key->path, O_RDONLY | O_CLOEXEC);
	return ret_key->fd >= 0 ? EXIT_DONE : fail(exit_for_errno(errno), "%s: %s", ret_key->path, strerror(errno));
}

static int private_key(const struct backup_key *key, const struct backup_header *h, uint8_t ret_private[CURVE_LEN])
{
	struct secbuf *text = NULL;
	int status, r;

	if (key->passphrase)
		return backup_passphrase_key(key->fd, key->path, h->recipient.salt, h->recipient.ln, ret_private);
	status = read_small(key->fd, key->path, &text);
	if (status)
		return status;
	r = x25519_pem_parse((const char *)secbuf_cdata(text), secbuf_len(text), true, ret_private);
	secbuf_free(text);
	return r == 0 ? EXIT_DONE : fail(EXIT_USAGE, "%s is not an X25519 private key in PEM, unencrypted", key->path);
}

int backup_key_use(const struct backup_key *key, const struct backup_header *h, uint8_t ret_file_key[KEY_LEN])
{
	char hex[2 * CURVE_LEN + 1];
	uint8_t *private;
	int status, r;

	if (key->passphrase && h->recipient.kind != BACKUP_TO_PASSPHRASE)
		return fail(EXIT_DENIED,
			    "the backup is not encrypted to a passphrase, but to %s%s; give its private key with --key",
			    h->recipient.name[0] ? "the recipient " : "a key", h->recipient.name);
	if (!key->passphrase && h->recipient.kind != BACKUP_TO_KEY)
		return fail(EXIT_DENIED, "the backup is encrypted to a passphrase; give it with --passphrase-file");
	private = secmem_alloc(CURVE_LEN);
	if (!private)
		return fail(EXIT_ERROR, "no locked memory left");
	status = private_key(key, h, private);
	if (status == EXIT_DONE) {
		r = box_open(box_label_recipient, private, h->box, ret_file_key);
		backup_hex(h->recipient.key, CURVE_LEN, hex);
		if (r < 0 && key->passphrase)
			status = fail(EXIT_DENIED,
				      "that passphrase does not open the backup (or the backup is damaged)");
		else if (r < 0)
			status = fail(EXIT_DENIED, "that key does not open the backup: it is for %s%s public key %s",
				      h->recipient.name, h->recipient.name[0] ? ", with the" : "the", hex);
	}
	secmem_free(private, CURVE_LEN);
	return status;
}

void backup_key_close(struct backup_key *key)
{
	if (key->fd >= 0)
		close(key->fd);
	key->fd = -1;
}

/* ---- words ---- */

int backup_signer(const char *text, uint8_t ret_fingerprint[DIGEST_LEN])
{
	unsigned byte;

	if (!text || strlen(text) != 2 * DIGEST_LEN || strspn(text, "0123456789abcdef") != 2 * DIGEST_LEN)
		return fail(EXIT_USAGE,
			    "--signer %s: the 64 hex digits are expected that `coffer status` shows as signer; keep "
			    "them where the backups are not",
			    text ? text : "is missing");
	for (size_t i = 0; i < DIGEST_LEN; i++) {
		sscanf(text + 2 * i, "%2x", &byte);
		ret_fingerprint[i] = (uint8_t)byte;
	}
	return EXIT_DONE;
}

void backup_hex(const uint8_t *bytes, size_t n, char *ret)
{
	for (size_t i = 0; i < n; i++)
		snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

/* Ten times a second at most. */
void backup_progress(const char *what, uint64_t n, bool end)
{
	static struct timespec last;
	struct timespec now;

	if (!isatty(STDERR_FILENO))
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!end && now.tv_sec == last.tv_sec && now.tv_nsec - last.tv_nsec < 100000000)
		return;
	last = now;
	fprintf(stderr, "\r%s %llu\033[K%s", what, (unsigned long long)n, end ? "\n" : "");
	fflush(stderr);
}

/* ---- files ---- */

static int spool(int fd, int to)
{
	char block[65536];
	ssize_t n;

	while ((n = read(fd, block, sizeof block)) > 0)
		for (ssize_t at = 0, w; at < n; at += w) {
			w = write(to, block + at, (size_t)(n - at));
			if (w <= 0)
				return w < 0 ? -errno : -EIO;
		}
	return n < 0 ? -errno : 0;
}

int backup_seekable(int fd, int *ret_fd)
{
	const char *dir = getenv("TMPDIR");
	int to, r;

	if (lseek(fd, 0, SEEK_CUR) == 0) {
		*ret_fd = fd;
		return EXIT_DONE;
	}
	if (isatty(fd))
		return fail(EXIT_USAGE, "the backup comes from standard input: coffer restore … < FILE");
	if (!dir || !*dir)
		dir = "/var/tmp";
	to = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	r = to < 0 ? -errno : spool(fd, to);
	if (r < 0) {
		if (to >= 0)
			close(to);
		return fail(EXIT_ERROR,
			    "the backup could not be copied to %s: %s; nothing was restored; name another directory "
			    "with TMPDIR",
			    dir, strerror(-r));
	}
	*ret_fd = to;
	return EXIT_DONE;
}

static int read_at(void *arg, uint64_t offset, void *ret, size_t len, size_t *ret_len)
{
	ssize_t n = pread(*(int *)arg, ret, len, (off_t)offset);

	if (n < 0)
		return -errno;
	*ret_len = (size_t)n;
	return 0;
}

struct backup_source backup_file_source(int *fd) { return (struct backup_source){ .read = read_at, .arg = fd }; }

/* Not held by a FIFO: what it would give can be read once only. */
int backup_file_open(const char *path, int *ret_fd)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return fail(exit_for_errno(errno), "%s: %s", path, strerror(errno));
	if (lseek(fd, 0, SEEK_CUR) < 0) {
		close(fd);
		return fail(EXIT_USAGE, "%s is a pipe, and a backup is read more than once: put it into a file first",
			    path);
	}
	*ret_fd = fd;
	return EXIT_DONE;
}

int backup_read_header(int fd, struct backup_header *ret_header)
{
	uint8_t bytes[BACKUP_HEADER_MAX];
	char why[256] = "";
	size_t len = 0;
	ssize_t n = pread(fd, bytes, sizeof bytes, 0);
	int r;

	if (n < 0)
		return fail(EXIT_ERROR, "the backup cannot be read: %s", strerror(errno));
	r = backup_header_parse(bytes, (size_t)n, ret_header, &len, why, sizeof why);
	return r == 0 ? EXIT_DONE : fail(exit_for_errno(r), "%s; nothing was restored", why);
}
