coffer_unit_test(timefmt coffer_common)
coffer_unit_test(sizefmt coffer_common)
coffer_unit_test(ctl coffer_fs PkgConfig::JANSSON)
