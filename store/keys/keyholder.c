/* The role that owns the KEK: one thread, one poll loop, which nobody can hold up. Client sockets are read and written
 * without blocking; a reply that does not fit into a client's socket is dropped (its caller has a deadline). A
 * connection on the unseal socket has a deadline of its own. Only opening the KEK takes time (scrypt: half a second),
 * and only root can ask for it. */

#include "store/keys/keyholder.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "store/crypto/secbuf.h"
#include "store/keys/calls.h"
#include "store/keys/kek.h"
#include "store/keys/keyholder_proto.h"
#include "store/keys/keys.h"

#define CLIENTS_MAX      16
#define FAULT_MAX        (KEK_WHY_MAX + 64) /* bytes of a line that says why there is no key, and what to do */
#define VISITORS_MAX     4                  /* connections on the unseal socket at one time */
#define VISITOR_DEADLINE 5000               /* ms, from accept to the end of the passphrase */

_Static_assert(FAULT_MAX <= WRAP_RECORD_MAX, "the line fits into a message");

struct client {
	int fd;      /* borrowed; -1: it has closed */
	bool notify; /* a message with number 0 is due */
	bool told;   /* it has had one from this holder */
};

struct visitor {
	int fd; /* -1: free */
	struct secbuf *passphrase;
	int64_t deadline;
};

struct holder {
	const struct keyholder_config *config;
	const struct kek_ops *ops;
	struct key_owner owner;
	int64_t tokens;   /* thousandths of an unwrap */
	int64_t refilled; /* ms */
	struct client clients[CLIENTS_MAX];
	size_t n_clients;
	struct visitor visitors[VISITORS_MAX];
	struct kh_request *request; /* locked memory: records are no secrets, replies are */
	struct kh_reply *reply;
	struct kh_item *items; /* of the request, and then of its reply; ordinary memory */
};

/* ---- the key ---- */

/* Does this KEK open the vault's key record? */
static int prove(struct kek *kek, const struct keyholder_config *c)
{
	uint8_t key[KEY_LEN];
	int r;

	if (c->check_len == 0)
		return 0;
	r = wrap_open(kek, &c->check_context, c->check_record, c->check_len, key);
	secmem_wipe(key, sizeof(key));
	return r == -ENOMEM || r == -EIO ? r : r < 0 ? -EKEYREJECTED : 0;
}

/* A key file with something else in it: none can be made that opens this vault. */
static void say_what_to_do(char *why, size_t why_len)
{
	size_t len = strlen(why);

	snprintf(why + len, why_len - len, "; bring the vault's own key back from its copy");
}

static int unlock(struct holder *h, const void *passphrase, size_t len, char *why, size_t why_len)
{
	struct kek_source src = h->config->source;
	struct kek *kek = NULL;
	int r;

	if (h->ops && h->ops->asks == KEK_ASKS_PASSPHRASE) {
		src.passphrase = passphrase;
		src.passphrase_len = len;
	}
	r = kek_open(&src, &kek, why, why_len);
	if (r == -EINVAL && !src.passphrase)
		say_what_to_do(why, why_len);
	if (r < 0)
		return r;
	r = prove(kek, h->config);
	if (r < 0) {
		kek_close(kek);
		if (r != -EKEYREJECTED)
			snprintf(why, why_len, "the key cannot be tried: %s", strerror(-r));
		else if (h->ops->asks == KEK_ASKS_PASSPHRASE)
			snprintf(why, why_len, "this passphrase does not open the vault");
		else
			snprintf(why, why_len, "the key of %.150s is another vault's: it does not open this one",
				 src.uri);
		if (r == -EKEYREJECTED && h->ops->asks == KEK_ASKS_NOTHING)
			say_what_to_do(why, why_len);
		return r;
	}
	h->owner.kek = kek;
	return 0;
}

static void notify_all(struct holder *h)
{
	for (size_t i = 0; i < h->n_clients; i++)
		h->clients[i].notify = h->clients[i].fd >= 0;
}

/* A token bucket: what a captured worker can unwrap in an hour is bounded. */
static bool allowed(struct key_owner *o, int64_t unwraps)
{
	struct holder *h = (struct holder *)((char *)o - offsetof(struct holder, owner));
	int64_t rate = h->config->unwraps_per_second ? h->config->unwraps_per_second : KEYHOLDER_RATE;
	int64_t burst = h->config->unwrap_burst ? h->config->unwrap_burst : KEYHOLDER_BURST;
	int64_t now = kh_now_ms(), room = burst * 1000 - h->tokens;

	if (now - h->refilled > room / rate)
		h->tokens = burst * 1000;
	else
		h->tokens += (now - h->refilled) * rate;
	h->refilled = now;
	if (h->tokens < 1000 * unwraps)
		return false;
	h->tokens -= 1000 * unwraps;
	return true;
}

/* ---- clients ---- */

