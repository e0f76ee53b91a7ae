/* Requests: extended attributes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fuse/ops_internal.h"
#include "fs/serve/names.h"

static void reply_bytes(fuse_req_t req, size_t size, const char *bytes, size_t len)
{
	if (size == 0)
		fuse_reply_xattr(req, len);
	else if (len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, bytes, len);
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct call a;
	char *value = NULL;
	size_t len = 0;

	if (strncmp(name, "user.coffer.", 12)) { /* security.capability, asked at every write: at once */
		fuse_reply_err(req, ENODATA);
		return;
	}
	if (!ops_identify_and_wait(req, &a))
		return;
	int r = names_getxattr(ops_vault(req), &a, ino, name, &value, &len);
	call_release(&a);
	if (r)
		ops_error(req, r);
	else
		reply_bytes(req, size, value, len);
	free(value);
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct call a;
	char *value = NULL;
	size_t len = 0;

	if (!ops_identify_and_wait(req, &a))
		return;
	int r = names_listxattr(ops_vault(req), &a, ino, &value, &len);
	call_release(&a);
	if (r)
		ops_error(req, r);
	else
		reply_bytes(req, size, value, len);
	free(value);
}

/* cp -p and install set an ACL first, and are content with the mode only if they hear that there are none here */
static int xattr_refusal(const char *name) { return strncmp(name, "user.coffer.", 12) ? EOPNOTSUPP : EPERM; }

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	(void)ino;
	(void)value;
	(void)size;
	(void)flags;
	if (!ops_refused_read_only(req))
		fuse_reply_err(req, xattr_refusal(name));
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	(void)ino;
	if (!ops_refused_read_only(req))
		fuse_reply_err(req, xattr_refusal(name));
}
