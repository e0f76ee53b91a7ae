/* The head file's block. A slot with a right checksum is made from the input, too: without it mutations would not come
 * past the sum. */
#include <stdlib.h>
#include <string.h>

#include "store/audit/head.h"
#include "store/audit/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const uint8_t block[AUDIT_HEADFILE_SIZE])
{
	struct audit_position p;
	uint64_t generation;

	if (audit_headfile_decode(block, &p, &generation) == 0 &&
	    (p.segment == 0 || p.segment > AUDIT_SEGMENT_NUMBER_MAX))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t block[AUDIT_HEADFILE_SIZE] = { 0 };
	size_t n = size < sizeof block ? size : sizeof block;

	memcpy(block, data, n);
	decode(block);
	for (size_t at = 0; at < sizeof block; at += AUDIT_HEADFILE_SLOT) {
		struct bytes part = { block + at, 112 };
		memcpy(block + at, "cofaudh1", 8);
		if (sha256(&part, 1, block + at + 112) < 0)
			abort();
		decode(block);
	}
	return 0;
}
