coffer_unit_test(cli_args coffer_cli_commands)
coffer_unit_test(cli_mount coffer_cli_commands)
coffer_unit_test(cli_input coffer_cli_commands)
coffer_unit_test(cli_output coffer_cli_commands)
coffer_unit_test(cli_suspect coffer_cli_commands)

add_test(NAME unit-help_matches_man COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/help_matches_man.sh $<TARGET_FILE:coffer>
	${CMAKE_SOURCE_DIR}/contrib/man/coffer.1 ${CMAKE_SOURCE_DIR}/contrib/completions/coffer.bash ${CMAKE_SOURCE_DIR}/contrib/completions/_coffer)
add_test(NAME unit-cli_usage COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cli_usage.sh $<TARGET_FILE:coffer>)
set_tests_properties(unit-help_matches_man unit-cli_usage PROPERTIES LABELS unit TIMEOUT 60)
