/* A driver for fuzz targets where libFuzzer is not at hand: bounded rounds of mutations, from a fixed seed unless
 * -seed=N is given.
 *
 *   fuzz_X [-runs=N] [-seed=N] [FILE...]        FILEs are run first, as they are, and then mutated */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX  8192
#define CORPUS_MAX 256

static uint64_t rng_state = 0x9e3779b97f4a7c15u;

static uint64_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state;
}

static struct {
	uint8_t *data;
	size_t size;
} corpus[CORPUS_MAX];
static size_t corpus_n;

static void load(const char *path)
{
	FILE *f = fopen(path, "rb");
	if (!f || corpus_n == CORPUS_MAX) {
		if (f)
			fclose(f);
		return;
	}
	uint8_t *data = malloc(INPUT_MAX);
	size_t n = data ? fread(data, 1, INPUT_MAX, f) : 0;
	fclose(f);
	if (!data)
		return;
	corpus[corpus_n].data = data;
	corpus[corpus_n++].size = n;
	LLVMFuzzerTestOneInput(data, n);
}

static size_t mutate(uint8_t *buf)
{
	size_t n = 0;

	if (corpus_n && rng() % 8) {
		size_t i = rng() % corpus_n;
		n = corpus[i].size;
		memcpy(buf, corpus[i].data, n);
	} else {
		n = rng() % 64;
		for (size_t i = 0; i < n; i++)
			buf[i] = (uint8_t)rng();
	}
	for (uint64_t k = rng() % 6; k > 0 && n > 0; k--) {
		size_t at = rng() % n;
		switch (rng() % 5) {
		case 0:
			buf[at] = (uint8_t)rng();
			break;
		case 1:
			buf[at] ^= (uint8_t)(1u << (rng() % 8));
			break;
		case 2:
			n = at;
			break;
		case 3:
			memmove(buf + at, buf + at + 1, n - at - 1);
			n--;
			break;
		default:
			if (n < INPUT_MAX) {
				memmove(buf + at + 1, buf + at, n - at);
				buf[at] = (uint8_t)rng();
				n++;
			}
		}
	}
	return n;
}

int main(int argc, char **argv)
{
	unsigned long runs = 20000;
	uint8_t buf[INPUT_MAX];

	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "-runs=", 6))
			runs = strtoul(argv[i] + 6, NULL, 10);
		else if (!strncmp(argv[i], "-seed=", 6))
			rng_state ^= strtoull(argv[i] + 6, NULL, 10) * 0x2545f4914f6cdd1du;
		else if (argv[i][0] != '-')
			load(argv[i]);
	}
	for (unsigned long r = 0; r < runs; r++) {
		/* a block of its exact size, so that ASan sees one byte too many */
		size_t n = mutate(buf);
		uint8_t *exact = malloc(n ? n : 1);
		if (!exact)
			return 1;
		memcpy(exact, buf, n);
		LLVMFuzzerTestOneInput(exact, n);
		free(exact);
	}
	for (size_t i = 0; i < corpus_n; i++)
		free(corpus[i].data);
	printf("%lu runs\n", runs);
	return 0;
}
