/* Somebody of whom one asks what it has read: users, groups, a unit, a container; all conditions must hold. A record of
 * the log tells whether it was that one, or that it may have been. */
#ifndef COFFER_FS_CLI_COMMANDS_SUSPECT_H
#define COFFER_FS_CLI_COMMANDS_SUSPECT_H

#include <jansson.h>

#include "fs/cli/common/cli.h"
#include "policy/principal.h"

struct suspect {
	struct principal principal; /* users and groups; n may be 0 */
	char *unit, *container;
	void *accounts; /* what was looked up of users, by tsearch(3) */
};

/* EXIT_DONE, or the exit status with the error printed; suspect_free in any case. */
int suspect_parse(const char *text, struct suspect *ret);
void suspect_free(struct suspect *s);

/* In doubt it may have been: a log that does not tell a caller's groups cannot exclude one, nor can one that tells them
 * where the caller could leave a group (in a user namespace of its own) and its account is in it today. */
enum suspicion { SUSPECT_NOT = 0, SUSPECT_POSSIBLY, SUSPECT_CERTAINLY };
enum suspicion suspect_look(struct suspect *s, const json_t *record);

#endif
