coffer_unit_test(audit coffer_audit coffer_crypto PkgConfig::JANSSON)
coffer_unit_test(audit_verify coffer_audit coffer_crypto)
coffer_unit_test(audit_anomaly coffer_audit coffer_crypto)
target_link_options(test_audit_anomaly PRIVATE -Wl,--wrap=write,--wrap=ftruncate,--wrap=fallocate,--wrap=fdatasync,--wrap=malloc,--wrap=calloc,--wrap=realloc)
