#include "fs/fuse/ops.h"

#include "fs/fuse/ops_internal.h"

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct vault *v = ops_vault(req);
	struct statvfs st;
	(void)ino;

	space_fill(&v->space, v->options->ino32, &st);
	fuse_reply_statfs(req, &st);
}

/* The connection's flags are the keeper's: libfuse is told to want nothing that he did not grant. */
static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct vault *v = userdata;
	const struct fuse_init_out *out = (const void *)(v->shared->init.answer + sizeof(struct fuse_out_header));
	conn->want &= FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
		      FUSE_CAP_PARALLEL_DIROPS;
	conn->max_write = out->max_write;
	conn->max_readahead = out->max_readahead;
	conn->time_gran = 1;
}

static const struct fuse_lowlevel_ops table = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.access = op_access,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.mkdir = op_mkdir,
	.write = op_write,
	.flush = op_flush,
	.fsync = op_fsync,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.setxattr = op_setxattr,
	.removexattr = op_removexattr,
	.mknod = op_mknod,
	.create = op_create,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.symlink = op_symlink,
	.readlink = op_readlink,
	.link = op_link,
	.statfs = op_statfs,
};

const struct fuse_lowlevel_ops *ops_table(void) { return &table; }
