#include "fs/cli/commands/doctor_indexers.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CONF_MAX   65536
#define BLANKS     " \t"
#define MOUNT_TYPE "fuse.coffer"

/* updatedb.conf(5): lines of VARIABLE = "word word"; # begins a comment. The words of a variable, or NULL if the line
 * sets another. */
static const char *words_of(const char *line, const char *variable, size_t *ret_len)
{
	const size_t n = strlen(variable);

	line += strspn(line, BLANKS);
	if (strncmp(line, variable, n))
		return NULL;
	line += n;
	line += strspn(line, BLANKS);
	if (*line != '=')
		return NULL;
	line++;
	line += strspn(line, BLANKS);
	if (*line != '"')
		return NULL;
	*ret_len = strcspn(++line, "\"\n");
	return line;
}

static bool is_type(const char *word, size_t len, const char *mount)
{
	(void)mount;
	return len == strlen(MOUNT_TYPE) && !strncasecmp(word, MOUNT_TYPE, len);
}

static bool is_above(const char *word, size_t len, const char *mount)
{
	while (len > 1 && word[len - 1] == '/')
		len--;
	return !strncmp(word, mount, len) && (mount[len] == '/' || !mount[len] || (len == 1 && *word == '/'));
}

static bool any_word(const char *words, size_t len, bool (*is)(const char *word, size_t len, const char *mount),
		     const char *mount)
{
	const char *end = words + len;

	while (words < end) {
		const size_t n = strcspn(words, BLANKS "\"\n");
		if (n && is(words, n, mount))
			return true;
		words += n + 1;
	}
	return false;
}

bool indexers_leave_out(const char *text, const char *mount)
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		const char *words;
		size_t len;
		line += *line == '\n';
		if ((words = words_of(line, "PRUNEFS", &len)) && any_word(words, len, is_type, mount))
			return true;
		if ((words = words_of(line, "PRUNEPATHS", &len)) && any_word(words, len, is_above, mount))
			return true;
	}
	return false;
}

void doctor_indexers(const char *mount, void (*say)(void *arg, bool warn, const char *text), void *arg)
{
	static char text[CONF_MAX];
	int fd = open(INDEXERS_CONF, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0 && errno == ENOENT)
		return;
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n < 0) {
		say(arg, true,
		    INDEXERS_CONF
		    " cannot be read, so nobody knows whether updatedb lists the vault's names for locate(1)");
		return;
	}
	text[n] = '\0';
	if (indexers_leave_out(text, mount))
		say(arg, false, "updatedb leaves the vault out");
	else
		say(arg, true,
		    "updatedb lists the names of the vault for locate(1), which shows them to others: add " MOUNT_TYPE
		    " to PRUNEFS in " INDEXERS_CONF ", then run updatedb");
}
