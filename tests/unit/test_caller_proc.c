#include "fs/caller/caller.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define A64  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define B64  "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define POD  "6f3c2b1a-0d4e-4c5f-9a8b-112233445566"
#define POD_ "6f3c2b1a_0d4e_4c5f_9a8b_112233445566"

/* ---- cgroup ---- */

static const struct {
	const char *text, *unit, *container;
} cgroups[] = {
	/* hosts: systemd on v2, hybrid, v1; no systemd at all */
	{ "0::/user.slice/user-1000.slice/session-3.scope\n", "session-3.scope", "" },
	{ "0::/system.slice/postgresql.service\n", "postgresql.service", "" },
	{ "0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n", "postgresql@15-main.service", "" },
	{ "0::/init.scope\n", "init.scope", "" },
	{ "0::/\n", "", "" },
	{ "0::/../../system.slice/sshd.service\n", "", "" },
	{ "9:name=systemd:/\n8:pids:/\n4:memory:/process_api/45f641a3c477c5573b4a6dc8db9b4436\n0::/\n", "", "" },
	{ "12:devices:/system.slice/nginx.service\n1:name=systemd:/system.slice/nginx.service\n0::/system.slice/"
	  "nginx.service\n",
	  "nginx.service", "" },
	{ "11:cpu,cpuacct:/\n1:name=systemd:/user.slice/user-0.slice/session-c1.scope\n", "session-c1.scope", "" },
	{ "0::/system.slice/nginx.service (deleted)\n", "nginx.service", "" },
	{ "0::/system.slice/_cgroup.service\n", "cgroup.service", "" },
	{ "0::/system.slice/docker.service\n", "docker.service", "" },
	{ "0::/system.slice/containerd.service\n", "containerd.service", "" },
	{ "0::/system.slice/dockerd-rootless.scope\n", "dockerd-rootless.scope", "" },
	/* a user may name directories below his manager as he likes: they are not units of the system */
	{ "0::/user.slice/user-1000.slice/user@1000.service/app.slice/postgresql.service\n", "user@1000.service", "" },
	{ "0::/system.slice/web.service/postgresql.service\n", "web.service", "" },
	/* docker */
	{ "0::/system.slice/docker-" A64 ".scope\n", "docker-" A64 ".scope", "docker:" A64 },
	{ "12:pids:/docker/" A64 "\n1:name=systemd:/docker/" A64 "\n0::/system.slice/containerd.service\n",
	  "containerd.service", "docker:" A64 },
	{ "0::/docker/" A64 "/init.scope\n", "", "docker:" A64 },
	{ "0::/system.slice/docker.service/docker/" A64 "\n", "docker.service", "docker:" A64 },
	{ "0::/docker/buildkit/5gk8wvjx2k1h\n", "", "buildkit:5gk8wvjx2k1h" },
	{ "0::/buildkit/5gk8wvjx2k1h\n", "", "buildkit:5gk8wvjx2k1h" },
	{ "0::/system.slice:docker:" A64 "\n", "", "docker:" A64 },
	{ "0::/docker\n", "", "" },
	/* docker in docker: the outer one, which the inner cannot choose */
	{ "0::/docker/" A64 "/docker/" B64 "\n", "", "docker:" A64 },
	{ "0::/system.slice/docker-" A64 ".scope/docker-" B64 ".scope\n", "docker-" A64 ".scope", "docker:" A64 },
	/* podman */
	{ "0::/machine.slice/libpod-" A64 ".scope/container\n", "libpod-" A64 ".scope", "podman:" A64 },
	{ "0::/machine.slice/libpod-" A64 ".scope\n", "libpod-" A64 ".scope", "podman:" A64 },
	{ "0::/machine.slice/libpod-conmon-" A64 ".scope\n", "libpod-conmon-" A64 ".scope", "" },
	{ "9:name=systemd:/libpod_parent/libpod-" A64 "\n8:pids:/libpod_parent/libpod-" A64 "\n0::/\n", "",
	  "podman:" A64 },
	{ "9:name=systemd:/libpod_parent/conmon\n0::/\n", "", "" },
	{ "9:name=systemd:/machine.slice/libpod-" A64 "\n", "", "podman:" A64 },
	{ "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" A64 ".scope/container\n",
	  "user@1000.service", "podman:" A64 },
	{ "0::/system.slice/web.service/libpod-payload-" A64 "\n", "web.service", "podman:" A64 },
	{ "0::/system.slice/web.service/supervisor\n", "web.service", "" },
	{ "0::/machine.slice/machine-libpod_pod_" A64 ".slice/libpod-" B64 ".scope\n", "libpod-" B64 ".scope",
	  "podman:" B64 },
	/* Kubernetes */
	{ "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" POD_ ".slice/cri-containerd-" A64
	  ".scope\n",
	  "cri-containerd-" A64 ".scope", "containerd:" A64 },
	{ "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" POD_ ".slice/crio-" A64
	  ".scope/container\n",
	  "crio-" A64 ".scope", "crio:" A64 },
	{ "0::/kubepods.slice/kubepods-pod" POD_ ".slice/docker-" A64 ".scope\n", "docker-" A64 ".scope",
	  "docker:" A64 },
	{ "11:memory:/kubepods/burstable/pod" POD "/" A64 "\n1:name=systemd:/kubepods/burstable/pod" POD "/" A64 "\n",
	  "", "kubepods:" A64 },
	{ "0::/kubepods/besteffort/pod" POD "/" A64 "/kubepods/pod1/" B64 "\n", "", "kubepods:" A64 },
	{ "0::/kubepods/besteffort/pod" POD "/something\n", "", "kubepods:" POD },
	{ "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" POD_ ".slice/crio-conmon-" A64
	  ".scope\n",
	  "crio-conmon-" A64 ".scope", "kubepods:" POD_ },
	{ "0::/kubepods.slice\n", "", "kubepods:-" },
	{ "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" POD_ ".slice/cri-containerd-" A64 ".scope\n",
	  "cri-containerd-" A64 ".scope", "containerd:" A64 },
	{ "0::/system.slice/containerd.service/kubepods-burstable-pod" POD_ ".slice:cri-containerd:" A64 "\n",
	  "containerd.service", "containerd:" A64 },
	{ "0::/docker/" A64 "/kubelet.slice/kubelet-kubepods.slice/cri-containerd-" B64 ".scope\n", "", "docker:" A64 },
	/* lxc, lxd, incus, nspawn, garden, what takes a parent of its own */
	{ "0::/lxc.payload.web1/init.scope\n", "", "lxc:web1" },
	{ "0::/lxc.payload.user-1000_web1\n", "", "lxc:user-1000_web1" },
	{ "0::/lxc.monitor.web1\n", "", "" },
	{ "1:name=systemd:/lxc/web1\n", "", "lxc:web1" },
	{ "0::/lxc.payload/web1\n", "", "lxc:web1" },
	{ "0::/machine.slice/machine-deb12.scope/payload\n", "machine-deb12.scope", "machine:deb12" },
	{ "0::/machine.slice/systemd-nspawn@deb12.service/payload/init.scope\n", "systemd-nspawn@deb12.service",
	  "machine:deb12" },
	{ "0::/system.slice/machine-id-commit.service\n", "machine-id-commit.service", "" },
	{ "1:name=systemd:/garden/6f3c2b1a\n", "", "garden:6f3c2b1a" },
	{ "4:memory:/ecs/0d4e/" A64 "\n0::/\n", "", "oci:" A64 },
	{ "0::/system.slice/nerdctl-" A64 ".scope\n", "nerdctl-" A64 ".scope", "containerd:" A64 },
	{ "0::/system.slice/runtime-" A64 ".scope\n", "runtime-" A64 ".scope", "oci:" A64 },
	/* any hierarchy is enough; systemd's own is believed first */
	{ "0::/system.slice/sshd.service\n5:devices:/docker/" A64 "\n", "sshd.service", "docker:" A64 },
	{ "0::/lxc.payload.b\n5:devices:/docker/" A64 "\n1:name=systemd:/lxc/a\n", "", "lxc:a" },
	/* whole components, never substrings */
	{ "0::/system.slice/docker-" A64 "0.scope\n", "docker-" A64 "0.scope", "" },
	{ "0::/notdocker" A64 "\n", "", "" },
	{ "0::/system.slice/docker-0123.scope\n", "docker-0123.scope", "" },
	{ "0::/system.slice/docker-0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF.scope\n",
	  "docker-0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF.scope", "" },
	{ "0::/mydocker/x\n", "", "" },
	{ "0::/a/lxc.payload.\n", "", "" },
	/* no newline, no path, rubbish */
	{ "0::/system.slice/a.service", "a.service", "" },
	{ "0::\n", "", "" },
	{ "rubbish\n::\n:\n\n0::relative/docker/x\n", "", "" },
	{ "", "", "" },
	{ "0::/system.slice/.service\n", "", "" },
};

