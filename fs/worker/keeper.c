#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "fs/worker/internal.h"

#define CONTROL_MS 10000

int worker_fatal(struct worker *w, int status, const char *format, ...)
{
	struct control_message m = { .type = CONTROL_FATAL, .number = (uint32_t)status };
	va_list ap;
	va_start(ap, format);
	vsnprintf(m.text, sizeof m.text, format, ap);
	va_end(ap);
	control_send(role_fd(w->args, "control"), &m, -1);
	return -EIO;
}

int worker_ask_keeper(struct worker *w, const struct control_message *m, struct control_message *ret_answer,
		      int *ret_fd)
{
	const int socket = w->vault.control_fd;
	int late = -1;

	pthread_mutex_lock(&w->control_lock);
	/* an answer that came too late for whoever asked before is none to this */
	while (control_receive(socket, ret_answer, &late, 0) == 0)
		if (late >= 0)
			close(late);
	int r = control_send(socket, m, -1);
	if (!r)
		r = control_receive(socket, ret_answer, ret_fd, CONTROL_MS);
	pthread_mutex_unlock(&w->control_lock);
	if (!r && ret_answer->type != m->type)
		r = -EPROTO;
	return r ? r : ret_answer->error;
}
