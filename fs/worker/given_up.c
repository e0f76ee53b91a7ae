#include <errno.h>
#include <stdio.h>

#include "fs/common/clock.h"
#include "fs/common/log.h"
#include "fs/fuse/session.h"
#include "fs/serve/staging.h"
#include "fs/serve/temporary.h"
#include "fs/worker/internal.h"
#include "store/core/tables.h"

/* Of what a request asks something: NULL where its node is no secret's. */
static const char *name_of_node(struct vault *v, uint64_t ino, char name[NAME_LEN_MAX + 1])
{
	struct inode i;

	*name = '\0';
	store_rdlock(v->store);
	const struct catalog_secret *s = inode_unpack(ino, &i) && i.type != INODE_OWN && i.type != INODE_REQUEST &&
							 i.type != INODE_TEMP && i.type != INODE_MARKER
						 ? store_get(v->store, i.secret)
						 : NULL;
	if (s)
		snprintf(name, NAME_LEN_MAX + 1, "%s", s->name);
	store_unlock_tables(v->store);
	return *name ? name : NULL;
}

/* The alarm: whoever sends such a request may be trying to break in. */
uint32_t worker_given_up(void *userdata, const struct fuse_in_header *in)
{
	struct vault *v = userdata;
	struct audit_caller caller = { .neighbour = neighbours_guess(callers_neighbours(v->callers), in->uid),
				       .uid = in->uid,
				       .gid = in->gid,
				       .pid = (int32_t)in->pid,
				       .loginuid = -1 };
	char detail[128], name[NAME_LEN_MAX + 1];

	snprintf(detail, sizeof detail, "two workers died on it: request kind %u, node %llu", in->opcode,
		 (unsigned long long)in->nodeid);
	audit_caller_render(&caller);
	const struct audit_event e = {
		.operation = AUDIT_REQUEST_GIVE_UP,
		.result = AUDIT_ERROR,
		.error = EIO,
		.secret = name_of_node(v, in->nodeid, name),
		.caller = &caller,
		.detail = detail,
		.unique = request_unique(),
		.resent = true,
		.privileged = true,
	};
	log_caused(LOG_ERR, "a request of uid %u, process %d is given up with EIO, %s", in->uid, (int)in->pid, detail);
	if (audit_append(v->audit, &e, NULL))
		log_caused(LOG_ERR, "and the log cannot be written");
	v->shared->keeper.deaths_of_request++;
	return suspects_penalty(&v->shared->suspects, vault_neighbour_guess(v, in->uid), clock_ms());
}

void worker_lost(void *userdata, const struct fuse_in_header *in, size_t len)
{
	const struct fuse_write_in *write = (const void *)(in + 1);

	if (len >= sizeof *in + sizeof *write) {
		staging_lost(userdata, write->fh, in->uid);
		temporary_lost(userdata, write->fh, in->uid);
	}
}