START_TEST(tells_unit_and_container_of_real_cgroups)
{
	char unit[256], container[288];

	strcpy(unit, "?");
	strcpy(container, "?");
	proc_cgroup_parse(cgroups[_i].text, strlen(cgroups[_i].text), unit, sizeof(unit), container, sizeof(container));
	ck_assert_msg(!strcmp(unit, cgroups[_i].unit), "%s: unit %s", cgroups[_i].text, unit);
	ck_assert_msg(!strcmp(container, cgroups[_i].container), "%s: container %s", cgroups[_i].text, container);
}
END_TEST

START_TEST(cuts_names_at_the_end_of_the_room)
{
	static const char text[] = "0::/system.slice/docker-" A64 ".scope\n";

	for (size_t size = 1; size < 100; size++) {
		char *unit = malloc(size), *container = malloc(size);
		char full_unit[] = "docker-" A64 ".scope", full_container[] = "docker:" A64;
		proc_cgroup_parse(text, sizeof(text) - 1, unit, size, container, size);
		if (size <= strlen(full_unit))
			full_unit[size - 1] = '\0';
		if (size <= strlen(full_container))
			full_container[size - 1] = '\0';
		ck_assert_str_eq(unit, full_unit);
		/* a colon with nothing behind it is left off */
		ck_assert(!strcmp(container, full_container) || (size == 8 && !strcmp(container, "docker")));
		ck_assert(size < 2 || container[0] != '\0');
		free(unit);
		free(container);
	}
}
END_TEST

