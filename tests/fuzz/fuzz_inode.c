#include <assert.h>
#include <string.h>

#include "fs/shared/inode.h"

#include <stddef.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (size_t at = 0; at + sizeof(uint64_t) <= size; at++) {
		struct inode i;
		uint64_t ino;
		memcpy(&ino, data + at, sizeof(ino));
		/* the type's bits are seldom hit by chance */
		for (unsigned mask = 0; mask < 2; mask++, ino &= UINT64_C(0x07ffffffffffffff)) {
			if (!inode_unpack(ino, &i))
				continue;
			assert(ino != 0 && inode_pack(&i) == ino);
			assert(!(inode_is_dir(&i) && (i.type == INODE_CURRENT || i.type == INODE_VERSION)));
		}
	}
	return 0;
}
