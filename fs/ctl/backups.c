#include "fs/ctl/backups.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/common/shares.h"

struct session {
	char id[BACKUP_SESSION_ID]; /* empty: free */
	bool busy;                  /* a thread reads; the others leave it alone */
	uint32_t uid;
	uint64_t neighbour;
	pid_t tgid;
	uint64_t start_time, user_ns;
	time_t used; /* CLOCK_MONOTONIC */
	struct backup *backup;
	char *request; /* that it was begun by */
	size_t request_len;
	uint64_t next;  /* chunk */
	uint8_t *chunk; /* the last one that was read, for who lost the answer */
	size_t len;
	bool last;
};

struct backups {
	pthread_mutex_t lock;
	struct shares *shares;
	struct session sessions[BACKUPS_MAX];
};

static time_t now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

int backups_new(struct backups **ret_backups)
{
	struct backups *b = calloc(1, sizeof *b);

	if (!b)
		return -ENOMEM;
	const struct shares_config config = { .units = BACKUPS_MAX, .most = BACKUPS_MOST, .reserve = BACKUPS_RESERVE };
	if (shares_new(&config, &b->shares)) {
		free(b);
		return -ENOMEM;
	}
	pthread_mutex_init(&b->lock, NULL);
	*ret_backups = b;
	return 0;
}

static void session_clear(struct backups *b, struct session *s)
{
	if (s->id[0])
		shares_give(b->shares, s->neighbour, 1);
	backup_close(s->backup);
	free(s->request);
	free(s->chunk);
	*s = (struct session){ 0 };
}

void backups_free(struct backups *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < BACKUPS_MAX; i++)
		session_clear(b, &b->sessions[i]);
	pthread_mutex_destroy(&b->lock);
	shares_free(b->shares);
	free(b);
}

static void drop(struct backups *b, time_t before)
{
	pthread_mutex_lock(&b->lock);
	for (size_t i = 0; i < BACKUPS_MAX; i++) {
		struct session *s = &b->sessions[i];
		if (s->id[0] && !s->busy && s->used < before)
			session_clear(b, s);
	}
	pthread_mutex_unlock(&b->lock);
}

void backups_expire(struct backups *b) { drop(b, now_s() - BACKUP_IDLE_S); }

/* One that is being read ends with that read, or the next: a sealed store gives it nothing. */
void backups_drop(struct backups *b)
{
	if (b)
		drop(b, now_s() + 1);
}

static int session_id(char ret_id[BACKUP_SESSION_ID])
{
	uint8_t raw[16];
	int r = random_bytes(raw, sizeof raw);

	for (size_t i = 0; i < sizeof raw && r == 0; i++)
		snprintf(ret_id + 2 * i, 3, "%02x", raw[i]);
	return r;
}

static char *copy_of(const char *text, size_t len)
{
	char *copy = malloc(len + 1);

	if (copy) {
		memcpy(copy, text, len);
		copy[len] = '\0';
	}
	return copy;
}

/* There is one for each share. */
static struct session *free_session(struct backups *b)
{
	size_t i = 0;

	while (b->sessions[i].id[0])
		i++;
	return &b->sessions[i];
}

int backups_add(struct backups *b, const struct identity *who, struct backup *backup, const char *request, size_t len,
		char ret_session[BACKUP_SESSION_ID])
{
	struct session *found = NULL;
	char id[BACKUP_SESSION_ID], *copy = copy_of(request, len);
	int r = copy ? session_id(id) : -ENOMEM;

	if (r < 0) {
		free(copy);
		backup_close(backup);
		return r;
	}
	backups_expire(b);
	pthread_mutex_lock(&b->lock);
	if (shares_take(b->shares, who->neighbour, 1, SHARE_ORDINARY) ||
	    (who->host && who->uid == 0 && shares_take(b->shares, who->neighbour, 1, SHARE_RESERVED)))
		found = free_session(b);
	if (found) {
		*found = (struct session){ .uid = who->uid,
					   .neighbour = who->neighbour,
					   .tgid = who->tgid,
					   .start_time = who->start_time,
					   .user_ns = who->user_ns,
					   .used = now_s(),
					   .backup = backup,
					   .request = copy,
					   .request_len = len };
		memcpy(found->id, id, sizeof id);
		memcpy(ret_session, id, sizeof id);
	} else {
		r = -EBUSY;
	}
	pthread_mutex_unlock(&b->lock);
	if (r < 0) {
		free(copy);
		backup_close(backup);
	}
	return r;
}

