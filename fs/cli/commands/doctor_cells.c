/* coffer doctor: what holds the daemon's processes. */
#include <string.h>

#include "fs/cli/commands/doctor_internal.h"
#include "fs/cli/common/cli.h"

/* NULL: no capability; else the only one that it may have. The keeper's are several. */
static const struct {
	const char *name;
	const char *capability;
	bool many;
} cells[] = {
	{ .name = "keeper", .many = true },
	{ .name = "worker" },
	{ .name = "standby" },
	{ .name = "keyholder" },
	{ .name = "resolver", .capability = "cap_sys_ptrace" },
	{ .name = "bell" },
	{ .name = "runner", .many = true },
};

static void check_landlock(struct doctor *d, const json_t *sandbox)
{
	const char *missing = json_string_value(json_object_get(sandbox, "landlock_missing"));
	json_int_t abi = json_integer_value(json_object_get(sandbox, "landlock_abi"));

	if (missing && strstr(missing, "boot"))
		doctor_say(d, WARN, "landlock",
			   "is built into the kernel, and not switched on: add landlock to the list of lsm= on the "
			   "kernel's "
			   "command line (/sys/kernel/security/lsm has the present one)");
	else if (abi <= 0)
		doctor_say(d, WARN, "landlock",
			   "is not in this kernel (5.13 or later with CONFIG_SECURITY_LANDLOCK), or hidden by the "
			   "container's "
			   "seccomp profile: a process of the daemon that is taken over can open what its user can");
	else if (abi < 6)
		doctor_say(d, GOOD, "landlock", "confines worker, key holder and bell; at ABI %d it lets through %s",
			   (int)abi,
			   abi < 3   ? "truncation, TCP, ioctls of devices, abstract sockets and signals"
			   : abi < 4 ? "TCP, ioctls of devices, abstract sockets and signals"
			   : abi < 5 ? "ioctls of devices, abstract sockets and signals"
				     : "abstract sockets and signals");
	else
		doctor_say(d, GOOD, "landlock", "confines worker, key holder and bell (ABI %d)", (int)abi);
}

/* One that is not running is check_processes' to tell. */
static void check_cells(struct doctor *d, const json_t *sandbox)
{
	bool filtered = true, poor = true;

	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
		const json_t *p = json_object_get(sandbox, cells[i].name), *caps = json_object_get(p, "capabilities");
		if (!json_is_object(p))
			continue;
		if (!json_is_true(json_object_get(p, "seccomp"))) {
			doctor_say(
				d, WARN, "seccomp",
				"the %s can make any system call: this kernel has no filters (CONFIG_SECCOMP_FILTER)",
				cells[i].name);
			filtered = false;
		}
		const char *first = json_string_value(json_array_get(caps, 0));
		const bool right = cells[i].capability && json_array_size(caps) == 1 && first &&
				   strcmp(first, cells[i].capability) == 0;
		const bool more = !cells[i].many && json_array_size(caps) > 0 && !right;
		if (more || !json_is_true(json_object_get(p, "no_new_privs"))) {
			doctor_say(
				d, BAD, "privileges",
				"the %s has more of them than it gave itself; restart the daemon, and find out who did "
				"this",
				cells[i].name);
			poor = false;
		}
	}
	if (filtered)
		doctor_say(d, GOOD, "seccomp", "each process has a list of system calls");
	if (poor)
		doctor_say(d, GOOD, "privileges",
			   "worker, key holder and bell have no capability, and nobody can gain one");
}

static void check_append_only(struct doctor *d, const json_t *status, const json_t *sandbox)
{
	const json_t *caps = json_object_get(json_object_get(sandbox, "keeper"), "capabilities"), *name;
	bool may = false;
	size_t i;

	if (json_is_true(json_object_get(json_object_get(status, "audit"), "append_only"))) {
		doctor_say(d, GOOD, "append-only", "what is in the log cannot be cut off while the daemon runs");
		return;
	}
	json_array_foreach(caps, i, name)
		may = may || strcmp(json_string_value(name) ? json_string_value(name) : "", "cap_linux_immutable") == 0;
	if (may)
		doctor_say(d, WARN, "append-only",
			   "segments do not have the attribute: somebody took it off (chattr -a), or the log's file "
			   "system "
			   "has none (ext4, XFS, Btrfs and, since 6.6, tmpfs have it). A worker that is taken over "
			   "could cut "
			   "the log, which coffer audit verify would find");
	else
		doctor_say(d, WARN, "append-only",
			   "the daemon was started without CAP_LINUX_IMMUTABLE (in a container: --cap-add "
			   "LINUX_IMMUTABLE): a "
			   "worker that is taken over could cut the log, which coffer audit verify would find");
}

void doctor_check_cells(struct doctor *d, const json_t *status)
{
	const json_t *sandbox = json_object_get(status, "sandbox");

	if (!json_is_object(sandbox))
		return;
	check_landlock(d, sandbox);
	check_cells(d, sandbox);
	check_append_only(d, status, sandbox);
}
