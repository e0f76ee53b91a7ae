/* Very many threads with small stacks, for programs that are many callers at once. */
#ifndef COFFER_TESTS_SUPPORT_THREADS_H
#define COFFER_TESTS_SUPPORT_THREADS_H

#include <pthread.h>
#include <stdatomic.h>

/* Starts n threads, gives thread i arg(i), waits until each has added one to begun, and prints "begun". The threads,
 * the caller's to free; NULL: one could not be started, said on stderr. */
pthread_t *threads_start(unsigned n, void *(*body)(void *), void *(*arg)(unsigned i), _Atomic unsigned *begun);

#endif
