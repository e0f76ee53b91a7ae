foreach(subject envelope wrap vaultconf)
	coffer_fuzz_target(${subject} coffer_crypto Threads::Threads OpenSSL::Crypto)
endforeach()
