#include "threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STACK (64u << 10)

pthread_t *threads_start(unsigned n, void *(*body)(void *), void *(*arg)(unsigned i), _Atomic unsigned *begun)
{
	pthread_t *threads = calloc(n, sizeof *threads);
	pthread_attr_t attr;

	if (!threads)
		return NULL;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	for (unsigned i = 0; i < n; i++) {
		int r = pthread_create(&threads[i], &attr, body, arg(i));
		if (r) {
			fprintf(stderr, "thread %u: %s\n", i, strerror(r));
			free(threads);
			return NULL;
		}
	}
	pthread_attr_destroy(&attr);
	while (atomic_load(begun) < n)
		usleep(1000);
	puts("begun");
	return threads;
}
