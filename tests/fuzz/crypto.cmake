foreach(subject envelope wrap vaultconf)
	coffer_fuzz_target(${subject} coffer_keys Threads::Threads OpenSSL::Crypto)
endforeach()
