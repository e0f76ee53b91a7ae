/* What goes to another process: state, upgrades, hand-overs, what the service manager keeps. For the files of the
 * keeper. */
#ifndef COFFER_FS_KEEPER_SUCCESSORS_H
#define COFFER_FS_KEEPER_SUCCESSORS_H

#include "fs/keeper/internal.h"

/* ---- state.c ---- */

#define STATE_MAGIC 0x63666b31u
#define STATE_FDS   (14 + 2 * HELPERS * SEATS)

struct keeper_state {
	uint32_t magic, size, shared_size;
	uint32_t list; /* of system calls, that the process is under (sandbox_keeper_list) */
	struct options options;
	struct vaultconf conf;
	struct keeper_users users;
	struct mount_state mount;
	char exe[PATH_MAX];
	/* worker: a pidfd, in a hand-over */
	int shared, fuse, proc, clone, dir, lock, audit_dir, audit_head, kek, unseal, asked, worker;
	struct channel channels[HELPERS][SEATS];
	struct child helpers[HELPERS];
	struct seat seats[SEATS];
	int active;
	pid_t lingering;
	uint32_t segment, closed;
	bool resend;
};
size_t state_descriptors(struct keeper_state *s, int *ret[STATE_FDS]);
void state_save(const struct keeper *k, struct keeper_state *ret);
void state_strip(struct keeper_state *s);      /* takes out what is of this process alone */
int state_check(const struct keeper_state *s); /* 0; -EPROTO: of another version */
int state_restore(struct keeper *k, const struct keeper_state *s);
int state_to_memfd(const struct keeper_state *s, int *ret_fd);
int state_from_memfd(int fd, struct keeper_state *ret);

/* ---- upgrade.c ---- */

void upgrade_begin(struct keeper *k);              /* SIGHUP */
void upgrade_prepared(struct keeper *k, int seat); /* its worker stands ready */
void upgrade_served(struct keeper *k);             /* and serves. Does not return where all goes well */
void upgrade_worker_died(struct keeper *k, int status);
/* a worker ended before it served, after the old one was retired */
void upgrade_not_served(struct keeper *k);
void upgrade_abandon(struct keeper *k, const char *why); /* if one is under way: what ran before goes on */
int upgrade_watch(struct keeper *k);                     /* as watch; -1: nothing is due */

/* ---- wire.c ---- */

/* Asks the keeper that holds this store's lock to give it up, if all that it serves is what is left of a mount that is
 * gone. True: it ends. */
bool handover_yield(int store_dir);

/* ---- handover.c ---- */

int handover_listen(struct keeper *k);
void handover_forget(struct keeper *k);
void handover_accept(struct keeper *k);
/* true: it has taken over, and this process has nothing left to do */
bool handover_read(struct keeper *k);
int handover_watch(struct keeper *k); /* as watch; -1: nothing is due */
int handover_ask(struct keeper *k, char *why, size_t why_len);
/* our worker stands ready; 0: the other keeper's has ended; -EBUSY: it keeps the mount */
int handover_finish(struct keeper *k, char *why, size_t why_len);
void handover_refuse(struct keeper *k, const char *why); /* whoever gets ready to take over must not */

/* ---- kept.c: what the service manager keeps for the next keeper ---- */

void kept_give(const struct keeper *k); /* the mount is there, or is another one now */
void kept_forget(const struct keeper *k);
bool kept_take(struct keeper *k); /* at the start: is there anything? */
/* 0; -EPROTO: of another version; -EXDEV: another vault's; -EBADF, -ENOTCONN: not whole, or no mount any more */
int kept_adopt(struct keeper *k);

#endif
