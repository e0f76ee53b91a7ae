/* old_rules DIR SCOPE COMMAND
 * Adds a rotation policy and a hook on SCOPE whose program runs as nobody, as an older coffer made them by default.
 * Through the store's own calls and with its key: as root; a running daemon follows. */
#include <stdio.h>
#include <string.h>

#include "open_store.h"
#include "store/core/database.h"
#include "store/core/rules_table.h"
#include "store/core/transaction.h"
#include "store/lifecycle/rules.h"

static int add(struct store *s, const char *scope, const char *command)
{
	struct rotation p = { .action = ROTATION_ROTATE,
			      .every = 90 * (int64_t)86400 * NS_PER_S,
			      .user = HOOK_USER_NOBODY,
			      .timeout = 30 };
	struct hook h = { .events = EVENT_BIT(EVENT_NEW_VERSION), .user = HOOK_USER_NOBODY, .timeout = 30 };
	uint64_t id;
	int r = store_begin(s);

	if (r < 0)
		return r;
	snprintf(p.scope, sizeof p.scope, "%s", scope);
	snprintf(p.command, sizeof p.command, "%s", command);
	snprintf(h.scope, sizeof h.scope, "%s", scope);
	snprintf(h.command, sizeof h.command, "%s", command);
	r = store_rotation_put(s, &p, &id);
	if (r == 0)
		r = store_hook_add(s, &h, &id);
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
		fprintf(stderr, "usage: old_rules DIR SCOPE COMMAND\n");
		return 2;
	}
	r = open_store(argv[1], &o, why, sizeof why);
	if (r == 0)
		r = add(o.store, argv[2], argv[3]);
	open_store_end(&o);
	if (r < 0)
		fprintf(stderr, "old_rules: %s%s%s\n", strerror(-r), why[0] ? ": " : "", why);
	return r < 0;
}
