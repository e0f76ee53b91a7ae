coffer_fuzz_target(ctl coffer_fs_tested PkgConfig::JANSSON)
coffer_fuzz_target(backup coffer_store Threads::Threads)
set(fuzz_runs_restore 1500)	# each is two transactions on a disk
coffer_fuzz_target(restore coffer_store PkgConfig::SQLITE Threads::Threads)
