/* Part of coffer doctor: as whom the programs of hooks and rotation policies run, and who could look into them. */
#ifndef COFFER_FS_CLI_COMMANDS_DOCTOR_PROGRAMS_H
#define COFFER_FS_CLI_COMMANDS_DOCTOR_PROGRAMS_H

#include <stdbool.h>
#include <sys/types.h>

/* Calls say for each thing that was found, or once where all is well. runner: whose programs are the daemon's own (0:
 * not known). */
void doctor_programs(const char *store, pid_t runner, void (*say)(void *arg, bool warn, const char *text), void *arg);

#endif
