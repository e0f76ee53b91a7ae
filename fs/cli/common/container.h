/* Does this process run in a container, or in what `host` tells from the machine like one? */
#ifndef COFFER_FS_CLI_COMMON_CONTAINER_H
#define COFFER_FS_CLI_COMMON_CONTAINER_H

#include <stdbool.h>

/* True when its pid, user or cgroup namespace is not the machine's first, its mount namespace is not the init process's
 * (as under unshare -m), or its cgroup is a container's: the resolver's rules (fs/caller/resolver.c). Doubt is true. */
bool in_container(void);

#endif
