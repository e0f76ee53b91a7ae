/* Does this process run in a container? The same question decides whether anybody can be `host` for a daemon started here. */
#ifndef COFFER_CLI_CONTAINER_H
#define COFFER_CLI_CONTAINER_H

#include <stdbool.h>

/* True when its pid, user or cgroup namespace is not the machine's first, or its cgroup is a container's. Doubt is true. */
bool in_container(void);

#endif
