coffer_fuzz_target(ctl coffer_fs PkgConfig::JANSSON)
coffer_fuzz_target(backup coffer_store Threads::Threads)
