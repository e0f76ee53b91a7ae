#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fs/common/log.h"
#include "fs/worker/internal.h"

static int segment_open(void *arg, uint32_t number, bool create, int *ret_fd)
{
	struct worker *w = arg;
	const struct control_message m = { .type = CONTROL_SEGMENT, .number = number, .create = create };
	struct control_message answer;
	int fd = -1;

	if (!create && w->segment_fd >= 0 && number == w->segment) {
		*ret_fd = w->segment_fd;
		w->segment_fd = -1;
		return 0;
	}
	int r = worker_ask_keeper(w, &m, &answer, &fd);
	if (!r && (answer.number != number || fd < 0))
		r = -EPROTO;
	if (r) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static int retain(void *arg, uint32_t recorded, uint32_t *ret_due)
{
	const struct control_message m = { .type = CONTROL_RETAIN, .number = recorded };
	struct control_message answer;
	int r = worker_ask_keeper(arg, &m, &answer, NULL);

	if (!r)
		*ret_due = answer.number;
	return r;
}

static bool still_unanswered(void *arg, uint64_t recorded)
{
	struct shared *s = ((struct worker *)arg)->vault.shared;
	const uint64_t unique = recorded & ((UINT64_C(1) << AUDIT_PART_SHIFT) - 1);

	return unanswered_has(&s->unanswered, unique) || suspects_deaths(&s->suspects, unique);
}

int worker_open_log(struct worker *w)
{
	char why[256] = "";
	const struct options *o = w->vault.options;
	/* beside the database, where we can make it; without it shares of the log begin anew with each daemon */
	const int shares = openat(role_fd(w->args, "store"), "db/log-shares",
				  O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (shares < 0)
		log_warn("STORE/db/log-shares: %s: who has written how much of the log is forgotten when the daemon "
			 "ends",
			 strerror(errno));
	gethostname(w->host, sizeof w->host - 1);
	const struct audit_config config = {
		.dir_fd = role_fd(w->args, "audit"),
		.head_fd = role_fd(w->args, "head"),
		.head = &w->vault.shared->audit_head,
		.vault = w->conf.name,
		.host = w->host,
		.durability = o->durability,
		.segment_size = o->audit_segment_size,
		.keep_bytes = o->audit_keep_bytes,
		.keep_seconds = o->audit_keep_seconds,
		.segment_open = segment_open,
		.retain = retain,
		.unanswered = still_unanswered,
		.arg = w,
		.shares_fd = shares > 0 ? shares : 0,
		.boot = w->vault.shared->keeper.boot,
		.lasts = neighbour_lasts,
	};
	int r = audit_open(&config, &w->vault.audit, why, sizeof why);
	if (w->segment_fd >= 0) /* another one is the open one by now */
		close(w->segment_fd);
	w->segment_fd = -1;
	return r ? worker_fatal(w, r == -EBADMSG ? 6 : 1, "audit log: %s", why[0] ? why : strerror(-r)) : 0;
}
