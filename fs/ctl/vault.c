/* Requests about the vault as a whole, and who the caller is. */
#include <errno.h>
#include <stdio.h>

#include "fs/ctl/internal.h"
#include "store/core/settings.h"
#include "store/keys/envelope.h"
#include "store/lifecycle/rules.h"

static int take_object(struct ctl *c, json_t *object)
{
	if (!object || json_object_update(c->out, object) < 0)
		c->short_of_memory = true;
	json_decref(object);
	return 0;
}

static int run_whoami(struct ctl *c) { return take_object(c, text_whoami_object(c->env, c->who)); }

/* A sealed vault knows no policy; root is told, because root is who unseals. */
static int ask_status(struct ctl *c)
{
	if (!store_sealed(c->env->store))
		return ctl_ask(c, ACTION_VAULT_STATUS, NULL);
	c->asked = true;
	if (c->who->policy.uid == 0)
		return 0;
	return ctl_fail_store(c, -ENOKEY, "tell the status");
}

static int run_status(struct ctl *c) { return take_object(c, text_status_object(c->env)); }

static int ask_seal(struct ctl *c) { return ctl_ask(c, ACTION_VAULT_SEAL, NULL); }

static int run_seal(struct ctl *c)
{
	ctl_set(c, "sealed", json_true());
	return 0;
}

static int after_seal(struct ctl *c)
{
	int r = c->env->seal(c->env->arg);

	return r < 0 ? ctl_fail_store(c, r, "seal the vault") : 0;
}

static int check_vault(struct ctl *c)
{
	const json_t *value_max = json_object_get(c->in, "value_max"),
		     *enforce = json_object_get(c->in, "enforce_validity");
	const json_t *protection = json_object_get(c->in, "purge_protection"),
		     *near = json_object_get(c->in, "near_expiry_days");

	if (!value_max && !enforce && !protection && !near)
		return ctl_fail(
			c, EINVAL,
			"vault: one of value_max, enforce_validity, purge_protection, near_expiry_days is needed");
	if (near && (json_integer_value(near) < 1 || json_integer_value(near) > NEAR_EXPIRY_DAYS_MAX))
		return ctl_fail(c, EINVAL, "near_expiry_days: 1 to %d", NEAR_EXPIRY_DAYS_MAX);
	c->args.near_days = (uint32_t)json_integer_value(near);
	c->args.has_purge_protection = protection != NULL;
	c->args.purge_protection = json_is_true(protection);
	if (value_max && (json_integer_value(value_max) < 1 || json_integer_value(value_max) > VALUE_MAX))
		return ctl_fail(c, EINVAL, "value_max: 1 to %u bytes", VALUE_MAX);
	c->args.has_value_max = value_max != NULL;
	c->args.value_max = (uint32_t)json_integer_value(value_max);
	c->args.has_enforce_validity = enforce != NULL;
	c->args.enforce_validity = json_is_true(enforce);
	return 0;
}

static int ask_vault(struct ctl *c) { return ctl_ask(c, ACTION_VAULT_UPDATE, NULL); }

static int run_vault(struct ctl *c)
{
	struct store_settings s;
	uint32_t near_days;
	int r;

	store_rdlock(c->env->store);
	s = *store_settings(c->env->store);
	near_days = c->args.near_days ? c->args.near_days : store_rules(c->env->store)->near_days;
	store_unlock_tables(c->env->store);
	if (c->args.has_value_max)
		s.value_max = c->args.value_max;
	if (c->args.has_enforce_validity)
		s.enforce_validity = c->args.enforce_validity;
	if (c->args.has_purge_protection)
		s.purge_protection = c->args.purge_protection;
	r = store_settings_put(c->env->store, &s);
	if (r == -EPERM)
		return ctl_fail(c, EPERM, "purge protection is on, and cannot be taken back");
	if (r == 0 && c->args.near_days)
		r = store_near_expiry_put(c->env->store, near_days);
	if (r < 0)
		return ctl_fail_store(c, r, "change the settings");
	snprintf(c->detail, sizeof(c->detail),
		 "value_max %u, enforce_validity %s, purge_protection %s, near_expiry_days %u", s.value_max,
		 s.enforce_validity ? "true" : "false", s.purge_protection ? "true" : "false", near_days);
	ctl_set(c, "value_max", json_integer(s.value_max));
	ctl_set(c, "enforce_validity", json_boolean(s.enforce_validity));
	ctl_set(c, "near_expiry_days", json_integer(near_days));
	ctl_set(c, "retention_days", json_integer(s.retention_days));
	ctl_set(c, "purge_protection", json_boolean(s.purge_protection));
	return 0;
}

static const struct ctl_field no_fields[] = { { 0 } };
static const struct ctl_field vault_fields[] = { { "value_max", CTL_INT, false },
						 { "enforce_validity", CTL_BOOL, false },
						 { "purge_protection", CTL_BOOL, false },
						 { "near_expiry_days", CTL_INT, false },
						 { 0 } };

const struct ctl_op ctl_vault_ops[] = {
	{ .name = "whoami", .while_sealed = true, .fields = no_fields, .run = run_whoami },
	{ .name = "status",
	  .operation = AUDIT_VAULT_STATUS,
	  .while_sealed = true,
	  .fields = no_fields,
	  .ask = ask_status,
	  .run = run_status },
	{ .name = "seal",
	  .operation = AUDIT_VAULT_SEAL,
	  .changes = true,
	  .while_read_only = true,
	  .fields = no_fields,
	  .ask = ask_seal,
	  .run = run_seal,
	  .after = after_seal },
	{ .name = "vault",
	  .operation = AUDIT_VAULT_UPDATE,
	  .changes = true,
	  .fields = vault_fields,
	  .check = check_vault,
	  .ask = ask_vault,
	  .run = run_vault },
	{ 0 },
};
