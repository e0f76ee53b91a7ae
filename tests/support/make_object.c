/* make_object DIR NAME VALUE
 * Adds a version with this value to the certificate NAME, which is made first if it is not there: a kind that no
 * command makes yet. Through the store's own calls and with its key: as root; a running daemon follows. */
#include <stdio.h>
#include <string.h>

#include "open_store.h"
#include "store/core/tables.h"
#include "store/core/transaction.h"
#include "store/objects/objects.h"

static int add(struct store *s, const char *name, const char *value)
{
	uint32_t id, version;
	int r = store_begin(s);

	if (r < 0)
		return r;
	store_rdlock(s);
	const struct catalog_secret *there = store_find(s, name);
	id = there ? there->id : 0;
	store_unlock_tables(s);
	if (!id)
		r = store_object_create(s, OBJECT_CERTIFICATE, name, &id);
	if (r == 0)
		r = store_version_add(s, id, value, strlen(value), NULL, &version);
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

	if (argc != 4) {
		fprintf(stderr, "usage: make_object DIR NAME VALUE\n");
		return 2;
	}
	r = open_store(argv[1], &o, why, sizeof why);
	if (r == 0)
		r = add(o.store, argv[2], argv[3]);
	open_store_end(&o);
	if (r < 0)
		fprintf(stderr, "make_object: %s%s%s\n", strerror(-r), why[0] ? ": " : "", why);
	return r < 0;
}