/* ---- status ---- */

#define IDS   "Tgid:\t41\nNgid:\t0\nPid:\t42\nPPid:\t7\n"
#define CREDS "Uid:\t1000\t1001\t1002\t1003\nGid:\t100\t101\t102\t103\n"
#define TAIL  "Threads:\t2\n"
#define WHOLE \
	"Name:\tbash\n" IDS CREDS "FDSize:\t64\nGroups:\t4 24 1000 \nNSpid:\t42\nKthread:\t0\nVmSize:\t1 kB\n" TAIL

START_TEST(reads_a_status)
{
	struct proc_status s;

	ck_assert_int_eq(proc_status_parse(WHOLE, strlen(WHOLE), &s), 0);
	ck_assert_str_eq(s.comm, "bash");
	ck_assert_int_eq(s.tgid, 41);
	ck_assert_int_eq(s.ppid, 7);
	for (uint32_t k = 0; k < 4; k++) {
		ck_assert_uint_eq(s.uid[k], 1000 + k);
		ck_assert_uint_eq(s.gid[k], 100 + k);
	}
	ck_assert_uint_eq(s.n_groups, 3);
	ck_assert(s.groups[0] == 4 && s.groups[1] == 24 && s.groups[2] == 1000);
	ck_assert_uint_eq(s.n_nspid, 1);
	ck_assert(!s.kthread);
	free(s.groups);
}
END_TEST

START_TEST(reads_its_own_status)
{
	static char text[16384];
	struct proc_status s;
	int fd = open("/proc/self/status", O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text));

	close(fd);
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(proc_status_parse(text, (size_t)n, &s), 0);
	ck_assert_int_eq(s.tgid, getpid());
	ck_assert_int_eq(s.ppid, getppid());
	ck_assert_uint_eq(s.uid[3], geteuid());
	ck_assert(!s.kthread);
	free(s.groups);
}
END_TEST

