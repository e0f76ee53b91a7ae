/* Sizes as people write them: bytes, or with K, M or G (1024, 1024², 1024³; small letters too). Pure. */
#ifndef COFFER_FS_COMMON_SIZEFMT_H
#define COFFER_FS_COMMON_SIZEFMT_H

#include <stdint.h>

#define SIZE_PARSE_MAX ((uint64_t)1 << 50)

/* A decimal number and at most one suffix. 0; -EINVAL: another form, or more than SIZE_PARSE_MAX. */
int size_parse(const char *text, uint64_t *ret_size);

#endif
