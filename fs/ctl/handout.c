/* What a backup hands out, piece by piece: what may be in it, and the record of each version that is.
 *
 * To a registered recipient goes everything, for an administrator chose who opens it. Any other recipient could be the
 * caller: what goes to one is what the caller could open at this moment, by the rules of judge_value() in access.c. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/ctl/hindrance.h"
#include "fs/ctl/internal.h"
#include "policy/policy.h"
#include "store/audit/audit.h"

/* As it stands now, not as it was in the snapshot: what has been withdrawn since is left out. */
struct state {
	const char *why;  /* NULL: it may be opened */
	int error;        /* what open(2) gives */
	uint64_t binding; /* that lets the backup be made */
	char role[ROLE_NAME_MAX], principal[PRINCIPAL_TEXT_MAX];
};

static void hinder(struct state *state, int error, const char *why)
{
	if (state->why)
		return;
	state->why = why;
	state->error = error;
}

/* Under the table lock. A secret that never had content is as it is; one whose every content is closed is left out as a
 * whole. */
static void look_at_versions(const struct ctl *c, const struct catalog_secret *s, struct state *state)
{
	const struct store_settings *settings = store_settings(c->env->store);
	bool content = false, open = false;

	for (uint32_t i = 0; i < s->n_versions; i++) {
		content |= !s->versions[i].destroyed;
		open |= !hindrance_of_version(s, &s->versions[i], USE_READ, settings, time_now());
	}
	if (content && !open)
		hinder(state, ENOENT, "has no version that can be opened now");
}

static struct state look(const struct ctl *c, const struct backup_piece *piece, bool own)
{
	struct state state = { 0 };
	struct policy_answer answer;
	const struct catalog_secret *s;
	const struct binding *binding;
	const struct role *role;

	store_rdlock(c->env->store);
	const struct policy *policy = store_policy(c->env->store);
	policy_decide(policy, &c->who->policy, ACTION_SECRETS_BACKUP, piece->name, time_now(), &answer);
	role = answer.decision == POLICY_ALLOW ? policy_role(policy, answer.role) : NULL;
	state.binding = role ? answer.binding : 0;
	snprintf(state.role, sizeof state.role, "%s", role ? role->name : "");
	binding = role ? policy_binding(policy, answer.binding) : NULL;
	if (binding)
		principal_print(&binding->principal, state.principal);
	if (!role)
		hinder(&state, EACCES, "is not the caller's to back up any more");
	if (own) {
		s = store_get(c->env->store, piece->secret);
		policy_decide(policy, &c->who->policy, ACTION_SECRETS_GET, piece->name, time_now(), &answer);
		if (answer.decision != POLICY_ALLOW)
			hinder(&state, EACCES, "is not the caller's to read any more");
		const struct store_settings *settings = store_settings(c->env->store);
		const enum hindrance h = piece->version
						 ? hindrance_of_version(s,
									s ? catalog_version(s, piece->version) : NULL,
									USE_READ, settings, time_now())
						 : hindrance_of_newest(s, USE_WRITE, settings, time_now());
		if (h)
			/* what was purged meanwhile was deleted before */
			hinder(&state, hindrance_errno(h),
			       hindrance_words(h == HINDRANCE_ABSENT ? HINDRANCE_DELETED : h));
		else if (!piece->version)
			look_at_versions(c, s, &state);
	}
	store_unlock_tables(c->env->store);
	return state;
}

/* No request's number: a backup does not come again when its worker dies, it begins anew. */
static int record(const struct ctl *c, const struct backup_piece *piece, const struct state *state)
{
	const struct backup_recipient *to = &piece->header->recipient;
	char detail[128 + RECIPIENT_NAME_MAX];
	struct audit_event e = {
		.operation = AUDIT_SECRET_BACKUP,
		.result = state->why ? AUDIT_ERROR : AUDIT_ALLOW,
		.error = state->error,
		.secret = piece->name,
		.version = piece->version,
		.caller = &c->who->audit,
		.binding = state->binding,
		.role = state->binding ? state->role : NULL,
		.principal = state->principal[0] ? state->principal : NULL,
		.detail = detail,
	};

	snprintf(detail, sizeof detail, "%s%s%s to %s%s, epoch %llu", state->why ? "left out: it " : "handed out",
		 state->why ? state->why : "", state->why ? ";" : "",
		 to->kind == BACKUP_TO_PASSPHRASE ? "a passphrase"
		 : to->name[0]                    ? "recipient "
						  : "a key of the caller's",
		 to->name, (unsigned long long)piece->header->epoch);
	return audit_append(c->env->audit, &e, NULL);
}

/* What is handed out has its record before it is; a secret itself has none but where it is left out, for its versions
 * have. */
static int decide(void *arg, struct backup_piece *piece)
{
	const struct ctl *c = arg;
	const bool own = !piece->header->recipient.name[0];
	const struct state state = look(c, piece, own);
	int r = 0;

	piece->why = state.why;
	if (state.why || piece->version)
		r = record(c, piece, &state);
	return r < 0 ? r : !state.why;
}

struct backup_judge ctl_handout(struct ctl *c) { return (struct backup_judge){ .decide = decide, .arg = c }; }

void ctl_set_left_out(struct ctl *c, const struct backup_left *left, size_t n, uint64_t more)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(list, json_pack("{s:s, s:o, s:s}", "name", left[i].name, "version",
							  ctl_version(left[i].version), "why", left[i].why)) < 0)
			c->short_of_memory = true;
	ctl_set(c, "left_out", list);
	ctl_set(c, "left_out_more", json_integer((json_int_t)more));
}