/* Whatever stands behind the last line that counts may be missing; nothing before. */
START_TEST(a_status_cut_anywhere_is_refused)
{
	struct proc_status s;

	for (size_t n = 0; n < strlen(WHOLE); n++) {
		memset(&s, 0x55, sizeof(s));
		ck_assert_int_eq(proc_status_parse(WHOLE, n, &s), -EBADMSG);
		ck_assert_uint_eq(s.n_groups, 0x55555555);
	}
}
END_TEST

static const struct {
	const char *text;
	int r;
	bool kthread;
	const char *comm;
	uint32_t n_groups, n_nspid;
} statuses[] = {
	{ "Name:\tx\n" IDS CREDS "Groups:\t \nVmSize:\t1 kB\n" TAIL, 0, false, "x", 0, 0 },
	{ "Name:\tx\n" IDS CREDS "Groups:\t\nNSpid:\t42\t7\t1\nVmSize:\t1 kB\n" TAIL, 0, false, "x", 0, 3 },
	{ "Name:\tkworker/u8:2-events_unbound\n" IDS CREDS "Groups:\t \nKthread:\t1\n" TAIL, 0, true,
	  "kworker/u8:2-events_unbound", 0, 0 },
	/* kernels without the Kthread: line: no address space */
	{ "Name:\tkthreadd\n" IDS CREDS "Groups:\t \n" TAIL, 0, true, "kthreadd", 0, 0 },
	/* one with it that has exited: no address space, but not the kernel's */
	{ "Name:\tx\n" IDS CREDS "Groups:\t \nKthread:\t0\n" TAIL, 0, false, "x", 0, 0 },
	{ "Name:\ta\\nUid:\\t0\\\\b\n" IDS CREDS "Groups:\t \nKthread:\t0\n" TAIL, 0, false, "a\nUid:\\t0\\b", 0, 0 },
	{ "Name:\t\n" IDS CREDS "Groups:\t \nKthread:\t0\n" TAIL, 0, false, "", 0, 0 },
	{ "Name:\tx\n" IDS CREDS "Groups:\t4294967295 \nKthread:\t0\n" TAIL, 0, false, "x", 1, 0 },
	{ "Name:\tx\n" IDS CREDS "Groups:\t4294967296 \nKthread:\t0\n" TAIL, -EBADMSG, 0, 0, 0, 0 },
	{ "Name:\tx\n" IDS CREDS "Groups:\t1,2\nKthread:\t0\n" TAIL, -EBADMSG, 0, 0, 0, 0 },
	{ "Name:\tx\n" IDS CREDS "Groups:\t-1\nKthread:\t0\n" TAIL, -EBADMSG, 0, 0, 0, 0 },
	{ "Name:\tx\n" IDS CREDS CREDS "Groups:\t \nKthread:\t0\n" TAIL, -EBADMSG, 0, 0, 0, 0 },
	{ "Name:\tx\n" IDS CREDS "Groups:\t1\nGroups:\t2\nKthread:\t0\n" TAIL, -EBADMSG, 0, 0, 0, 0 },
	{ "Name:\tx\n" IDS "Uid:\t1\t2\t3\nGid:\t1\t2\t3\t4\nGroups:\t \n" TAIL, -EBADMSG, 0, 0, 0, 0 },
	{ "Name:\tx\n" IDS "Uid:\t1\t2\t3\t4\t5\nGid:\t1\t2\t3\t4\nGroups:\t \n" TAIL, -EBADMSG, 0, 0, 0, 0 },
	{ "Name:\tx\n" IDS "Uid:\t1\t2\t3\t\nGid:\t1\t2\t3\t4\nGroups:\t \n" TAIL, -EBADMSG, 0, 0, 0, 0 },
	{ "Name:\tx\nTgid:\t0\nPPid:\t1\n" CREDS "Groups:\t \n" TAIL, -EBADMSG, 0, 0, 0, 0 },
	{ "Name:\tx\nTgid:\t2147483648\nPPid:\t1\n" CREDS "Groups:\t \n" TAIL, -EBADMSG, 0, 0, 0, 0 },
	{ "Name:\tx\nTgid:\t\nPPid:\t1\n" CREDS "Groups:\t \n" TAIL, -EBADMSG, 0, 0, 0, 0 },
	{ "Name:\tx\n" IDS CREDS TAIL, -EBADMSG, 0, 0, 0, 0 },
	{ "Name:\tx\n" IDS CREDS "Groups:\t \nKthread:\tyes\n" TAIL, -EBADMSG, 0, 0, 0, 0 },
	{ "\n", -EBADMSG, 0, 0, 0, 0 },
};

