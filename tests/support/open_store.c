#include "open_store.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "store/keys/kek_provider.h"
#include "store/keys/keys.h"
#include "store/keys/vaultconf.h"
#include "store/store.h"

#define ARENA (8u << 20)

static int open_keys(const struct vaultconf *conf, struct keys **ret_keys, char *why, size_t why_len)
{
	struct kek_source source = { .uri = conf->kek, .params = conf->kek_params, .fd = -1 };
	struct kek *kek = NULL;
	int r = kek_open(&source, &kek, why, why_len);

	return r < 0 ? r : keys_new_local(kek, ret_keys);
}

int open_store(const char *dir, struct opened *ret, char *why, size_t why_len)
{
	int fd, r;

	*ret = (struct opened){ 0 };
	r = secmem_init(ARENA, SECMEM_AUTO);
	if (r == 0)
		r = crypto_init();
	if (r < 0)
		return r;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? -errno : vaultconf_read(fd, &ret->conf, why, why_len);
	if (fd >= 0)
		close(fd);
	if (r == 0)
		r = open_keys(&ret->conf, &ret->keys, why, why_len);
	if (r == 0)
		r = store_open(&(struct store_config){ .dir = dir, .conf = &ret->conf }, &ret->store, why, why_len);
	return r < 0 ? r : store_unlock(ret->store, ret->keys, why, why_len);
}

void open_store_end(struct opened *o)
{
	store_close(o->store);
	keys_free(o->keys);
}
