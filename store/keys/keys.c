/* How everybody but the key holder reaches keys: over its socket, or straight over a KEK in this process.
 *
 * One call at a time is on the socket; the deadline counts from the call's beginning, waiting for the turn included. A
 * reply whose number is not the call's is left over from a call that gave up, or from a client that died, and is
 * dropped: numbers begin at random. Messages with number 0 that a call meets are kept as a flag and, when it is done,
 * an eventfd, so that who polls keys_fd (an epoll of both, in which the socket is asleep meanwhile) still hears of
 * them, and of no reply. */

#include "store/keys/keys.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "store/crypto/secbuf.h"
#include "store/keys/calls.h"
#include "store/keys/kek.h"
#include "store/keys/keyholder_proto.h"
#include "store/keys/transport.h"

struct keys {
	pthread_mutex_t lock; /* of the next four alone; never held across a wait */
	pthread_cond_t free;
	int fault; /* why the holder has no key; 0: nothing is known against it */
	char fault_why[WRAP_RECORD_MAX];
	bool busy;              /* a call has its turn, and with it everything below */
	struct key_owner owner; /* local */
	int fd;                 /* socket, or -1: local */
	int event_fd, epoll_fd;
	bool gone; /* the holder has closed its end */
	bool changed;
	uint64_t number;              /* of the last call */
	struct kh_reply *reply;       /* locked memory */
	struct kh_item *items;        /* of the request, and then of its reply */
	uint8_t transport[CURVE_LEN]; /* local: what the key holder has for itself */
};

/* ---- turns ---- */

/* Waits by CLOCK_MONOTONIC: a deadline must not move with the date. */
static int turn_init(struct keys *k)
{
	pthread_condattr_t attr;
	int r = -ENOMEM;

	if (pthread_condattr_init(&attr) != 0)
		return r;
	if (pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 && pthread_cond_init(&k->free, &attr) == 0) {
		if (pthread_mutex_init(&k->lock, NULL) == 0)
			r = 0;
		else
			pthread_cond_destroy(&k->free);
	}
	pthread_condattr_destroy(&attr);
	return r;
}

/* While a call is on the socket, the replies are its own: whoever polls keys_fd must not wake for them. A socket that
 * is not watched any more stays so. */
static void listen_idle(struct keys *k, bool idle)
{
	struct epoll_event ev = { .events = idle ? EPOLLIN : 0, .data.fd = k->fd };

	if (k->fd >= 0 && !k->gone)
		(void)epoll_ctl(k->epoll_fd, EPOLL_CTL_MOD, k->fd, &ev);
}

static int take_turn(struct keys *k, int64_t deadline)
{
	struct timespec until = { .tv_sec = deadline / 1000, .tv_nsec = deadline % 1000 * 1000000 };
	int r = 0;

	pthread_mutex_lock(&k->lock);
	while (k->busy && r == 0)
		r = pthread_cond_timedwait(&k->free, &k->lock, &until);
	if (!k->busy) {
		k->busy = true;
		r = 0;
	}
	pthread_mutex_unlock(&k->lock);
	if (r == 0)
		listen_idle(k, false);
	return r == 0 ? 0 : r == ETIMEDOUT ? -ETIMEDOUT : -EIO;
}

/* Without waiting. Whoever has the turn tells the news again at its end: until then nobody is to wake for it. */
static bool try_turn(struct keys *k)
{
	eventfd_t count;
	bool mine;

	pthread_mutex_lock(&k->lock);
	(void)eventfd_read(k->event_fd, &count);
	mine = !k->busy;
	k->busy = true;
	pthread_mutex_unlock(&k->lock);
	return mine;
}

static void end_turn(struct keys *k)
{
	listen_idle(k, true);
	pthread_mutex_lock(&k->lock);
	if (k->changed)
		(void)eventfd_write(k->event_fd, 1);
	k->busy = false;
	pthread_cond_signal(&k->free);
	pthread_mutex_unlock(&k->lock);
}

/* ---- making ---- */

static int keys_new(struct keys **ret_keys)
{
	struct keys *k = secmem_alloc(sizeof(*k));

	if (!k)
		return -ENOMEM;
	k->fd = k->event_fd = k->epoll_fd = -1;
	if (turn_init(k) < 0) {
		secmem_free(k, sizeof(*k));
		return -ENOMEM;
	}
	k->reply = secmem_alloc(sizeof(*k->reply));
	k->items = calloc(KEYS_ITEMS_MAX, sizeof(*k->items));
	if (!k->reply || !k->items) {
		keys_free(k);
		return -ENOMEM;
	}
	*ret_keys = k;
	return 0;
}

