/* The clocks, for daemon and command. None blocks. */
#ifndef COFFER_FS_COMMON_CLOCK_H
#define COFFER_FS_COMMON_CLOCK_H

#include <stdint.h>

#define NS_PER_S 1000000000

int64_t clock_wall(void);       /* ns since the epoch; whoever may set the machine's clock sets it */
int64_t clock_monotonic(void);  /* ns that no clock's setting moves */
int64_t clock_ms(void);         /* the same in ms */
uint32_t clock_coarse_ms(void); /* the same of the last tick, cheaply; wraps, and never 0 */

#endif