static void send_reply(struct holder *h, int fd)
{
	struct iovec parts[] = { { h->reply, sizeof(*h->reply) }, { h->items, h->reply->n_items * sizeof(*h->items) } };
	const struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t n;

	do
		n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	secmem_wipe(h->reply, sizeof(*h->reply));
}

/* One request; a message of another form is dropped. */
static void serve_client(struct holder *h, struct client *c)
{
	struct iovec parts[] = { { h->request, sizeof(*h->request) },
				 { h->items, KEYS_ITEMS_MAX * sizeof(*h->items) } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t n = recvmsg(c->fd, &message, MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		c->fd = -1;
		return;
	}
	if (n < (ssize_t)sizeof(*h->request) || h->request->number == 0 || h->request->n_items > KEYS_ITEMS_MAX ||
	    (size_t)n != sizeof(*h->request) + h->request->n_items * sizeof(*h->items))
		return;
	secmem_wipe(h->reply, sizeof(*h->reply));
	const bool open = h->owner.kek != NULL;
	h->reply->result = calls_serve(&h->owner, h->request, h->items, h->reply);
	if (open && !h->owner.kek)
		notify_all(h);
	h->reply->number = h->request->number;
	send_reply(h, c->fd);
}

static void send_notice(struct holder *h, struct client *c)
{
	secmem_wipe(h->reply, sizeof(*h->reply));
	h->reply->sealed = !h->owner.kek;
	h->reply->began = h->config->announce && !c->told;
	if (send(c->fd, h->reply, sizeof(*h->reply), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
	    (errno == EAGAIN || errno == EINTR))
		return;
	c->notify = false;
	c->told = true;
}

static size_t clients_left(const struct holder *h)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n_clients; i++)
		n += h->clients[i].fd >= 0;
	return n;
}

/* ---- unsealing ---- */

static void visitor_leave(struct visitor *v)
{
	close(v->fd);
	v->fd = -1;
	v->passphrase = secbuf_free(v->passphrase);
}

