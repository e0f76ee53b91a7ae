foreach(subject log schedule runner inode handle temps links shares turns lanes delayed caller_proc caller subuid neighbour accounts resolver bell holds control protection notify suspects unanswered)
	coffer_unit_test(${subject} coffer_fs_tested Threads::Threads)
endforeach()
# Parts of a worker on a store of their own.
coffer_unit_test(vault coffer_fs_tested PkgConfig::SQLITE Threads::Threads)
target_sources(test_vault PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/store_fixture.c)
target_include_directories(test_vault PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
set_tests_properties(unit-runner PROPERTIES SKIP_RETURN_CODE 77)
# The daemon's own, of which no library has it.
coffer_unit_test(sandbox coffer_fs_tested PkgConfig::CAP PkgConfig::SECCOMP)
coffer_unit_test(mount coffer_fs_tested)
coffer_unit_test(mount_facts coffer_fs_tested)
coffer_unit_test(mm_holder coffer_fs_tested PkgConfig::CAP PkgConfig::SECCOMP)
