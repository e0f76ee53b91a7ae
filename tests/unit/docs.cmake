add_test(NAME unit-docs COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/docs.sh ${CMAKE_SOURCE_DIR} $<TARGET_FILE:coffer> $<TARGET_FILE:cofferd>)
add_test(NAME unit-daemon_help_matches_man COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/daemon_help_matches_man.sh $<TARGET_FILE:cofferd>
	${CMAKE_SOURCE_DIR}/contrib/man/cofferd.8)
get_property(libraries GLOBAL PROPERTY COFFER_LIBRARIES)
set(archives ${libraries})
list(TRANSFORM archives PREPEND "$<TARGET_FILE:")
list(TRANSFORM archives APPEND ">")
add_test(NAME unit-circles COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/circles.sh ${archives})
add_test(NAME unit-layers COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/layers.sh ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated/layers.txt)
add_test(NAME unit-layout COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/layout.sh ${CMAKE_SOURCE_DIR})
set_tests_properties(unit-layout PROPERTIES LABELS unit TIMEOUT 300 SKIP_RETURN_CODE 77)
set_tests_properties(unit-docs unit-layers unit-circles unit-daemon_help_matches_man PROPERTIES LABELS unit TIMEOUT 60)

# How the build hardens what it makes, and what a release has of it
add_test(NAME unit-hardening_flags COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/hardening_flags.sh ${CMAKE_SOURCE_DIR})
add_test(NAME unit-hardened_binaries COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/hardened_binaries.sh)
set_tests_properties(unit-hardening_flags unit-hardened_binaries PROPERTIES LABELS unit TIMEOUT 300 SKIP_RETURN_CODE 77)
