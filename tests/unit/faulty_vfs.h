/* A VFS for SQLite whose n-th write, sync or truncation fails, or kills the process. Included by one file of a program.
 */
#ifndef COFFER_TESTS_FAULTY_VFS_H
#define COFFER_TESTS_FAULTY_VFS_H

#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <unistd.h>

static struct {
	long countdown; /* 0: nothing fails */
	bool lasting;   /* and everything after it */
	bool deadly;    /* the process is killed before it */
	int code;
	bool fired;
} fault;

static bool fails(void)
{
	if (fault.countdown == 0)
		return false;
	if (--fault.countdown > 0)
		return false;
	if (fault.deadly)
		kill(getpid(), SIGKILL);
	if (fault.lasting)
		fault.countdown = 1;
	fault.fired = true;
	return true;
}

struct shim_file {
	sqlite3_file base;
	sqlite3_file *real;
};
#define REAL(f) (((struct shim_file *)(f))->real)

static sqlite3_vfs *real_vfs;

static int shim_close(sqlite3_file *f) { return REAL(f)->pMethods->xClose(REAL(f)); }
static int shim_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	return REAL(f)->pMethods->xRead(REAL(f), p, n, at);
}
static int shim_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	return fails() ? fault.code : REAL(f)->pMethods->xWrite(REAL(f), p, n, at);
}
static int shim_truncate(sqlite3_file *f, sqlite3_int64 n)
{
	return fails() ? fault.code : REAL(f)->pMethods->xTruncate(REAL(f), n);
}
static int shim_sync(sqlite3_file *f, int flags)
{
	return fails() ? SQLITE_IOERR_FSYNC : REAL(f)->pMethods->xSync(REAL(f), flags);
}
static int shim_size(sqlite3_file *f, sqlite3_int64 *n) { return REAL(f)->pMethods->xFileSize(REAL(f), n); }
static int shim_lock(sqlite3_file *f, int l) { return REAL(f)->pMethods->xLock(REAL(f), l); }
static int shim_unlock(sqlite3_file *f, int l) { return REAL(f)->pMethods->xUnlock(REAL(f), l); }
static int shim_reserved(sqlite3_file *f, int *r) { return REAL(f)->pMethods->xCheckReservedLock(REAL(f), r); }
static int shim_control(sqlite3_file *f, int op, void *arg)
{
	return REAL(f)->pMethods->xFileControl(REAL(f), op, arg);
}
static int shim_sector(sqlite3_file *f) { return REAL(f)->pMethods->xSectorSize(REAL(f)); }
static int shim_traits(sqlite3_file *f) { return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f)); }
static int shim_map(sqlite3_file *f, int page, int size, int extend, void volatile **p)
{
	return REAL(f)->pMethods->xShmMap(REAL(f), page, size, extend, p);
}
static int shim_shm_lock(sqlite3_file *f, int o, int n, int flags)
{
	return REAL(f)->pMethods->xShmLock(REAL(f), o, n, flags);
}
static void shim_barrier(sqlite3_file *f) { REAL(f)->pMethods->xShmBarrier(REAL(f)); }
static int shim_unmap(sqlite3_file *f, int del) { return REAL(f)->pMethods->xShmUnmap(REAL(f), del); }

static const sqlite3_io_methods shim_methods = {
	2,           shim_close,    shim_read,    shim_write,  shim_truncate, shim_sync, shim_size,     shim_lock,
	shim_unlock, shim_reserved, shim_control, shim_sector, shim_traits,   shim_map,  shim_shm_lock, shim_barrier,
	shim_unmap,  NULL,          NULL,
};

static int shim_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
	struct shim_file *file = (struct shim_file *)f;
	int code;

	(void)vfs;
	file->real = (sqlite3_file *)(file + 1);
	code = real_vfs->xOpen(real_vfs, name, file->real, flags, out);
	file->base.pMethods = code == SQLITE_OK ? &shim_methods : NULL;
	return code;
}

/* A code of SQLite. */
static int shim_register(void)
{
	static sqlite3_vfs shim;

	real_vfs = sqlite3_vfs_find(NULL);
	if (real_vfs == &shim)
		return SQLITE_OK;
	shim = *real_vfs;
	shim.zName = "faulty";
	shim.szOsFile = (int)sizeof(struct shim_file) + real_vfs->szOsFile;
	shim.xOpen = shim_open;
	return sqlite3_vfs_register(&shim, 1);
}

#endif