/* The line is short and the socket is empty: it fits, or the visitor does not read. */
static void visitor_answer(struct visitor *v, const char *error)
{
	char line[FAULT_MAX + 16];
	int n = error ? snprintf(line, sizeof(line), "error %s\n", error) : snprintf(line, sizeof(line), "ok\n");

	(void)!send(v->fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	visitor_leave(v);
}

static void visitor_accept(struct holder *h)
{
	struct visitor *v = NULL;
	struct ucred peer;
	socklen_t len = sizeof(peer);

	for (size_t i = 0; i < VISITORS_MAX && !v; i++)
		if (h->visitors[i].fd < 0)
			v = &h->visitors[i];
	if (!v)
		return; /* stays in the backlog; not polled while there is no room */
	v->fd = accept4(h->config->unseal_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (v->fd < 0)
		return;
	v->deadline = kh_now_ms() + VISITOR_DEADLINE;
	if (getsockopt(v->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.uid != 0)
		visitor_answer(v, "only root may unseal a vault");
	else if (secbuf_new(PASSPHRASE_MAX + 1, &v->passphrase) < 0)
		visitor_answer(v, "no locked memory left");
}

static void visitor_done(struct holder *h, struct visitor *v)
{
	char why[FAULT_MAX] = "";
	int r = 0;

	if (!h->owner.kek) {
		r = unlock(h, secbuf_cdata(v->passphrase), secbuf_len(v->passphrase), why, sizeof(why));
		if (r == 0)
			notify_all(h);
	}
	visitor_answer(v, r < 0 ? why : NULL);
}

static void visitor_read(struct holder *h, struct visitor *v)
{
	struct secbuf *b = v->passphrase;
	size_t len = secbuf_len(b);
	ssize_t n = recv(v->fd, secbuf_data(b) + len, secbuf_capacity(b) - len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		visitor_leave(v);
		return;
	}
	if (n == 0) {
		visitor_done(h, v);
		return;
	}
	(void)secbuf_set_len(b, len + (size_t)n);
	if (secbuf_len(b) > PASSPHRASE_MAX)
		visitor_answer(v, "the passphrase is too long");
}

/* ---- the loop ---- */

#define POLL_MAX (1 + CLIENTS_MAX + VISITORS_MAX)

/* A slot for each, in this order: the unseal socket, clients, visitors; a negative fd is passed over by poll. Returns
 * poll's timeout. */
static int prepare(const struct holder *h, struct pollfd p[POLL_MAX])
{
	int64_t soonest = -1;
	bool room = false;

	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		bool used = i < h->n_clients;
		p[1 + i].fd = used ? h->clients[i].fd : -1;
		p[1 + i].events = (short)(POLLIN | (used && h->clients[i].notify ? POLLOUT : 0));
	}
	for (size_t i = 0; i < VISITORS_MAX; i++) {
		const struct visitor *v = &h->visitors[i];
		p[1 + CLIENTS_MAX + i].fd = v->fd;
		p[1 + CLIENTS_MAX + i].events = POLLIN;
		if (v->fd < 0)
			room = true;
		else if (soonest < 0 || v->deadline < soonest)
			soonest = v->deadline;
	}
	p[0].fd = room ? h->config->unseal_fd : -1;
	p[0].events = POLLIN;
	if (soonest < 0)
		return -1;
	soonest -= kh_now_ms();
	return soonest > 0 ? (int)soonest : 0;
}

static void serve_clients(struct holder *h, const struct pollfd *p)
{
	for (size_t i = 0; i < h->n_clients; i++) {
		struct client *c = &h->clients[i];
		if (p[i].fd >= 0 && p[i].revents)
			serve_client(h, c);
		if (c->fd >= 0 && c->notify)
			send_notice(h, c);
	}
}

static void serve_visitors(struct holder *h, const struct pollfd *p)
{
	for (size_t i = 0; i < VISITORS_MAX; i++) {
		struct visitor *v = &h->visitors[i];
		if (p[i].fd >= 0 && p[i].revents)
			visitor_read(h, v);
		if (v->fd >= 0 && kh_now_ms() >= v->deadline)
			visitor_answer(v, "the passphrase did not come in time");
	}
}

static void loop(struct holder *h)
{
	struct pollfd p[POLL_MAX];

	while (clients_left(h) > 0) {
		int n = poll(p, POLL_MAX, prepare(h, p));
		if (n < 0)
			continue; /* EINTR */
		serve_clients(h, p + 1);
		serve_visitors(h, p + 1 + CLIENTS_MAX);
		if (p[0].fd >= 0 && p[0].revents)
			visitor_accept(h);
	}
}

/* ---- beginning and end ---- */

static int begin(struct holder *h, const struct keyholder_config *config, char *why, size_t why_len)
{
	const struct kek_source *src = &config->source;

	h->config = config;
	h->owner.kek = config->kek;
	h->refilled = kh_now_ms();
	h->tokens = (int64_t)(config->unwrap_burst ? config->unwrap_burst : KEYHOLDER_BURST) * 1000;
	h->n_clients = config->n_clients;
	for (size_t i = 0; i < VISITORS_MAX; i++)
		h->visitors[i].fd = -1;
	if (config->n_clients > CLIENTS_MAX) {
		snprintf(why, why_len, "the key holder has more than %d clients", CLIENTS_MAX);
		h->n_clients = 0;
		return -EINVAL;
	}
	for (size_t i = 0; i < h->n_clients; i++)
		h->clients[i].fd = config->clients[i];
	h->request = secmem_alloc(sizeof(*h->request));
	h->reply = secmem_alloc(sizeof(*h->reply));
	h->items = calloc(KEYS_ITEMS_MAX, sizeof(*h->items));
	h->owner.transport = secmem_alloc(CURVE_LEN);
	if (!h->request || !h->reply || !h->items || !h->owner.transport ||
	    random_bytes(h->owner.transport, CURVE_LEN) < 0) {
		snprintf(why, why_len, "the key holder has no locked memory");
		return -ENOMEM;
	}
	h->owner.allowed = allowed;
	h->ops = kek_ops_for(src->uri);
	if (h->ops)
		snprintf(h->owner.provider, sizeof(h->owner.provider), "%s", h->ops->scheme);
	if (config->announce)
		notify_all(h);
	if (h->owner.kek)
		return 0;
	if (h->ops && h->ops->asks == KEK_ASKS_PASSPHRASE && !src->passphrase)
		return 0; /* sealed */
	return unlock(h, src->passphrase, src->passphrase_len, why, why_len);
}

/* The clients' sockets outlive this process: who asks finds the reason there, and need not wait for an answer that
 * never comes. */
static void send_fault(const struct holder *h, int error, const char *why)
{
	struct kh_reply fault = { .result = error == -EKEYREJECTED ? error : -EIO, .sealed = 1 };

	fault.record_len = (uint32_t)snprintf((char *)fault.record, sizeof(fault.record), "%s", why);
	for (size_t i = 0; i < h->n_clients; i++)
		(void)!send(h->clients[i].fd, &fault, sizeof(fault), MSG_DONTWAIT | MSG_NOSIGNAL);
}

int keyholder_run(const struct keyholder_config *config)
{
	struct holder *h = calloc(1, sizeof(*h));
	char why[FAULT_MAX] = "";
	int r;

	if (!h)
		return 1;
	r = begin(h, config, why, sizeof(why));
	if (r < 0)
		send_fault(h, r, why);
	else
		loop(h);
	for (size_t i = 0; i < VISITORS_MAX; i++)
		if (h->visitors[i].fd >= 0)
			visitor_leave(&h->visitors[i]);
	kek_close(h->owner.kek);
	secmem_free(h->request, sizeof(*h->request));
	secmem_free(h->reply, sizeof(*h->reply));
	secmem_free(h->owner.transport, CURVE_LEN);
	free(h->items);
	free(h);
	return r < 0 ? 1 : 0;
}
