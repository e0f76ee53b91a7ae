/* How large a caller is told that `current` is. Programs ask for a size and then read so many bytes: what is said must
 * be of the version that they will read.
 *
 * A size is the kernel's, one for each inode, whoever asks; so the answer is that of the newest version, unless the
 * caller has an older one open:
 *
 *   - The open file is the one that the request names (lseek to the end does), else the last that the asking thread
 *     opened, else the last of its process (fstat names none).
 *   - Nobody has read from it yet, and this thread opened it, or it is named: it moves to the newest version, and that
 *     is what is said. Another thread's is never moved.
 *   - Else its own version is told; to fstat no longer than until it was read to its end, or for MEASURE_NS after its
 *     open: each answer that differs disturbs whoever reads the newest by sendfile or lseek. Where it is certain which
 *     file is meant (it is named; or it could not be moved, for the newest may not be opened), for MEASURE_LONG_NS.
 *
 * While the kernel may have an older size for that reason, or be about to take one, nothing is given to its page cache:
 * sendfile would end too early, and a page that is mapped would be filled up with zeros. A second after the last such
 * answer, the next thread that asks for the size sets it right.
 *
 * A text that is made for its reader is made when its opener asks how large it is; whoever has none open is told a size
 * that is nobody's. */
#ifndef COFFER_FS_SERVE_MEASURE_H
#define COFFER_FS_SERVE_MEASURE_H

#include "fs/serve/access.h"
#include "fs/serve/attr.h"

#define MEASURE_NS      INT64_C(2000000000)
#define MEASURE_LONG_NS INT64_C(60000000000)

/* fh: the open file that is named, 0: none. may_record, may_block: the thread may wait for a record; for whatever makes
 * a text. */
struct measure_ask {
	uint64_t ino, fh;
	bool may_record, may_block;
};

/* Must it be known who asks? Not of a file that is named: while lseek looks for its end, others wait for its lock. */
bool measure_asks(const struct inode *i, bool named);
/* call: as far as is known; one in doubt has nothing open. 0; -EAGAIN: only a thread that may block. Waits for no more
 * than a record, else. */
int measure(struct vault *v, const struct call *call, const struct measure_ask *ask, struct attr_shown *ret_shown);

/* May pages of a secret's `current` go to the page cache, for the caller's thread? */
bool measure_lets_pages(struct vault *v, const struct call *call, uint32_t secret);

#endif
