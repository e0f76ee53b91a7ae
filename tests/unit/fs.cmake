foreach(subject log schedule runner inode handle turns caller_proc caller resolver bell control protection notify suspects unanswered)
	coffer_unit_test(${subject} coffer_fs Threads::Threads)
endforeach()
# Parts of a worker on a store of their own.
coffer_unit_test(vault coffer_fs PkgConfig::SQLITE Threads::Threads)
target_sources(test_vault PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/store_fixture.c)
target_include_directories(test_vault PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
set_tests_properties(unit-runner PROPERTIES SKIP_RETURN_CODE 77)
# The daemon's own, of which no library has it.
coffer_unit_test(sandbox coffer_fs PkgConfig::CAP PkgConfig::SECCOMP)
target_sources(test_sandbox PRIVATE ${CMAKE_SOURCE_DIR}/fs/sandbox.c)
