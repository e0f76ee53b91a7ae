# The store's tests share a fixture that makes a vault in a temporary directory.
function(coffer_store_test subject)
	coffer_unit_test(${subject} coffer_store PkgConfig::SQLITE Threads::Threads)
	target_sources(test_${subject} PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit/store_fixture.c)
	target_include_directories(test_${subject} PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
endfunction()

coffer_store_test(store)
coffer_store_test(store_stage)
coffer_store_test(store_request)
coffer_store_test(store_tamper)
