coffer_fuzz_target(ctl coffer_fs PkgConfig::JANSSON)
