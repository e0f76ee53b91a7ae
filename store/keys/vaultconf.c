/* The text of vault.conf:
 *
 *   # comment
 *   format = 1                      first of all keys
 *   name = default                  [a-z0-9][a-z0-9-]{0,62}
 *   id = <32 hex digits>            the vault's id, in every AAD
 *   kek = file:/etc/coffer/default.kek
 *   kek_params = <text>             left out when the provider keeps none
 *   vault_record = <hex>            the wrapped vault key (wrap.c)
 *
 * Printable ASCII, but for kek, which may be UTF-8 without control characters; each line ended by a newline, "key =
 * value" with exactly one blank on each side of the first "=", each key once. What is not known is an error and not
 * passed over: a key that this version cannot honour may be one that matters. */
#include "store/keys/vaultconf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/crypto/bytes.h"

#define FILE_NAME "vault.conf"
#define TEMP_NAME "vault.conf.new"
#define FORMAT    "1"

/* ---- text ---- */

bool vault_name_valid(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= VAULT_NAME_MAX || name[0] == '-')
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

/* The bytes of a character of UTF-8 that is not ASCII and no control character (RFC 3629 §4); 0: there is none. */
static size_t utf8_character(const uint8_t *s, size_t len)
{
	const uint8_t b = s[0];
	const size_t n = b >= 0xc2 && b <= 0xdf ? 2 : (b & 0xf0) == 0xe0 ? 3 : b >= 0xf0 && b <= 0xf4 ? 4 : 0;

	if (n == 0 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* controls; overlong forms; surrogates; beyond U+10FFFF */
	if ((b == 0xc2 && s[1] < 0xa0) || (b == 0xe0 && s[1] < 0xa0) || (b == 0xed && s[1] > 0x9f) ||
	    (b == 0xf0 && s[1] < 0x90) || (b == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static bool is_printable(const char *text, size_t len, bool ascii)
{
	for (size_t at = 0, n; at < len; at += n) {
		n = text[at] >= ' ' && text[at] <= '~' ? 1
		    : ascii                            ? 0
						       : utf8_character((const uint8_t *)text + at, len - at);
		if (n == 0)
			return false;
	}
	return true;
}

bool kek_uri_valid(const char *uri) { return is_printable(uri, strlen(uri), false); }

static int set_text(char *ret, size_t size, const char *value, size_t len)
{
	if (len == 0 || len >= size)
		return -EINVAL;
	memcpy(ret, value, len);
	ret[len] = '\0';
	return 0;
}

static int set_format(struct vaultconf *c, const char *value, size_t len)
{
	(void)c;
	if (len == 0 || len > 9 || value[0] == '0' || value[0] == '-')
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if (value[i] < '0' || value[i] > '9')
			return -EINVAL;
	return len == strlen(FORMAT) && memcmp(value, FORMAT, len) == 0 ? 0 : -EPROTONOSUPPORT;
}

static int set_name(struct vaultconf *c, const char *value, size_t len)
{
	int r = set_text(c->name, sizeof(c->name), value, len);

	return r == 0 && !vault_name_valid(c->name) ? -EINVAL : r;
}

static int set_id(struct vaultconf *c, const char *value, size_t len)
{
	return hex_parse(value, len, c->id, sizeof(c->id));
}

static int set_kek(struct vaultconf *c, const char *value, size_t len)
{
	return set_text(c->kek, sizeof(c->kek), value, len);
}

static int set_kek_params(struct vaultconf *c, const char *value, size_t len)
{
	return set_text(c->kek_params, sizeof(c->kek_params), value, len);
}

static int set_vault_record(struct vaultconf *c, const char *value, size_t len)
{
	if (len == 0 || len % 2 != 0 || len / 2 > WRAP_RECORD_MAX)
		return -EINVAL;
	c->vault_record_len = len / 2;
	return hex_parse(value, len, c->vault_record, len / 2);
}

static const struct key {
	const char *name;
	bool optional;
	int (*set)(struct vaultconf *c, const char *value, size_t len);
} keys[] = {
	{ "format", false, set_format },
	{ "name", false, set_name },
	{ "id", false, set_id },
	{ "kek", false, set_kek },
	{ "kek_params", true, set_kek_params },
	{ "vault_record", false, set_vault_record },
};

#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

/* Which key a line begins with, and where its value is; N_KEYS for none. */
static size_t find_key(const char *line, size_t len, const char **ret_value)
{
	for (size_t i = 0; i < N_KEYS; i++) {
		size_t n = strlen(keys[i].name);
		if (len >= n + 3 && memcmp(line, keys[i].name, n) == 0 && memcmp(line + n, " = ", 3) == 0) {
			*ret_value = line + n + 3;
			return i;
		}
	}
	return N_KEYS;
}

static int parse_line(const char *line, size_t len, struct vaultconf *c, unsigned *seen)
{
	const char *value = NULL;
	size_t i = N_KEYS;

	if (len > 0 && line[0] != '#')
		i = find_key(line, len, &value);
	if (!is_printable(line, len, i == N_KEYS || keys[i].set != set_kek))
		return -EINVAL;
	if (len == 0 || line[0] == '#')
		return 0;
	if (i == N_KEYS || *seen & 1u << i || (*seen == 0 && i != 0))
		return -EINVAL;
	*seen |= 1u << i;
	return keys[i].set(c, value, (size_t)(line + len - value));
}

int vaultconf_parse(const char *text, size_t len, struct vaultconf *ret_conf, char *why, size_t why_len)
{
	struct vaultconf c;
	unsigned seen = 0, number = 1;
	const char *end = text + len;

	memset(&c, 0, sizeof(c));
	for (const char *line = text; line < end; number++) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		int r = newline ? parse_line(line, (size_t)(newline - line), &c, &seen) : -EINVAL;
		if (r == -EPROTONOSUPPORT) {
			snprintf(why, why_len,
				 "vault.conf is of a newer format: use the version of coffer that made it");
			return r;
		}
		if (r < 0) {
			snprintf(why, why_len, "vault.conf is damaged in line %u: restore it from a backup", number);
			return r;
		}
		line = newline + 1;
	}
	for (size_t i = 0; i < N_KEYS; i++) {
		if (keys[i].optional || seen & 1u << i)
			continue;
		snprintf(why, why_len, "vault.conf is damaged, it has no \"%s\": restore it from a backup",
			 keys[i].name);
		return -EINVAL;
	}
	*ret_conf = c;
	return 0;
}

int vaultconf_print(const struct vaultconf *c, char ret_text[VAULTCONF_MAX])
{
	char id[2 * sizeof(c->id) + 1], record[2 * WRAP_RECORD_MAX + 1], text[VAULTCONF_MAX], why[256];
	struct vaultconf back;
	int n;

	if (c->vault_record_len > WRAP_RECORD_MAX)
		return -EINVAL;
	hex_print(c->id, sizeof(c->id), id);
	hex_print(c->vault_record, c->vault_record_len, record);
	n = snprintf(text, sizeof(text),
		     "# A coffer vault. Made by coffer init; without the key that kek names, nothing here opens.\n"
		     "format = " FORMAT "\nname = %s\nid = %s\nkek = %s\n%s%s%svault_record = %s\n",
		     c->name, id, c->kek, c->kek_params[0] ? "kek_params = " : "", c->kek_params,
		     c->kek_params[0] ? "\n" : "", record);
	if (n < 0 || n >= VAULTCONF_MAX)
		return -EINVAL;
	/* what cannot be read back is not written: a newline in a URI would be a line of its own */
	if (vaultconf_parse(text, (size_t)n, &back, why, sizeof(why)) < 0 || strcmp(back.name, c->name) != 0 ||
	    strcmp(back.kek, c->kek) != 0 || strcmp(back.kek_params, c->kek_params) != 0 ||
	    back.vault_record_len != c->vault_record_len || memcmp(back.id, c->id, sizeof(c->id)) != 0 ||
	    memcmp(back.vault_record, c->vault_record, c->vault_record_len) != 0)
		return -EINVAL;
	memcpy(ret_text, text, (size_t)n + 1);
	return n;
}

/* ---- file ---- */

static int check_file(int fd, char *why, size_t why_len)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		snprintf(why, why_len, "vault.conf is not a regular file");
		return -EINVAL;
	}
	if (st.st_mode & 022 || (st.st_uid != 0 && st.st_uid != geteuid())) {
		snprintf(why, why_len,
			 "others can change vault.conf: look at what it says, then run chown root and chmod 644 on it");
		return -EACCES;
	}
	return 0;
}

static int read_file(int fd, char *ret_text, size_t size, size_t *ret_len)
{
	size_t at = 0;

	for (;;) {
		ssize_t n = read(fd, ret_text + at, size - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -EIO;
		if (n == 0)
			break;
		at += (size_t)n;
		if (at == size)
			return -EINVAL;
	}
	*ret_len = at;
	return 0;
}

int vaultconf_read(int dir_fd, struct vaultconf *ret_conf, char *why, size_t why_len)
{
	char text[VAULTCONF_MAX];
	size_t len = 0;
	int fd, r;

	fd = openat(dir_fd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT) {
		snprintf(why, why_len, "there is no vault.conf: this is not a store; coffer init makes one");
		return -ENOENT;
	}
	if (fd < 0) {
		r = errno == ELOOP ? -EINVAL : -errno;
		snprintf(why, why_len, "cannot open vault.conf: %s", strerror(errno));
		return r;
	}
	r = check_file(fd, why, why_len);
	if (r < 0)
		goto out;
	r = read_file(fd, text, sizeof(text), &len);
	if (r < 0) {
		snprintf(why, why_len, "vault.conf cannot be read, or is too long");
		goto out;
	}
	r = vaultconf_parse(text, len, ret_conf, why, why_len);
out:
	close(fd);
	return r;
}

static int write_temp(int dir_fd, const char *text, size_t len)
{
	int fd, r = 0;
	ssize_t n;

	if (unlinkat(dir_fd, TEMP_NAME, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(dir_fd, TEMP_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	do
		n = write(fd, text, len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		r = -errno;
	else if ((size_t)n != len)
		r = -ENOSPC;
	else if (fchmod(fd, 0644) < 0 || fsync(fd) < 0)
		r = -errno;
	close(fd);
	return r;
}

int vaultconf_write(int dir_fd, const struct vaultconf *conf)
{
	char text[VAULTCONF_MAX];
	int n = vaultconf_print(conf, text), dir, r;

	if (n < 0)
		return n;
	r = write_temp(dir_fd, text, (size_t)n);
	if (r == 0 && renameat(dir_fd, TEMP_NAME, dir_fd, FILE_NAME) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(dir_fd, TEMP_NAME, 0);
		return r;
	}
	dir = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* dir_fd may be O_PATH */
	if (dir < 0)
		return -errno;
	if (fsync(dir) < 0)
		r = -errno;
	close(dir);
	return r;
}