START_TEST(believes_only_well_formed_statuses)
{
	struct proc_status s = { 0 };

	ck_assert_int_eq(proc_status_parse(statuses[_i].text, strlen(statuses[_i].text), &s), statuses[_i].r);
	if (statuses[_i].r == 0) {
		ck_assert_int_eq(s.kthread, statuses[_i].kthread);
		ck_assert_str_eq(s.comm, statuses[_i].comm);
		ck_assert_uint_eq(s.n_groups, statuses[_i].n_groups);
		ck_assert_uint_eq(s.n_nspid, statuses[_i].n_nspid);
	}
	free(s.groups);
}
END_TEST

START_TEST(refuses_a_nul_byte)
{
	char text[] = WHOLE;
	struct proc_status s;

	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		char c = text[n];
		text[n] = '\0';
		ck_assert_int_eq(proc_status_parse(text, sizeof(text) - 1, &s), -EBADMSG);
		text[n] = c;
	}
}
END_TEST

/* NGROUPS_MAX is 65536. */
START_TEST(takes_as_many_groups_as_linux_allows_and_no_more)
{
	enum { MAX = 65536 };
	size_t size = 2048 + (MAX + 1) * 12, n;
	char *text = malloc(size);
	struct proc_status s;

	for (uint32_t extra = 0; extra < 2; extra++) {
		n = (size_t)sprintf(text, "Name:\tx\n" IDS CREDS "Groups:\t");
		for (uint32_t g = 0; g < MAX + extra; g++)
			n += (size_t)sprintf(text + n, "%u ", 4294900000u + g % 60000);
		n += (size_t)sprintf(text + n, "\nKthread:\t0\n" TAIL);
		ck_assert_int_eq(proc_status_parse(text, n, &s), extra ? -EBADMSG : 0);
		if (!extra) {
			ck_assert_uint_eq(s.n_groups, MAX);
			free(s.groups);
		}
	}
	free(text);
}
END_TEST

START_TEST(cuts_a_long_name)
{
	char text[512], name[200];
	struct proc_status s;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	int n = snprintf(text, sizeof(text), "Name:\t%s\n" IDS CREDS "Groups:\t \nKthread:\t1\n" TAIL, name);
	ck_assert_int_eq(proc_status_parse(text, (size_t)n, &s), 0);
	ck_assert_uint_eq(strlen(s.comm), sizeof(s.comm) - 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("caller_proc");
	TCase *t = tcase_create("caller_proc");
	SRunner *r = srunner_create(s);

	suite_add_tcase(s, t);
	tcase_add_loop_test(t, tells_unit_and_container_of_real_cgroups, 0,
			    (int)(sizeof(cgroups) / sizeof(cgroups[0])));
	tcase_add_test(t, cuts_names_at_the_end_of_the_room);
	tcase_add_test(t, reads_a_status);
	tcase_add_test(t, reads_its_own_status);
	tcase_add_test(t, a_status_cut_anywhere_is_refused);
	tcase_add_loop_test(t, believes_only_well_formed_statuses, 0, (int)(sizeof(statuses) / sizeof(statuses[0])));
	tcase_add_test(t, refuses_a_nul_byte);
	tcase_add_test(t, takes_as_many_groups_as_linux_allows_and_no_more);
	tcase_add_test(t, cuts_a_long_name);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
