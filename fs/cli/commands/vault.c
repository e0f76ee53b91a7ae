#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/cli/common/cli.h"
#include "fs/cli/common/client.h"
#include "fs/cli/common/input.h"
#include "fs/cli/common/output.h"
#include "store/keys/keyholder.h"
#include "store/keys/vaultconf.h"
#include "fs/cli/commands/commands.h"

#define UNSEAL_SOCKET  "unseal.sock"
#define UNSEAL_WAIT_MS 15000 /* every row's MAC is verified before the vault serves */
#define UNSEAL_POLL_MS 50

static int show_object(struct cli *c, const char *op)
{
	json_t *answer = NULL, *inner;
	int status = client_ask(c, json_pack("{s:s}", "op", op), &answer);

	if (status)
		return status;
	json_object_del(answer, "ok");
	inner = json_object_get(answer, op);
	status = output_object(c, json_is_object(inner) ? inner : answer);
	json_decref(answer);
	return status;
}

int cmd_whoami(struct cli *c, const struct args *a)
{
	(void)a;
	return show_object(c, "whoami");
}

int cmd_status(struct cli *c, const struct args *a)
{
	(void)a;
	return show_object(c, "status");
}

int cmd_seal(struct cli *c, const struct args *a)
{
	json_t *answer = NULL;
	int status = confirm(a, "Sealing stops the vault: nothing is served until root gives it its key again.");

	if (status)
		return status;
	status = client_change(c, json_pack("{s:s}", "op", "seal"), NULL, 0, &answer);
	if (status == EXIT_DONE)
		printf("sealed; nothing is served until: %s unseal\n", mount_command(c->mount.path));
	json_decref(answer);
	return status;
}

/* 1: sealed, 0: not, negative: could not be asked. */
static int sealed(const struct mount *m)
{
	json_t *request = json_pack("{s:s}", "op", "status"), *answer = NULL;
	const json_t *object;
	int r;

	r = request ? client_exchange(m->path, request, false, NULL, 0, &answer) : -ENOMEM;
	json_decref(request);
	if (r < 0)
		return r;
	object = json_is_object(json_object_get(answer, "status")) ? json_object_get(answer, "status") : answer;
	r = json_is_boolean(json_object_get(object, "sealed")) ? json_is_true(json_object_get(object, "sealed"))
							       : -EACCES;
	json_decref(answer);
	return r;
}

static int wait_unsealed(const struct mount *m)
{
	const struct timespec pause = { .tv_nsec = UNSEAL_POLL_MS * 1000000 };
	int r = 1;

	for (int waited = 0; waited < UNSEAL_WAIT_MS; waited += UNSEAL_POLL_MS) {
		r = sealed(m);
		if (r <= 0)
			break;
		nanosleep(&pause, NULL);
	}
	if (r > 0)
		return fail(EXIT_UNAVAILABLE,
			    "the key was accepted but the vault has not opened yet; see: " COFFER " status");
	/* Not everybody who may unseal may see the status. */
	printf("unsealed\n");
	return EXIT_DONE;
}

/* Does the vault's KEK want a passphrase? EXIT_DONE, or with the error printed. */
static int wants_passphrase(const char *store, bool *ret_wants)
{
	struct vaultconf conf;
	char why[256] = "";
	int fd = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0)
		return fail(EXIT_ERROR, "cannot open the store %s: %s", store, strerror(errno));
	r = vaultconf_read(fd, &conf, why, sizeof(why));
	close(fd);
	if (r < 0)
		return fail(exit_for_errno(r), "%s/vault.conf: %s", store, *why ? why : strerror(-r));
	*ret_wants = kek_asks(conf.kek) == KEK_ASKS_PASSPHRASE;
	return EXIT_DONE;
}

int cmd_unseal(struct cli *c, const struct args *a)
{
	struct secbuf *passphrase = NULL;
	const struct mount *m;
	char path[PATH_MAX + 32], why[256] = "";
	bool wants = false;
	int status = cli_mount(c, &m), r;

	(void)a;
	if (status)
		return status;
	if (geteuid() != 0)
		return fail(EXIT_DENIED, "unsealing is for root: sudo %s unseal", mount_command(m->path));
	if (sealed(m) == 0) {
		note("the vault is not sealed");
		return EXIT_DONE;
	}
	status = wants_passphrase(m->store, &wants);
	if (status == EXIT_DONE)
		status = input_prepare(1);
	if (status == EXIT_DONE && wants)
		status = input_passphrase("Passphrase: ", false, &passphrase);
	if (status)
		return status;
	snprintf(path, sizeof(path), "%s/" UNSEAL_SOCKET, m->store);
	r = keyholder_unseal(path, passphrase ? secbuf_cdata(passphrase) : NULL,
			     passphrase ? secbuf_len(passphrase) : 0, why, sizeof(why));
	passphrase = secbuf_free(passphrase);
	if (r == -EKEYREJECTED)
		return fail(EXIT_DENIED, "%s; the vault is mounted and stays sealed; try again: " COFFER " unseal",
			    *why    ? why
			    : wants ? "that is not the passphrase"
				    : "that is not the vault's key");
	if (r == -ENOENT || r == -ECONNREFUSED)
		return fail(EXIT_UNAVAILABLE, "nobody listens at %s; is the daemon running? see: " COFFER " doctor",
			    path);
	if (r < 0)
		return fail(exit_for_errno(r), "cannot unseal: %s; see: " COFFER " doctor", *why ? why : strerror(-r));
	return wait_unsealed(m);
}
