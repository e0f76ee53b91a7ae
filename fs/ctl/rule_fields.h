/* What requests about rotation policies and hooks share: their fields, and looking at the rules. */
#ifndef COFFER_FS_CTL_RULE_FIELDS_H
#define COFFER_FS_CTL_RULE_FIELDS_H

#include "fs/ctl/internal.h"
#include "store/lifecycle/rules.h"

/* 0; or -1, and the request has failed. */

/* A span of time in a string field; absent: 0. At least so many ns. */
int rule_check_span(struct ctl *c, const char *field, int64_t least, int64_t *ret_ns);
/* A whole number; absent: the default. */
int rule_check_number(struct ctl *c, const char *field, json_int_t low, json_int_t high, uint32_t absent,
		      uint32_t *ret);
/* A command: the whole path of a program, and words; absent: *ret_command is as it was. */
int rule_check_command(struct ctl *c, char ret_command[HOOK_COMMAND_MAX], uint32_t *ret_user, uint32_t *ret_timeout);
/* What the runner would not run is no rule: said now, not at night. Blocks on the runner. */
int rule_check_allowed(struct ctl *c, const char *command, uint32_t *user);

json_t *rule_text(const char *text); /* null where it is empty */
/* All rules, copied so that no lock is held while JSON is made; rules_copy_free. */
struct rules rules_copy(struct ctl *c);
void rules_copy_free(struct rules *r);

#endif
