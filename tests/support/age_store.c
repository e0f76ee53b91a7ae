/* age_store DIR DAYS
 * Lets DAYS pass on the clock of a store, as if the machine had been up for that long, so that a test need not wait for a retention. Through the store's own calls
 * and with its key, which vault.conf names: as root; a running daemon follows. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/internal.h"

#define ARENA (8u << 20)

static int64_t passed;

static int64_t uptime(void)
{
	return passed;
}

static int pass(struct store *s)
{
	int r = store_begin(s);

	if (r < 0)
		return r;
	/* A boot that nobody else has, which began when the row was written. */
	r = random_bytes(s->boot, sizeof s->boot);
	if (r < 0) {
		store_rollback(s);
		return r;
	}
	s->counts = true;
	s->uptime = uptime;
	s->opened = 0;
	r = clock_write(s, NULL);
	if (r == 0)
		return store_commit(s);
	store_rollback(s);
	return r;
}

static int open_keys(const struct vaultconf *conf, struct keys **ret_keys, char *why, size_t why_len)
{
	struct kek_source source = { .uri = conf->kek, .params = conf->kek_params, .fd = -1 };
	struct kek *kek = NULL;
	int r = kek_open(&source, &kek, why, why_len);

	return r < 0 ? r : keys_new_local(kek, ret_keys);
}

static int age(const char *dir, char *why, size_t why_len)
{
	struct vaultconf conf;
	struct keys *keys = NULL;
	struct store *s = NULL;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : vaultconf_read(fd, &conf, why, why_len);

	if (fd >= 0)
		close(fd);
	if (r == 0)
		r = open_keys(&conf, &keys, why, why_len);
	if (r == 0)
		r = store_open(&(struct store_config){ .dir = dir, .conf = &conf }, &s, why, why_len);
	if (r == 0)
		r = store_unlock(s, keys, why, why_len);
	/* What a daemon has counted since it last wrote it down is lost for the test, not for its purpose. */
	if (r == 0)
		r = pass(s);
	store_close(s);
	keys_free(keys);
	return r;
}

int main(int argc, char **argv)
{
	char why[512] = "";
	int r;

	if (argc != 3) {
		fprintf(stderr, "usage: age_store DIR DAYS\n");
		return 2;
	}
	passed = strtol(argv[2], NULL, 10) * 86400 * NS_PER_S;
	r = secmem_init(ARENA, SECMEM_AUTO);
	if (r == 0)
		r = crypto_init();
	if (r == 0)
		r = age(argv[1], why, sizeof why);
	if (r < 0)
		fprintf(stderr, "age_store: %s%s%s\n", strerror(-r), why[0] ? ": " : "", why);
	return r < 0;
}
