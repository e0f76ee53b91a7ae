/* Segments and the head file, as files. */
#ifndef COFFER_STORE_AUDIT_SEGMENT_H
#define COFFER_STORE_AUDIT_SEGMENT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct audit_position;

#define AUDIT_STEP               (1u << 20) /* allocated ahead, so that an append needs no further system call */
#define AUDIT_SEGMENT_NAME_LEN   24
#define AUDIT_SEGMENT_NUMBER_MAX 99999999u
bool audit_append_only(int fd);
bool audit_segment_missing(int dir_fd, uint32_t number); /* without asking whoever may open it for writing */
int audit_segment_open_reading(int dir_fd, uint32_t number, int *ret_fd); /* 0, -ENOENT, -EIO */
/* lowest and highest number, 0: there is none; how many lie in [from, to]; with `to`: how long those up to it are
 * together */
struct audit_scan {
	uint32_t first, last, within;
	uint64_t bytes;
};
int audit_segment_scan(int dir_fd, uint32_t from, uint32_t to, struct audit_scan *ret); /* 0, -EIO */
void audit_segment_name(uint32_t number, char ret[AUDIT_SEGMENT_NAME_LEN]);

struct audit_space {
	uint64_t allocated; /* bytes of the segment from its start for which there are blocks */
	uint64_t budget;    /* without fallocate: bytes that may be written before free space is looked at again */
	uint32_t reserve;
	bool plain; /* fallocate is not supported here */
};
/* Room for len bytes at size, leaving the reserve alone or not. 0, -ENOSPC, -EIO. */
int audit_space_take(struct audit_space *s, int fd, uint64_t size, uint64_t len, bool use_reserve);
/* Whole, in one write(2) if the kernel takes it. 0; negative errno, and then the file may have grown. */
int audit_write(int fd, const void *data, size_t len);
int audit_pread_full(int fd, void *ret, size_t len, uint64_t offset); /* 0, -EIO; -ENODATA: the file is shorter */

/* The head file: one block of two slots, written in turn, so that a torn write leaves the other. */
#define AUDIT_HEADFILE_SIZE 4096
#define AUDIT_HEADFILE_SLOT 2048
/* 0, -EBADMSG */
int audit_headfile_decode(const uint8_t block[AUDIT_HEADFILE_SIZE], struct audit_position *ret,
			  uint64_t *ret_generation);
int audit_headfile_read(int fd, struct audit_position *ret, uint64_t *ret_generation);
/* Durable when it returns 0; then the older slot, whose key is of the past, is wiped. */
int audit_headfile_write(int fd, const struct audit_position *p, uint64_t generation);

#endif
