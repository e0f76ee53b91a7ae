/* One descriptor with a message, by SCM_RIGHTS. */
#ifndef COFFER_FS_COMMON_PASSING_H
#define COFFER_FS_COMMON_PASSING_H

#include <sys/socket.h>

struct msghdr;

/* Room for it; must live as long as the message. */
union passing {
	char buf[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/* Sends it along; -1: none. */
void passing_give(struct msghdr *m, union passing *room, int fd);
/* There is room for one and no more: without the padding, which would take a second one. What does not fit, the kernel
 * throws away; so it does with all of a message that expects none. */
void passing_expect(struct msghdr *m, union passing *room);
/* What came with a message; -1: nothing. */
int passing_take(struct msghdr *m);

#endif
