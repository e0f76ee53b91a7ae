/* Where a thread's namespaces come from: namespaces nest, and the outermost one below our own says whose all those
 * within it are (ioctl_ns(2)).
 *
 * Whoever is in a user namespace can make others in it, as many as it likes; but none of them is outside it, and its
 * owner, the user that made it, stays. So for pid namespaces. */
#ifndef COFFER_FS_CALLER_ANCESTRY_H
#define COFFER_FS_CALLER_ANCESTRY_H

#include <stdbool.h>
#include <stdint.h>

struct ancestry {
	bool known;               /* false: all below is 0 */
	uint64_t user_ns, pid_ns; /* the outermost one below ours that the thread is in; 0: it is in ours */
	uint32_t owner;           /* who made user_ns, as ours counts users; 0 without one */
	/* pid_ns belongs to our user namespace: who made it was powerful in ours, as a container engine that is root */
	bool pid_ns_ours;
	/* likewise the thread's mount namespace, where that is not the machine's and the thread is in our user
	 * namespace: it leaves that one only for one that such a power made */
	bool mnt_ns_ours;
};

struct namespaces {
	uint64_t user, pid, mnt;
}; /* their inode numbers; 0: not known */

/* Of a thread's directory in /proc. ours: this process's own namespaces, with the machine's mount namespace; theirs:
 * the thread's. Opens no more than four descriptors at a time. */
void ancestry_read(int thread_fd, const struct namespaces *ours, const struct namespaces *theirs,
		   struct ancestry *ret_ancestry);

#endif
