/* The record of a decision. */
#ifndef COFFER_FS_SERVE_RECORD_H
#define COFFER_FS_SERVE_RECORD_H

#include "fs/serve/call.h"
#include "fs/serve/decide.h"

/* What a thread must be able to wait for to write a record. */
enum patience vault_record_waits(const struct vault *v);
/* Writes the record of a verdict. 0, or -EIO: nothing may be served. *ret_delay_ms may be NULL. */
int vault_record(struct vault *v, const struct call *by, enum audit_operation operation, const struct verdict *verdict,
		 uint32_t *ret_delay_ms);

#endif
