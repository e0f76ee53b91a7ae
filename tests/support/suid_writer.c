/* What a setuid program does that prints where it was told to: writes its one argument to standard output, or standard
 * error where there is a second argument. Its exit status is the errno, for it has no other place to say it. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2 || setreuid(geteuid(), geteuid()) < 0)
		return 255;
	return write(argc > 2 ? 2 : 1, argv[1], strlen(argv[1])) < 0 ? errno : 0;
}
