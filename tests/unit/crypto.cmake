foreach(subject secbuf aead curve generate envelope kek wrap keyholder vaultconf format)
	coffer_unit_test(${subject} coffer_keys Threads::Threads OpenSSL::Crypto)
endforeach()
target_compile_definitions(test_format PRIVATE FORMAT_MD="${CMAKE_CURRENT_LIST_DIR}/../../contrib/doc/FORMAT.md")
