/* Locked, wiped memory for keys and plaintext.
 *
 * Everything secret lives in one arena that is mapped and locked once, before privileges are dropped: memfd_secret(2)
 * where the kernel has it, else mlock + MADV_DONTDUMP + MADV_DONTFORK. Nothing falls back to ordinary memory: a full
 * arena is -ENOMEM. Freed blocks are wiped at once and kept on free lists. Thread-safe; never blocks on I/O.
 *
 * A child of fork does not inherit the arena, whichever kind it is: there secmem_kind is none and secmem_init may be
 * called again. Blocks of the parent's must not be touched in it. */
#ifndef COFFER_STORE_CRYPTO_SECBUF_H
#define COFFER_STORE_CRYPTO_SECBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum secmem_kind { SECMEM_NONE = 0, SECMEM_MEMFD_SECRET, SECMEM_MLOCK };

/* How the arena may be made: SECMEM_AUTO takes the best, the others force one (tests). */
enum secmem_choice { SECMEM_AUTO = 0, SECMEM_ONLY_MEMFD_SECRET, SECMEM_ONLY_MLOCK };

/* Maps and locks an arena of size bytes (rounded up to pages) for this process. Once a process. Pages are taken from
 * the machine when they are first used, so a generous size costs nothing. 0, -EALREADY, -EINVAL (size 0 or beyond 64
 * GiB), -ENOMEM, -EPERM (the limit on locked memory: raise it, or call before dropping privileges), -ENOSYS (a kind was
 * forced that the kernel does not have). */
int secmem_init(size_t size, enum secmem_choice choice);
enum secmem_kind secmem_kind(void);
/* "memfd_secret", "mlock" or "none". */
const char *secmem_kind_name(void);
const char *secmem_name(enum secmem_kind kind);
/* Bytes in use and in all. */
void secmem_usage(size_t *ret_used, size_t *ret_total);

struct secbuf; /* a block of locked memory with a length and a capacity */

/* A zeroed buffer with room for capacity bytes (0 is allowed) and length 0. 0 or -ENOMEM. */
int secbuf_new(size_t capacity, struct secbuf **ret_buf);
/* Wipes and releases; accepts NULL. Returns NULL, so that `b = secbuf_free(b)` reads well. */
struct secbuf *secbuf_free(struct secbuf *b);
uint8_t *secbuf_data(struct secbuf *b);
const uint8_t *secbuf_cdata(const struct secbuf *b);
size_t secbuf_len(const struct secbuf *b);
size_t secbuf_capacity(const struct secbuf *b);
/* Sets the length, at most the capacity: 0 or -EINVAL. Bytes beyond a shorter length are wiped. */
int secbuf_set_len(struct secbuf *b, size_t len);
/* Makes room for at least capacity bytes, keeping content: the data may move, and the old place is wiped. 0 or -ENOMEM.
 */
int secbuf_reserve(struct secbuf **b, size_t capacity);

/* A fixed block of locked memory for small things such as keys; zeroed; NULL when the arena is full. Aligned to 16
 * bytes. secmem_free takes the size that was asked for, and accepts NULL. */
void *secmem_alloc(size_t size);
void secmem_free(void *p, size_t size);

/* Where an address lies: SECMEM_LOST is the arena of a process that this one was forked from. */
enum secmem_place { SECMEM_ELSEWHERE = 0, SECMEM_HERE, SECMEM_LOST };
enum secmem_place secmem_place(const void *p);

/* Wipes ordinary memory so that the compiler keeps it. */
void secmem_wipe(void *p, size_t n);

/* For tests. The nth allocation from now on fails, once (0: none). And: do these bytes stand anywhere in the arena? The
 * needle must not lie in it. */
void secmem_fail_nth(unsigned long nth);
bool secmem_contains(const void *needle, size_t len);

#endif
