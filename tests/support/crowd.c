/* Many callers of one uid at the same time: threads that each open a secret of a store that build_store filled, and read its first byte.
 *
 *   crowd MOUNT N SECRETS
 *
 * Prints "begun" when all N are under way, "refused" at the first EAGAIN, and in the end how often which answer came, a line each: "ok 100", "EAGAIN 12". */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STACK (64u << 10)

static const char *mount_point;
static unsigned secrets;
static atomic_uint answers[256];	/* by errno */
static atomic_uint begun;

static void *one(void *arg)
{
	char path[4200], byte;
	const unsigned number = (unsigned)(size_t)arg;

	snprintf(path, sizeof path, "%s/s%06u/current", mount_point, number % secrets);
	atomic_fetch_add(&begun, 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const int error = fd < 0 || read(fd, &byte, 1) < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	if (atomic_fetch_add(&answers[error % 256], 1) == 0 && error == EAGAIN)
		puts("refused");
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	const unsigned n = (unsigned)strtoul(argv[2], NULL, 10);
	pthread_t *threads = calloc(n ? n : 1, sizeof *threads);
	pthread_attr_t attr;

	mount_point = argv[1];
	secrets = (unsigned)strtoul(argv[3], NULL, 10);
	if (!threads || !n || !secrets)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	for (unsigned i = 0; i < n; i++) {
		int r = pthread_create(&threads[i], &attr, one, (void *)(size_t)i);
		if (r) {
			fprintf(stderr, "thread %u: %s\n", i, strerror(r));
			return 1;
		}
	}
	while (atomic_load(&begun) < n)
		usleep(1000);
	puts("begun");
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 256; i++)
		if (answers[i])
			printf("%s %u\n", i ? strerrorname_np(i) : "ok", answers[i]);
	free(threads);
	return 0;
}
