/* Reading a backup from a source: twice over the same bytes, first for the signature, then for the records. For
 * backup_restore.c. */
#ifndef COFFER_STORE_BACKUP_READER_H
#define COFFER_STORE_BACKUP_READER_H

#include <stddef.h>
#include <stdint.h>

#include "store/backup/format.h"

struct backup_reader;
/* Reads the header. */
int reader_open(const struct backup_source *source, struct backup_reader **ret_reader, char *why, size_t why_len);
void reader_close(struct backup_reader *r); /* accepts NULL */
const struct backup_header *reader_header(const struct backup_reader *r);
uint64_t reader_offset(const struct backup_reader *r);

/* From the header to the end of the stream, which must be just behind the signature; -EKEYREJECTED: it is good, but not
 * signer's. */
int reader_verify(struct backup_reader *r, const uint8_t *signer, char *why, size_t why_len);
/* Back behind the header, to read records; key is copied. */
int reader_rewind(struct backup_reader *r, const uint8_t stream_key[KEY_LEN]);
/* The next record, borrowed until the next call: 1; 0 behind the last one, where the last frame ended too; -EBADMSG. */
int reader_record(struct backup_reader *r, enum record_type *ret_type, struct fields *ret_fields);

#endif
