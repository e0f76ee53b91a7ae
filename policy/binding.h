/* One grant: principal × role × scope × time window. */
#ifndef COFFER_POLICY_BINDING_H
#define COFFER_POLICY_BINDING_H

#include <stdint.h>

#include "policy/principal.h"
#include "policy/scope.h"

#define BINDING_FOREVER INT64_MAX

struct binding {
	uint64_t id; /* from the store; never reused */
	uint32_t role;
	struct principal principal;
	char scope[NAME_LEN_MAX + 2];
	int64_t from;  /* ns since the epoch, inclusive; INT64_MIN without a beginning */
	int64_t until; /* ns since the epoch, exclusive; BINDING_FOREVER without an end */
};

#endif
