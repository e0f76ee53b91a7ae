#include "fs/common/passing.h"

#include <string.h>

void passing_give(struct msghdr *m, union passing *room, int fd)
{
	struct cmsghdr *c;

	if (fd < 0)
		return;
	memset(room, 0, sizeof *room);
	m->msg_control = room->buf;
	m->msg_controllen = sizeof room->buf;
	c = CMSG_FIRSTHDR(m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
}

void passing_expect(struct msghdr *m, union passing *room)
{
	m->msg_control = room->buf;
	m->msg_controllen = CMSG_LEN(sizeof(int));
}

int passing_take(struct msghdr *m)
{
	int fd = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}