static int watch(int epoll_fd, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int keys_new_socket(int fd, struct keys **ret_keys)
{
	struct keys *k = NULL;
	int r = keys_new(&k);

	if (r < 0)
		return r;
	r = -ENOMEM;
	k->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	k->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (k->event_fd < 0 || k->epoll_fd < 0)
		goto out;
	if (watch(k->epoll_fd, fd) < 0 || watch(k->epoll_fd, k->event_fd) < 0)
		goto out;
	if (random_bytes(&k->number, sizeof(k->number)) < 0)
		goto out;
	k->fd = fd;
	*ret_keys = k;
	return 0;
out:
	keys_free(k);
	return r;
}

int keys_new_local(struct kek *kek, struct keys **ret_keys)
{
	struct keys *k = NULL;
	int r = keys_new(&k);

	if (r < 0)
		return r;
	if (random_bytes(k->transport, sizeof(k->transport)) < 0) {
		keys_free(k);
		return -ENOMEM;
	}
	k->owner.kek = kek;
	k->owner.transport = k->transport;
	snprintf(k->owner.provider, sizeof(k->owner.provider), "%s", kek_provider(kek));
	*ret_keys = k;
	return 0;
}

void keys_free(struct keys *k)
{
	if (!k)
		return;
	kek_close(k->owner.kek);
	if (k->epoll_fd >= 0)
		close(k->epoll_fd);
	if (k->event_fd >= 0)
		close(k->event_fd);
	if (k->fd >= 0)
		close(k->fd);
	secmem_free(k->reply, sizeof(*k->reply));
	free(k->items);
	pthread_mutex_destroy(&k->lock);
	pthread_cond_destroy(&k->free);
	secmem_free(k, sizeof(*k));
}

/* ---- over a socket ---- */

static int holder_gone(struct keys *k)
{
	if (!k->gone) {
		k->gone = true;
		/* a closed socket is readable for ever */
		(void)epoll_ctl(k->epoll_fd, EPOLL_CTL_DEL, k->fd, NULL);
		k->changed = true;
	}
	return -EIO;
}

/* A fault stands until the holder, or the one that came after it, answers. */
static void note_fault(struct keys *k, int error, const uint8_t *why)
{
	pthread_mutex_lock(&k->lock);
	k->fault = error;
	if (error)
		snprintf(k->fault_why, sizeof(k->fault_why), "%.*s", (int)sizeof(k->fault_why) - 1, (const char *)why);
	pthread_mutex_unlock(&k->lock);
}

/* One message into k->reply: 0, -EAGAIN when there is none, -EIO. What is not a reply at all is passed over as one that
 * nobody waits for. */
static int receive(struct keys *k)
{
	struct iovec parts[] = { { k->reply, sizeof(*k->reply) }, { k->items, KEYS_ITEMS_MAX * sizeof(*k->items) } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t n;

	do
		n = recvmsg(k->fd, &message, MSG_DONTWAIT | MSG_TRUNC);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	if (n <= 0)
		return holder_gone(k);
	if (n < (ssize_t)sizeof(*k->reply) || k->reply->n_items > KEYS_ITEMS_MAX ||
	    (size_t)n != sizeof(*k->reply) + k->reply->n_items * sizeof(*k->items))
		k->reply->number = k->number - 1;
	else if (k->reply->number == 0) {
		k->changed = true;
		note_fault(k, k->reply->result, k->reply->record);
	}
	return 0;
}

static int send_request(struct keys *k, const struct kh_request *request, int64_t deadline)
{
	union {
		const void *from;
		void *base;
	} head = { .from = request }; /* sendmsg only reads */
	size_t size = sizeof(*request) + request->n_items * sizeof(*k->items);
	struct iovec parts[] = { { head.base, sizeof(*request) }, { k->items, request->n_items * sizeof(*k->items) } };
	const struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };

	for (;;) {
		ssize_t n = sendmsg(k->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		int r;

		if (n == (ssize_t)size)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n >= 0 || errno != EAGAIN)
			return holder_gone(k);
		r = kh_wait(k->fd, POLLOUT, deadline);
		if (r < 0)
			return r;
	}
}

/* Sends the request and waits for its reply in k->reply; the turn is the caller's. */
static int exchange(struct keys *k, struct kh_request *request, int64_t deadline)
{
	int r;

	if (k->gone)
		return -EIO;
	if (++k->number == 0)
		k->number = 1;
	request->number = k->number;
	r = send_request(k, request, deadline);
	while (r == 0) {
		r = receive(k);
		if (r == -EAGAIN)
			r = kh_wait(k->fd, POLLIN, deadline);
		else if (r == 0 && k->reply->number == 0 && k->reply->result)
			r = -ETIMEDOUT; /* a holder that says so does not answer any more */
		else if (r == 0 && k->reply->number == 0 && k->reply->began && request->n_items == 0)
			/* the holder before may have taken the request along; a second reply is nobody's. Items may be
			 * overwritten by now. */
			r = send_request(k, request, deadline);
		else if (r == 0 && k->reply->number == request->number) {
			note_fault(k, 0, NULL);
			return 0;
		}
	}
	return r;
}

int keys_fault(struct keys *k, char *why, size_t why_len)
{
	int r;

	pthread_mutex_lock(&k->lock);
	r = k->fault == 0 || k->fault == -EKEYREJECTED ? k->fault : -EIO;
	if (r < 0)
		snprintf(why, why_len, "%s", k->fault_why);
	pthread_mutex_unlock(&k->lock);
	return r;
}

/* A reply's result is the holder's word; a result that is not an errno of the interface is -EIO. */
static int result_of(const struct kh_reply *reply)
{
	switch (reply->result) {
	case 0:
	case -ENOKEY:
	case -EBADMSG:
	case -ETIMEDOUT:
	case -EBUSY:
		return reply->result;
	default:
		return -EIO;
	}
}

/* The request's result, and if it is 0 what belongs to it in k->reply. */
static int ask(struct keys *k, struct kh_request *request, int64_t deadline)
{
	if (k->fd < 0)
		return calls_serve(&k->owner, request, k->items, k->reply);
	int r = exchange(k, request, deadline);

	return r < 0 ? r : result_of(k->reply);
}

/* ---- the calls ---- */

/* What a call brings, and where its answer goes; what does not apply is zero. */
struct call {
	const struct wrap_context *context;
	const uint8_t *vault;
	const uint8_t *record;
	size_t record_len;
	const uint8_t *data;
	size_t data_len;
	struct keys_item *items;
	size_t n;
	uint8_t *ret_record;
	size_t *ret_len;
	uint8_t *ret_key;
	uint8_t *ret_data;
	size_t ret_data_len;
	struct keys_state *ret_state;
};

static void put_items(struct keys *k, struct kh_request *request, const struct call *c)
{
	request->n_items = (uint32_t)c->n;
	for (size_t i = 0; i < c->n; i++) {
		const struct keys_item *from = &c->items[i];
		struct kh_item *to = &k->items[i];

		*to = (struct kh_item){ .was_secret = from->was.secret,
					.was_version = from->was.version,
					.becomes_secret = from->becomes.secret,
					.becomes_version = from->becomes.version,
					.len = (uint32_t)from->len };
		memcpy(to->was_vault, from->was.vault, sizeof(to->was_vault));
		memcpy(to->data, from->data, from->len);
	}
}

static void fill(struct keys *k, struct kh_request *request, enum kh_op op, const struct call *c)
{
	memset(request, 0, sizeof(*request));
	request->op = op;
	if (c->context) {
		request->type = c->context->type;
		request->secret = c->context->secret;
		request->version = c->context->version;
		memcpy(request->vault, c->context->vault, sizeof(request->vault));
	}
	if (c->vault)
		memcpy(request->vault, c->vault, sizeof(request->vault));
	if (c->record_len)
		memcpy(request->record, c->record, c->record_len);
	request->record_len = (uint32_t)c->record_len;
	if (c->data_len)
		memcpy(request->data, c->data, c->data_len);
	put_items(k, request, c);
}

static int take_items(struct keys *k, const struct call *c)
{
	if (k->reply->n_items != c->n)
		return -EIO;
	for (size_t i = 0; i < c->n; i++) {
		if (k->items[i].len > WRAP_RECORD_MAX)
			return -EIO;
		c->items[i].len = k->items[i].len;
		memcpy(c->items[i].data, k->items[i].data, k->items[i].len);
	}
	return 0;
}

static void take_state(const struct kh_reply *reply, struct keys_state *ret_state)
{
	*ret_state = (struct keys_state){ .sealed = reply->sealed != 0,
					  .unwraps = reply->unwraps,
					  .memory = (enum secmem_kind)reply->memory };
	memcpy(ret_state->provider, reply->provider, sizeof(ret_state->provider) - 1);
	memcpy(ret_state->kek_id, reply->kek_id, KEK_ID_LEN);
}

/* Nothing is given out of a reply that does not fit. */
static int take(struct keys *k, const struct call *c)
{
	const struct kh_reply *reply = k->reply;

	if (c->ret_record && (reply->record_len == 0 || reply->record_len > WRAP_RECORD_MAX))
		return -EIO;
	int r = take_items(k, c);
	if (r < 0)
		return r;
	if (c->ret_record) {
		memcpy(c->ret_record, reply->record, reply->record_len);
		*c->ret_len = reply->record_len;
	}
	if (c->ret_key)
		memcpy(c->ret_key, reply->key, KEY_LEN);
	if (c->ret_data_len)
		memcpy(c->ret_data, reply->data, c->ret_data_len);
	if (c->ret_state)
		take_state(reply, c->ret_state);
	return 0;
}

static int run(struct keys *k, enum kh_op op, const struct call *c)
{
	int64_t deadline = kh_now_ms() + calls_deadline_ms(op);
	struct kh_request request;
	int r;

	if (c->record_len > WRAP_RECORD_MAX || c->n > KEYS_ITEMS_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < c->n; i++)
		if (c->items[i].len > WRAP_RECORD_MAX)
			return -EBADMSG;
	r = take_turn(k, deadline);
	if (r < 0)
		return r;
	fill(k, &request, op, c);
	r = ask(k, &request, deadline);
	if (r == 0)
		r = take(k, c);
	secmem_wipe(k->reply, sizeof(*k->reply));
	end_turn(k);
	return r;
}

int keys_wrap_new(struct keys *k, const struct wrap_context *ctx, uint8_t ret_key[KEY_LEN],
		  uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_len)
{
	return run(k, KH_WRAP_NEW,
		   &(struct call){ .context = ctx, .ret_key = ret_key, .ret_record = ret_record, .ret_len = ret_len });
}

int keys_unwrap(struct keys *k, const struct wrap_context *ctx, const uint8_t *record, size_t len,
		uint8_t ret_key[KEY_LEN])
{
	return run(k, KH_UNWRAP,
		   &(struct call){ .context = ctx, .record = record, .record_len = len, .ret_key = ret_key });
}

int keys_signer_new(struct keys *k, const uint8_t vault[16], uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_len,
		    uint8_t ret_public[CURVE_LEN])
{
	return run(k, KH_SIGNER_NEW,
		   &(struct call){ .vault = vault,
				   .ret_record = ret_record,
				   .ret_len = ret_len,
				   .ret_data = ret_public,
				   .ret_data_len = CURVE_LEN });
}

int keys_sign(struct keys *k, const uint8_t vault[16], const uint8_t *record, size_t len,
	      const uint8_t digest[DIGEST_LEN], uint8_t ret_signature[SIGNATURE_LEN])
{
	return run(k, KH_SIGN,
		   &(struct call){ .vault = vault,
				   .record = record,
				   .record_len = len,
				   .data = digest,
				   .data_len = DIGEST_LEN,
				   .ret_data = ret_signature,
				   .ret_data_len = SIGNATURE_LEN });
}

int keys_backup_begin(struct keys *k, const uint8_t vault[16], const uint8_t recipient[CURVE_LEN],
		      struct transport_start *ret)
{
	return run(k, KH_BACKUP_BEGIN,
		   &(struct call){ .vault = vault,
				   .data = recipient,
				   .data_len = CURVE_LEN,
				   .ret_record = ret->ticket,
				   .ret_len = &ret->ticket_len,
				   .ret_key = ret->stream_key,
				   .ret_data = ret->box,
				   .ret_data_len = BOX_LEN });
}

int keys_backup_export(struct keys *k, const uint8_t vault[16], const uint8_t *ticket, size_t ticket_len,
		       struct keys_item *items, size_t n)
{
	return run(k, KH_BACKUP_EXPORT,
		   &(struct call){
			   .vault = vault, .record = ticket, .record_len = ticket_len, .items = items, .n = n });
}

int keys_restore_key(struct keys *k, uint8_t ret_public[CURVE_LEN])
{
	return run(k, KH_RESTORE_KEY, &(struct call){ .ret_data = ret_public, .ret_data_len = CURVE_LEN });
}

int keys_restore_begin(struct keys *k, const uint8_t box[BOX_LEN], uint8_t ret_stream_key[KEY_LEN])
{
	return run(k, KH_RESTORE_BEGIN, &(struct call){ .data = box, .data_len = BOX_LEN, .ret_key = ret_stream_key });
}

int keys_restore_import(struct keys *k, const uint8_t box[BOX_LEN], struct keys_item *items, size_t n)
{
	/* Every item becomes a version of one vault. */
	return run(k, KH_RESTORE_IMPORT,
		   &(struct call){ .vault = n ? items[0].becomes.vault : NULL,
				   .data = box,
				   .data_len = BOX_LEN,
				   .items = items,
				   .n = n });
}

int keys_seal(struct keys *k) { return run(k, KH_SEAL, &(struct call){ .n = 0 }); }

int keys_state(struct keys *k, struct keys_state *ret_state)
{
	return run(k, KH_STATE, &(struct call){ .ret_state = ret_state });
}

int keys_fd(struct keys *k) { return k->epoll_fd; }

bool keys_state_changed(struct keys *k)
{
	bool changed;

	if (k->fd < 0 || !try_turn(k))
		/* a call is on the socket: it leaves the flag, and makes the eventfd readable when it is done */
		return false;
	while (!k->gone && receive(k) == 0)
		;
	secmem_wipe(k->reply, sizeof(*k->reply));
	changed = k->changed;
	k->changed = false;
	end_turn(k);
	return changed;
}
