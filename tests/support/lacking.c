/* A command on a kernel that lacks something, as it seems to it: the system calls of what is lacking give ENOSYS, or
 * what that kernel gives.
 *
 *   lacking landlock|landlock-at-boot|seccomp COMMAND… */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int lack_landlock(scmp_filter_ctx ctx, int error)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ERRNO((unsigned)error), SCMP_SYS(landlock_create_ruleset), 0);
}

/* Only the first filter, this one, can be loaded. */
static int lack_seccomp(scmp_filter_ctx ctx)
{
	const struct scmp_arg_cmp set = SCMP_A0(SCMP_CMP_EQ, PR_SET_SECCOMP);
	int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(seccomp), 0);

	return r ? r : seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1, &set);
}

int main(int argc, char **argv)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r = -EINVAL;

	if (argc < 3 || !ctx)
		return 2;
	if (!strcmp(argv[1], "landlock"))
		r = lack_landlock(ctx, ENOSYS);
	else if (!strcmp(argv[1], "landlock-at-boot"))
		r = lack_landlock(ctx, EOPNOTSUPP);
	else if (!strcmp(argv[1], "seccomp"))
		r = lack_seccomp(ctx);
	if (!r)
		r = seccomp_load(ctx);
	if (r) {
		fprintf(stderr, "lacking: %s\n", strerror(-r));
		return 2;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
