/* Values and passphrases: into locked memory by read(2), never through stdio, argv or the environment. */
#ifndef COFFER_FS_CLI_COMMON_INPUT_H
#define COFFER_FS_CLI_COMMON_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "store/crypto/secbuf.h"

/* Locks memory for values (room for `values` of them), once. Ordinary users may lock little: then the arena is smaller.
 * EXIT_DONE, or EXIT_ERROR with the error printed when nothing can be locked. */
int input_prepare(size_t values);

/* A buffer for one value: of VALUE_MAX + 1 bytes, or as much as could be locked. NULL with the error printed. */
struct secbuf *input_buffer(void);

/* Reads fd to its end, at most the buffer's capacity. 0; -EFBIG; or negative errno. */
int input_read(int fd, struct secbuf *ret_buf);

/* The value for put: from file ("-" or NULL: standard input; a terminal is prompted without echo for one line).
 * EXIT_DONE or with the error printed. */
int input_value(const char *file, const char *prompt, struct secbuf **ret_value);

/* One line from the terminal without echo (asked twice and compared, if twice), or standard input to its end less one
 * newline. EXIT_DONE or with the error printed. */
int input_passphrase(const char *prompt, bool twice, struct secbuf **ret_passphrase);

/* The length without the one newline ("\n" or "\r\n") at the end. */
size_t input_trimmed(const void *data, size_t len);
/* Takes that newline off, but not off a key or certificate in PEM, to which it belongs (OpenSSH refuses the key
 * without): then false. */
bool input_trim(struct secbuf *value);
/* Says so when a value of one line ends in a newline, unless it is PEM. Of files of lines (.env, netrc, htpasswd,
 * pgpass) each has its own. */
void input_warn_of_newline(const struct secbuf *value);
bool input_ends_oddly(const struct secbuf *value); /* would that be said of it? */

#endif
