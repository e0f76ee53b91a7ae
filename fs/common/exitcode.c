#include "fs/common/exitcode.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct {
	int error;
	const char *symbol;
	enum exit_status status;
} table[] = {
	{ EACCES, "EACCES", EXIT_DENIED },
	{ EPERM, "EPERM", EXIT_DENIED },
	{ EKEYREVOKED, "EKEYREVOKED", EXIT_DENIED },
	{ EKEYEXPIRED, "EKEYEXPIRED", EXIT_DENIED },
	{ EKEYREJECTED, "EKEYREJECTED", EXIT_DENIED },
	{ EINVAL, "EINVAL", EXIT_USAGE },
	{ ENAMETOOLONG, "ENAMETOOLONG", EXIT_USAGE },
	{ ERANGE, "ERANGE", EXIT_USAGE },
	{ E2BIG, "E2BIG", EXIT_USAGE },
	{ ENOENT, "ENOENT", EXIT_NOT_FOUND },
	{ EEXIST, "EEXIST", EXIT_CONFLICT },
	{ EBUSY, "EBUSY", EXIT_CONFLICT },
	{ ENOTEMPTY, "ENOTEMPTY", EXIT_CONFLICT },
	{ EBADMSG, "EBADMSG", EXIT_INTEGRITY },
	{ ENOKEY, "ENOKEY", EXIT_UNAVAILABLE },
	{ ETIMEDOUT, "ETIMEDOUT", EXIT_UNAVAILABLE },
	{ ESTALE, "ESTALE", EXIT_UNAVAILABLE },
	{ ENOTCONN, "ENOTCONN", EXIT_UNAVAILABLE },
	{ ECONNREFUSED, "ECONNREFUSED", EXIT_UNAVAILABLE },
	{ EAGAIN, "EAGAIN", EXIT_UNAVAILABLE },
	{ EIO, "EIO", EXIT_ERROR },
	{ EFBIG, "EFBIG", EXIT_ERROR },
	{ ENOSPC, "ENOSPC", EXIT_ERROR },
	{ EROFS, "EROFS", EXIT_ERROR },
	{ EDQUOT, "EDQUOT", EXIT_ERROR },
	{ ENOMEM, "ENOMEM", EXIT_ERROR },
	{ ENFILE, "ENFILE", EXIT_ERROR },
	{ EMFILE, "EMFILE", EXIT_ERROR },
	{ ENOTSUP, "ENOTSUP", EXIT_ERROR },
	{ EPROTONOSUPPORT, "EPROTONOSUPPORT", EXIT_ERROR },
	{ ENODATA, "ENODATA", EXIT_ERROR },
};

#define TABLE_LEN (sizeof(table) / sizeof(table[0]))

enum exit_status exit_for_errno(int error)
{
	if (error < 0)
		error = -error;
	if (error == 0)
		return EXIT_DONE;
	for (size_t i = 0; i < TABLE_LEN; i++)
		if (table[i].error == error)
			return table[i].status;
	return EXIT_ERROR;
}

const char *errno_symbol(int error)
{
	if (error < 0)
		error = -error;
	for (size_t i = 0; i < TABLE_LEN; i++)
		if (table[i].error == error)
			return table[i].symbol;
	return "EIO";
}

int errno_from_symbol(const char *symbol)
{
	for (size_t i = 0; i < TABLE_LEN; i++)
		if (!strcmp(table[i].symbol, symbol))
			return table[i].error;
	return 0;
}
