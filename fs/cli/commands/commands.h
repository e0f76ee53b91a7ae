/* Every command, as fs/cli/commands.c lists them: each returns the exit status, with the error printed. */
#ifndef COFFER_FS_CLI_COMMANDS_COMMANDS_H
#define COFFER_FS_CLI_COMMANDS_COMMANDS_H

#include "fs/cli/common/cli.h"

int cmd_put(struct cli *c, const struct args *a);
int cmd_get(struct cli *c, const struct args *a);
int cmd_list(struct cli *c, const struct args *a);
int cmd_show(struct cli *c, const struct args *a);
int cmd_versions(struct cli *c, const struct args *a);
int cmd_edit(struct cli *c, const struct args *a);
int cmd_attr(struct cli *c, const struct args *a);
int cmd_enable(struct cli *c, const struct args *a);
int cmd_disable(struct cli *c, const struct args *a);
int cmd_rollback(struct cli *c, const struct args *a);
int cmd_delete(struct cli *c, const struct args *a);
int cmd_recover(struct cli *c, const struct args *a);
int cmd_purge(struct cli *c, const struct args *a);
int cmd_destroy(struct cli *c, const struct args *a);
int cmd_grant(struct cli *c, const struct args *a);
int cmd_revoke(struct cli *c, const struct args *a);
int cmd_bindings(struct cli *c, const struct args *a);
int cmd_exposed(struct cli *c, const struct args *a);
int cmd_holders(struct cli *c, const struct args *a);
int cmd_wait_drained(struct cli *c, const struct args *a);
int cmd_block(struct cli *c, const struct args *a);
int cmd_unblock(struct cli *c, const struct args *a);
int cmd_blocks(struct cli *c, const struct args *a);
int cmd_roles(struct cli *c, const struct args *a);
int cmd_role_create(struct cli *c, const struct args *a);
int cmd_can_i(struct cli *c, const struct args *a);
int cmd_whoami(struct cli *c, const struct args *a);
int cmd_status(struct cli *c, const struct args *a);
int cmd_vault_show(struct cli *c, const struct args *a);
int cmd_vault_set(struct cli *c, const struct args *a);
int cmd_seal(struct cli *c, const struct args *a);
int cmd_unseal(struct cli *c, const struct args *a);
int cmd_rotation_set(struct cli *c, const struct args *a);
int cmd_rotation_show(struct cli *c, const struct args *a);
int cmd_rotation_list(struct cli *c, const struct args *a);
int cmd_rotation_remove(struct cli *c, const struct args *a);
int cmd_rotate(struct cli *c, const struct args *a);
int cmd_history_set(struct cli *c, const struct args *a);
int cmd_history_show(struct cli *c, const struct args *a);
int cmd_history_list(struct cli *c, const struct args *a);
int cmd_history_remove(struct cli *c, const struct args *a);
int cmd_hook_add(struct cli *c, const struct args *a);
int cmd_hook_list(struct cli *c, const struct args *a);
int cmd_hook_remove(struct cli *c, const struct args *a);
int cmd_events(struct cli *c, const struct args *a);
int cmd_audit(struct cli *c, const struct args *a);
int cmd_audit_verify(struct cli *c, const struct args *a);
int cmd_doctor(struct cli *c, const struct args *a);
int cmd_init(struct cli *c, const struct args *a);
int cmd_fsck(struct cli *c, const struct args *a);
int cmd_backup(struct cli *c, const struct args *a);
int cmd_backup_verify(struct cli *c, const struct args *a);
int cmd_backup_drill(struct cli *c, const struct args *a);
int cmd_restore(struct cli *c, const struct args *a);
int cmd_recipient_add(struct cli *c, const struct args *a);
int cmd_recipient_remove(struct cli *c, const struct args *a);
int cmd_recipient_list(struct cli *c, const struct args *a);
int cmd_recipient_keygen(struct cli *c, const struct args *a);
int cmd_break_glass(struct cli *c, const struct args *a);

#endif
