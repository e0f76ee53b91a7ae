/* age_store DIR DAYS
 * Lets DAYS pass on the clock of a store, as if the machine had been up for that long, so that a test need not wait for
 * a retention. Through the store's own calls and with its key, which vault.conf names: as root; a running daemon
 * follows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "open_store.h"
#include "store/core/clock.h"
#include "store/core/database.h"
#include "store/core/transaction.h"

static int64_t passed;

static int64_t uptime(void) { return passed; }

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

int main(int argc, char **argv)
{
	struct opened o;
	char why[512] = "";
	int r;

	if (argc != 3) {
		fprintf(stderr, "usage: age_store DIR DAYS\n");
		return 2;
	}
	passed = strtol(argv[2], NULL, 10) * 86400 * NS_PER_S;
	r = open_store(argv[1], &o, why, sizeof why);
	/* what a daemon has counted since it last wrote it down is lost for the test, not for its purpose */
	if (r == 0)
		r = pass(o.store);
	open_store_end(&o);
	if (r < 0)
		fprintf(stderr, "age_store: %s%s%s\n", strerror(-r), why[0] ? ": " : "", why);
	return r < 0;
}
