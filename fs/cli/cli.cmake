# The command's parts, for its tests too; coffer.c is main and what every command may say.
add_library(coffer_cli STATIC
	cli/message.c cli/args.c cli/mount.c cli/client.c cli/input.c cli/output.c cli/harmless.c cli/names.c cli/secrets.c cli/set.c cli/tar.c cli/deleted.c cli/read.c cli/edit.c cli/editor.c cli/janitor.c cli/bindings.c cli/blocks.c cli/vault.c cli/settings.c cli/auditlog.c cli/lines.c cli/events.c cli/rotation.c cli/history.c cli/confirm.c cli/allow.c cli/exposed.c cli/suspect.c
	cli/users.c cli/store_access.c cli/offline_keys.c cli/offline.c cli/init.c cli/container.c cli/doctor.c cli/doctor_indexers.c cli/doctor_programs.c)
target_link_libraries(coffer_cli PRIVATE coffer_build
	PUBLIC coffer_role coffer_fs coffer_common coffer_store coffer_audit coffer_crypto coffer_policy PkgConfig::JANSSON)
target_sources(coffer_cli PRIVATE cli/backup.c cli/backup_key.c cli/restore.c cli/drill.c)

add_executable(coffer cli/coffer.c cli/commands.c)
target_link_libraries(coffer PRIVATE coffer_build coffer_cli)
install(TARGETS coffer RUNTIME DESTINATION bin)
install(FILES ${CMAKE_SOURCE_DIR}/contrib/man/coffer.1 DESTINATION share/man/man1)
install(FILES ${CMAKE_SOURCE_DIR}/contrib/completions/coffer.bash DESTINATION share/bash-completion/completions RENAME coffer)
install(FILES ${CMAKE_SOURCE_DIR}/contrib/completions/_coffer DESTINATION share/zsh/site-functions)
install(FILES ${CMAKE_SOURCE_DIR}/contrib/systemd/coffer-backup@.service ${CMAKE_SOURCE_DIR}/contrib/systemd/coffer-backup@.timer
	${CMAKE_SOURCE_DIR}/contrib/systemd/coffer-backup-drill@.service ${CMAKE_SOURCE_DIR}/contrib/systemd/coffer-backup-drill@.timer
	DESTINATION lib/systemd/system)
