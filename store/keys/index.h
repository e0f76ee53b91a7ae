/* The database's index in shared memory (db/vault.db-shm), for those who have to put it aside.
 *
 * SQLite's locks lie on that file, and the kernel takes a process's locks only when its last thread is gone. A worker
 * that was killed, one thread of which waits in the kernel, so keeps the lock of the transaction that another thread
 * was at, and nobody could write. The keeper then removes the file, and the next worker opens the database anew: SQLite
 * makes another index from the write-ahead log (sqlite.org/wal.html, "The WAL-Index File Format").
 *
 * Two processes must never use the database by two indexes. The keeper knows its workers; who else opens the database
 * of a vault that may be mounted, holds the index. Nothing here blocks for longer than such a removal takes. */
#ifndef COFFER_STORE_KEYS_INDEX_H
#define COFFER_STORE_KEYS_INDEX_H

/* Before the database is opened. *ret_fd is to be closed after it was closed; -1 where the store is on a file system
 * that is read-only, on which nobody serves. 0 or negative errno. */
int index_hold(int store_dir, int *ret_fd);
/* By the keeper, while none of its workers acts. lock: STORE/lock, opened for writing. 0; -EAGAIN: somebody holds it;
 * or negative errno. */
int index_put_aside(int store_dir, int lock);

#endif
