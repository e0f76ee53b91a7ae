#include "fs/serve/recheck.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "fs/ctl/hindrance.h"
#include "fs/serve/access.h"
#include "fs/serve/attr.h"
#include "fs/serve/holds.h"
#include "fs/common/log.h"
#include "fs/serve/made.h"
#include "fs/serve/measure.h"
#include "fs/serve/record.h"
#include "fs/serve/staged.h"
#include "fs/common/clock.h"
#include "store/core/tables.h"
#include "store/lifecycle/events.h"
#include "store/objects/objects.h"

void access_bound_by_version(struct vault *v, const struct catalog_version *c, struct verdict *j)
{
	if (c && store_settings(v->store)->enforce_validity && c->expires < j->valid_until)
		j->valid_until = c->expires;
}

int access_lost_right(const struct handle *h, const struct call *call, const struct verdict *j)
{
	if (j->error == ENOKEY || j->error == ETIMEDOUT)
		return j->error;
	return call->who && !memcmp(h->digest, call->who->digest, IDENTITY_DIGEST) ? EKEYREVOKED : EACCES;
}

/* Of handle.reader, which the threads share: an identity and its decisions are compared, and changed, together. */
static pthread_mutex_t reader_lock = PTHREAD_MUTEX_INITIALIZER;

static enum handle_right right_of(enum verb verb) { return verb == VERB_SET ? HANDLE_MAY_SET : HANDLE_MAY_GET; }

static bool stands(struct vault *v, const struct handle_decision *d, int64_t now)
{
	return d->epoch == store_epoch(v->store) && now < d->valid_until && !store_sealed(v->store);
}

bool access_opener_stands(struct vault *v, const struct handle *h, enum verb verb)
{
	pthread_mutex_lock(&reader_lock);
	const struct handle_decision d = h->reader[0].may[right_of(verb)];
	pthread_mutex_unlock(&reader_lock);
	return stands(v, &d, clock_wall());
}

/* The last decision about this identity and verb; valid_until 0: there was none. */
static struct handle_decision last_decision(struct handle *h, const struct identity *who, enum verb verb)
{
	struct handle_decision d = { 0 };

	pthread_mutex_lock(&reader_lock);
	for (int i = 0; who && i < 2; i++)
		if (!memcmp(h->reader[i].digest, who->digest, IDENTITY_DIGEST))
			d = h->reader[i].may[right_of(verb)];
	pthread_mutex_unlock(&reader_lock);
	return d;
}

void access_keep_decision(struct handle *h, const struct identity *who, enum verb verb, const struct verdict *j)
{
	pthread_mutex_lock(&reader_lock);
	struct handle_reader *x = &h->reader[memcmp(h->reader[0].digest, who->digest, IDENTITY_DIGEST) ? 1 : 0];
	if (memcmp(x->digest, who->digest, IDENTITY_DIGEST)) {
		*x = (struct handle_reader){ 0 };
		memcpy(x->digest, who->digest, IDENTITY_DIGEST);
	}
	x->may[right_of(verb)] = (struct handle_decision){ j->epoch, j->valid_until };
	pthread_mutex_unlock(&reader_lock);
}

bool access_looked(struct handle *h, const struct identity *who)
{
	return last_decision(h, who, VERB_GET).valid_until != 0;
}

void access_note_look(struct handle *h, const struct identity *who)
{
	access_keep_decision(h, who, VERB_GET, &(struct verdict){ .valid_until = 1 });
}

int access_recheck(struct vault *v, const struct call *call, struct handle *h, enum verb verb)
{
	const struct identity *who = call_trusted(call);
	const int64_t began = clock_wall();
	const struct handle_decision last = last_decision(h, who, verb);

	if (stands(v, &last, began))
		return 0;

	struct verdict j = { .secret = h->secret, .version = handle_shown(h).version };
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, h->secret);
	const struct catalog_version *c = s ? catalog_version(s, j.version) : NULL;
	if (s)
		vault_copy_name(j.name, sizeof j.name, s->name);
	vault_decide_locked(v, who, kind_action(s, verb), j.name, &j);
	const struct store_settings *settings = store_settings(v->store);
	const enum hindrance hindrance = verb != VERB_SET && j.version
						 ? hindrance_of_version(s, c, USE_READ, settings, began)
						 : hindrance_of_newest(s, USE_WRITE, settings, began);
	if (!j.error && hindrance)
		j.error = hindrance_errno(hindrance) == EKEYEXPIRED ? EKEYEXPIRED : EACCES;
	if (verb != VERB_SET)
		access_bound_by_version(v, c, &j);
	const enum audit_operation operation = kind_operation(s, verb);
	store_unlock_tables(v->store);

	/* another identity's first read, and every refusal, are accesses of their own */
	if (!last.valid_until || j.error) {
		if (vault_record(v, call, operation, &j, NULL) && !j.error)
			j.error = EIO;
	}
	if (j.error)
		return j.error == EIO || j.error == EKEYEXPIRED ? j.error : access_lost_right(h, call, &j);
	access_keep_decision(h, who, verb, &j);
	return 0;
}
