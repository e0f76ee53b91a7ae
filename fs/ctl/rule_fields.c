/* What requests about rotation policies and hooks share. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/internal.h"
#include "fs/ctl/rule_fields.h"
#include "fs/helpers/runner.h"

#define TIMEOUT_DEFAULT 30 /* s */

/* A span of time in a string field; absent: 0. */
int rule_check_span(struct ctl *c, const char *field, int64_t least, int64_t *ret_ns)
{
	const char *text = ctl_string(c, field);
	int64_t ns = 0;

	if (text && (time_parse_span(text, &ns) < 0 || ns <= 0)) {
		ctl_hint(c, "write a span such as 90d or 12w");
		return ctl_fail(c, EINVAL, "%s: \"%.64s\" is not a span of time", field, text);
	}
	if (text && ns < least)
		return ctl_fail(c, EINVAL, "%s: at least %d days", field, (int)(least / 86400 / 1000000000));
	*ret_ns = ns;
	return 0;
}

/* A whole number; absent: the default. */
int rule_check_number(struct ctl *c, const char *field, json_int_t low, json_int_t high, uint32_t absent, uint32_t *ret)
{
	const json_t *v = json_object_get(c->in, field);

	if (v && (json_integer_value(v) < low || json_integer_value(v) > high))
		return ctl_fail(c, EINVAL, "%s: %lld to %lld", field, (long long)low, (long long)high);
	*ret = v ? (uint32_t)json_integer_value(v) : absent;
	return 0;
}

/* A command: the whole path of a program, and words. */
int rule_check_command(struct ctl *c, char ret_command[HOOK_COMMAND_MAX], uint32_t *ret_user, uint32_t *ret_timeout)
{
	const char *command = ctl_string(c, "command");
	int r = rule_check_number(c, "user", 0, UINT32_MAX - 1, HOOK_USER_ABSENT, ret_user);

	if (r == 0 && *ret_user == HOOK_USER_NOBODY) {
		ctl_hint(c, "leave user out: programs then run as a user of their own");
		return ctl_fail(c, EINVAL, "user: %u is nobody, whose every process could take what the program prints",
				*ret_user);
	}
	if (r == 0)
		r = rule_check_number(c, "timeout", 1, HOOK_TIMEOUT_MAX, TIMEOUT_DEFAULT, ret_timeout);
	if (r < 0 || !command)
		return r;
	if (command[0] != '/') {
		ctl_hint(c, "name the program by its whole path: /usr/bin/systemctl reload nginx");
		return ctl_fail(c, EINVAL, "command: it does not begin with a path");
	}
	if (strlen(command) >= HOOK_COMMAND_MAX || !ctl_text_clean(command))
		return ctl_fail(c, EINVAL, "command: at most %d bytes without control characters",
				HOOK_COMMAND_MAX - 1);
	if (runner_command_shellish(command)) {
		ctl_hint(c, "quote it where a word has it; for what a shell does, name a script, or /bin/sh -c '…'");
		return ctl_fail(c, EINVAL, "command: '%c' means something to a shell, and none reads this",
				runner_command_shellish(command));
	}
	snprintf(ret_command, HOOK_COMMAND_MAX, "%s", command);
	return 0;
}

static int find_program_user(struct ctl *c, uint32_t *user)
{
	char why[CTL_MESSAGE_MAX] = "";
	int r = -ENOTSUP;

	if (*user != HOOK_USER_ABSENT)
		return 0;
	if (c->env->program_user)
		r = c->env->program_user(c->env->arg, user, why, sizeof why);
	return r < 0 ? ctl_fail(c, r == -EPIPE ? ETIMEDOUT : -r, "user: %s", why[0] ? why : strerror(-r)) : 0;
}

/* What the runner would not run is no rule: said now, not at night. */
int rule_check_allowed(struct ctl *c, const char *command, uint32_t *user)
{
	char why[CTL_MESSAGE_MAX] = "";
	int r = find_program_user(c, user);

	if (r < 0)
		return r;
	r = c->env->program_check ? c->env->program_check(c->env->arg, command, *user, why, sizeof why) : 0;
	if (r == 0)
		return 0;
	if (r == -EPERM)
		ctl_hint(c,
			 "root adds the line \"%u %s\" to hooks.allow in the store's directory; coffer does it when "
			 "root makes the rule",
			 *user, command);
	return ctl_fail(c, r == -EPIPE ? ETIMEDOUT : -r, "command: %s", why[0] ? why : strerror(-r));
}

json_t *rule_text(const char *text) { return text[0] ? json_string(text) : json_null(); }

/* All rules of one kind, copied so that no lock is held while JSON is made. */
struct rules rules_copy(struct ctl *c)
{
	const struct rules *all;
	struct rules copy = { 0 };

	store_rdlock(c->env->store);
	all = store_rules(c->env->store);
	copy.rotations = reallocarray(NULL, all->n_rotations + 1, sizeof *copy.rotations);
	copy.hooks = reallocarray(NULL, all->n_hooks + 1, sizeof *copy.hooks);
	if (copy.rotations && copy.hooks) {
		copy.n_rotations = all->n_rotations;
		copy.n_hooks = all->n_hooks;
		if (all->n_rotations)
			memcpy(copy.rotations, all->rotations, all->n_rotations * sizeof *copy.rotations);
		if (all->n_hooks)
			memcpy(copy.hooks, all->hooks, all->n_hooks * sizeof *copy.hooks);
	} else {
		c->short_of_memory = true;
	}
	store_unlock_tables(c->env->store);
	return copy;
}

void rules_copy_free(struct rules *r)
{
	free(r->rotations);
	free(r->hooks);
}
