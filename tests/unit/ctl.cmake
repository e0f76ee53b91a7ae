coffer_unit_test(timefmt coffer_common)
coffer_unit_test(sizefmt coffer_common)
coffer_unit_test(hindrance coffer_ctl)
coffer_unit_test(ctl coffer_fs_tested PkgConfig::JANSSON)
# Each pair of actions on each operation.
coffer_unit_test(rights coffer_fs_tested PkgConfig::JANSSON)
target_compile_definitions(test_rights PRIVATE COFFER_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
set_tests_properties(unit-rights PROPERTIES TIMEOUT 600)