static struct session *find(struct backups *b, const struct identity *who, const char *id)
{
	for (size_t i = 0; i < BACKUPS_MAX; i++) {
		struct session *s = &b->sessions[i];
		if (s->id[0] && !s->busy && strcmp(s->id, id) == 0 && s->uid == who->uid && s->tgid == who->tgid &&
		    s->start_time == who->start_time && s->user_ns == who->user_ns)
			return s;
	}
	return NULL;
}

int backups_request(struct backups *b, const struct identity *who, const char *session, char **ret_request,
		    size_t *ret_len)
{
	const struct session *s;
	char *copy = NULL;
	int r = -ESTALE;

	pthread_mutex_lock(&b->lock);
	s = find(b, who, session);
	if (s) {
		copy = copy_of(s->request, s->request_len);
		r = copy ? 0 : -ENOMEM;
	}
	if (r == 0) {
		*ret_request = copy;
		*ret_len = s->request_len;
	}
	pthread_mutex_unlock(&b->lock);
	return r;
}

/* The session is busy, so that nobody else touches it. */
static int next_chunk(struct session *s, const struct backup_judge *judge)
{
	size_t len = 0;
	int r;

	if (!s->chunk)
		s->chunk = malloc(BACKUP_CHUNK);
	if (!s->chunk)
		return -ENOMEM;
	backup_set_judge(s->backup, judge);
	r = backup_read(s->backup, s->chunk, BACKUP_CHUNK, &len);
	backup_set_judge(s->backup, NULL);
	if (r < 0)
		return r;
	s->len = len;
	s->last = len < BACKUP_CHUNK;
	s->next++;
	return 0;
}

static int copy_chunk(const struct session *s, struct backups_chunk *chunk)
{
	const struct backup_left *left = backup_left(s->backup, &chunk->n_left, &chunk->more_left);

	chunk->bytes = malloc(s->len ? s->len : 1);
	if (!chunk->bytes)
		return -ENOMEM;
	memcpy(chunk->bytes, s->chunk, s->len);
	chunk->len = s->len;
	chunk->last = s->last;
	backup_counts(s->backup, &chunk->counts);
	if (!s->last || !chunk->n_left) {
		chunk->n_left = 0;
		return 0;
	}
	chunk->left = reallocarray(NULL, chunk->n_left, sizeof *left);
	if (!chunk->left) {
		free(chunk->bytes);
		chunk->bytes = NULL;
		return -ENOMEM;
	}
	memcpy(chunk->left, left, chunk->n_left * sizeof *left);
	return 0;
}

int backups_read(struct backups *b, const struct identity *who, const char *session, const struct backup_judge *judge,
		 struct backups_chunk *chunk)
{
	struct session *s;
	int r = 0;

	pthread_mutex_lock(&b->lock);
	s = find(b, who, session);
	if (s)
		s->busy = true;
	pthread_mutex_unlock(&b->lock);
	if (!s)
		return -ESTALE;
	if (chunk->n == s->next && !s->last)
		r = next_chunk(s, judge);
	else if (chunk->n + 1 != s->next)
		r = -ESTALE;
	if (r == 0)
		r = copy_chunk(s, chunk);
	pthread_mutex_lock(&b->lock);
	s->busy = false;
	s->used = now_s();
	if (r < 0 && r != -ESTALE && r != -ENOMEM)
		session_clear(b, s);
	pthread_mutex_unlock(&b->lock);
	return r;
}

void backups_end(struct backups *b, const struct identity *who, const char *session)
{
	struct session *s;

	pthread_mutex_lock(&b->lock);
	s = find(b, who, session);
	if (s)
		session_clear(b, s);
	pthread_mutex_unlock(&b->lock);
}
