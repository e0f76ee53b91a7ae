#include "store/keys/kek.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/crypto/secbuf.h"
#include "store/keys/kek_provider.h"

static const struct kek_ops *const providers[] = { &kek_file_ops, &kek_passphrase_ops };

#define N_PROVIDERS (sizeof(providers) / sizeof(providers[0]))

const struct kek_ops *kek_ops_for(const char *uri)
{
	for (size_t i = 0; uri && i < N_PROVIDERS; i++) {
		size_t n = strlen(providers[i]->scheme);
		if (strncmp(uri, providers[i]->scheme, n) == 0 && uri[n] == ':')
			return providers[i];
	}
	return NULL;
}

const char *kek_file(const char *uri)
{
	const struct kek_ops *ops = kek_ops_for(uri);

	return ops && ops->in_file ? uri + strlen(ops->scheme) + 1 : NULL;
}

enum kek_asks kek_asks(const char *uri)
{
	const struct kek_ops *ops = kek_ops_for(uri);

	return ops ? ops->asks : KEK_ASKS_NOTHING;
}

const char *kek_schemes(void) { return "file:, passphrase:"; }

/* One wrap and unwrap with the configured mechanism. */
static int self_test(struct kek *k)
{
	uint8_t key[KEY_LEN], back[KEY_LEN], wrapped[KEK_WRAPPED_MAX];
	size_t len = 0;
	int r = random_bytes(key, sizeof(key));

	if (r == 0)
		r = k->ops->wrap(k, key, wrapped, &len);
	if (r == 0)
		r = k->ops->unwrap(k, wrapped, len, back);
	if (r == 0 && secret_cmp(key, back, KEY_LEN) != 0)
		r = -EIO;
	secmem_wipe(key, sizeof(key));
	secmem_wipe(back, sizeof(back));
	return r == -EBADMSG ? -EIO : r;
}

static int publish(int r, const char *uri, struct kek *k, struct kek **ret_kek, const char *line, char *why,
		   size_t why_len)
{
	if (r == 0) {
		r = self_test(k);
		if (r < 0) {
			kek_close(k);
			snprintf(why, why_len,
				 "the key of %.100s fails its self-test: it does not unwrap what it wraps", uri);
			return r;
		}
		*ret_kek = k;
		return 0;
	}
	snprintf(why, why_len, "%s", line[0] ? line : strerror(-r));
	return r;
}

static const struct kek_ops *find(const struct kek_source *src, char *why, size_t why_len)
{
	const struct kek_ops *ops = kek_ops_for(src->uri);

	if (ops && strlen(src->uri) >= KEK_URI_MAX)
		ops = NULL;
	if (!ops)
		snprintf(why, why_len, "unknown key provider \"%.100s\": it is one of %s", src->uri ? src->uri : "",
			 kek_schemes());
	return ops;
}

int kek_create(const struct kek_source *src, char ret_params[KEK_PARAMS_MAX], struct kek **ret_kek, char *why,
	       size_t why_len)
{
	const struct kek_ops *ops = find(src, why, why_len);
	char line[KEK_WHY_MAX] = "", params[KEK_PARAMS_MAX] = "";
	struct kek *k = NULL;
	int r;

	if (!ops)
		return -EPROTONOSUPPORT;
	r = ops->create(src, params, &k, line);
	r = publish(r, src->uri, k, ret_kek, line, why, why_len);
	if (r == 0)
		memcpy(ret_params, params, sizeof(params));
	return r;
}

int kek_open(const struct kek_source *src, struct kek **ret_kek, char *why, size_t why_len)
{
	const struct kek_ops *ops = find(src, why, why_len);
	char line[KEK_WHY_MAX] = "";
	struct kek *k = NULL;
	int r;

	if (!ops)
		return -EPROTONOSUPPORT;
	r = ops->open(src, &k, line);
	return publish(r, src->uri, k, ret_kek, line, why, why_len);
}

enum kek_alg kek_alg(const struct kek *k) { return k->alg; }

const char *kek_provider(const struct kek *k) { return k->ops->scheme; }

void kek_id(const struct kek *k, uint8_t ret_id[KEK_ID_LEN]) { memcpy(ret_id, k->id, KEK_ID_LEN); }

int kek_wrap(struct kek *k, const uint8_t key[KEY_LEN], uint8_t ret_wrapped[KEK_WRAPPED_MAX], size_t *ret_len)
{
	return k->ops->wrap(k, key, ret_wrapped, ret_len);
}

int kek_unwrap(struct kek *k, const uint8_t *wrapped, size_t len, uint8_t ret_key[KEY_LEN])
{
	return k->ops->unwrap(k, wrapped, len, ret_key);
}
