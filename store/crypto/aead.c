/* Where keys lie while OpenSSL works with them:
 *
 *   AES-GCM     one context for each thread, made in locked memory, given a key of zeros after each call, and freed
 *               with the thread
 *   AES-KW      a context in locked memory for each call
 *   SHA-256,    the block functions on a state on our own stack, wiped before return. EVP would allocate, and would
 *               cost
 *   HMAC, HKDF  more than the hash: HMAC() takes 2.2 µs for 300 bytes where this takes 0.4
 *   scrypt      contexts in locked memory; the big table is ordinary memory, which OpenSSL wipes */
#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_Init and its like */
#include "store/crypto/aead.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "store/crypto/secbuf.h"

#define SECRET_BLOCK_MAX ((size_t)256 << 10) /* more than any context or RSA temporary; less than scrypt's table */
#define BLOCK_LEN        64                  /* SHA-256's */
#define SCRYPT_MEMORY    ((uint64_t)1 << 30)

static struct {
	pthread_once_t once;
	bool ready;
	EVP_CIPHER *gcm, *kw;
	pthread_key_t thread_end;
} crypto = { .once = PTHREAD_ONCE_INIT };

static __thread unsigned secret_depth;
static __thread EVP_CIPHER_CTX *thread_gcm;

/* ---- OpenSSL's allocator ---- */

struct block_head {
	size_t size; /* with the head; a block is freed by its size */
	size_t pad;  /* keeps what follows aligned to 16 */
};

static void *secret_malloc(size_t n)
{
	struct block_head *head = secmem_alloc(n + sizeof(*head));

	if (!head)
		return NULL;
	head->size = n + sizeof(*head);
	return head + 1;
}

static void *crypto_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return secret_depth && n <= SECRET_BLOCK_MAX ? secret_malloc(n) : malloc(n);
}

static void crypto_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	switch (secmem_place(p)) {
	case SECMEM_HERE:
		secmem_free((struct block_head *)p - 1, ((struct block_head *)p)[-1].size);
		break;
	case SECMEM_LOST: /* went away with the fork */
		break;
	case SECMEM_ELSEWHERE:
		free(p);
	}
}

/* A block stays in the memory that it began in. */
static void *crypto_realloc(void *p, size_t n, const char *file, int line)
{
	size_t had;
	void *q;

	if (!p)
		return crypto_malloc(n, file, line);
	if (n == 0) {
		crypto_free(p, file, line);
		return NULL;
	}
	if (secmem_place(p) == SECMEM_ELSEWHERE)
		return realloc(p, n);
	had = ((struct block_head *)p)[-1].size - sizeof(struct block_head);
	q = secret_malloc(n);
	if (!q)
		return NULL;
	memcpy(q, p, n < had ? n : had);
	crypto_free(p, file, line);
	return q;
}

void crypto_secret_begin(void) { secret_depth++; }

void crypto_secret_end(void)
{
	assert(secret_depth > 0);
	secret_depth--;
}

/* ---- start ---- */

static void thread_done(void *ctx)
{
	thread_gcm = NULL;
	EVP_CIPHER_CTX_free(ctx);
}

/* The contexts lie in the arena, which the child does not have. */
static void forget_in_child(void)
{
	if (thread_gcm)
		(void)pthread_setspecific(crypto.thread_end, NULL);
	thread_gcm = NULL;
}

static void init_once(void)
{
	uint8_t warm[KEY_LEN];

	if (CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) != 1)
		return;
	if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL) != 1)
		return;
	crypto.gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	crypto.kw = EVP_CIPHER_fetch(NULL, "AES-256-WRAP", NULL);
	if (!crypto.gcm || !crypto.kw)
		return;
	/* OpenSSL keeps what it looks up for scrypt: let it do that now, in ordinary memory, with N = 2. */
	if (EVP_PBE_scrypt("", 0, (const unsigned char *)"", 0, 2, 1, 1, SCRYPT_MEMORY, warm, sizeof(warm)) != 1)
		return;
	if (pthread_key_create(&crypto.thread_end, thread_done) != 0)
		return;
	crypto.ready = pthread_atfork(NULL, NULL, forget_in_child) == 0;
}

int crypto_init(void)
{
	if (secmem_kind() == SECMEM_NONE)
		return -ENOTSUP;
	if (pthread_once(&crypto.once, init_once) != 0)
		return -ENOTSUP;
	return crypto.ready ? 0 : -ENOTSUP;
}

int random_bytes(void *ret, size_t n)
{
	uint8_t *p = ret;

	while (n > 0) {
		ssize_t got = getrandom(p, n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -EIO;
		p += got;
		n -= (size_t)got;
	}
	return 0;
}

int secret_cmp(const void *a, const void *b, size_t n) { return CRYPTO_memcmp(a, b, n); }

/* ---- AES-256-GCM ---- */

static int gcm_context(EVP_CIPHER_CTX **ret_ctx)
{
	EVP_CIPHER_CTX *ctx;

	if (thread_gcm) {
		*ret_ctx = thread_gcm;
		return 0;
	}
	if (!crypto.ready)
		return -EIO;
	crypto_secret_begin();
	ctx = EVP_CIPHER_CTX_new();
	if (ctx && EVP_CipherInit_ex2(ctx, crypto.gcm, NULL, NULL, 1, NULL) != 1) {
		EVP_CIPHER_CTX_free(ctx);
		ctx = NULL;
	}
	crypto_secret_end();
	if (!ctx || pthread_setspecific(crypto.thread_end, ctx) != 0) {
		EVP_CIPHER_CTX_free(ctx);
		ERR_clear_error();
		return -ENOMEM;
	}
	*ret_ctx = thread_gcm = ctx;
	return 0;
}

/* A key of zeros over the schedule of the last one, so that a sealed vault has none in any thread. */
static void gcm_forget(EVP_CIPHER_CTX *ctx)
{
	static const uint8_t zero[KEY_LEN];

	if (EVP_CipherInit_ex2(ctx, NULL, zero, NULL, 1, NULL) == 1)
		return;
	(void)pthread_setspecific(crypto.thread_end, NULL);
	thread_gcm = NULL;
	EVP_CIPHER_CTX_free(ctx);
}

static int gcm_run(EVP_CIPHER_CTX *ctx, int enc, const uint8_t *key, const uint8_t *nonce, struct bytes aad,
		   const void *in, size_t len, void *out)
{
	int n = 0;

	if (EVP_CipherInit_ex2(ctx, NULL, key, nonce, enc, NULL) != 1)
		return -EIO;
	if (aad.len && EVP_CipherUpdate(ctx, NULL, &n, aad.data, (int)aad.len) != 1)
		return -EIO;
	if (len && EVP_CipherUpdate(ctx, out, &n, in, (int)len) != 1)
		return -EIO;
	return 0;
}

int aead_seal(const uint8_t key[KEY_LEN], const uint8_t nonce[NONCE_LEN], struct bytes aad, const void *plain,
	      size_t len, void *ret_cipher, uint8_t ret_tag[TAG_LEN])
{
	EVP_CIPHER_CTX *ctx;
	uint8_t none[TAG_LEN];
	int n = 0, r;

	if (len > INT_MAX || aad.len > INT_MAX)
		return -EIO;
	r = gcm_context(&ctx);
	if (r < 0)
		return r;
	r = gcm_run(ctx, 1, key, nonce, aad, plain, len, ret_cipher);
	if (r == 0 && (EVP_CipherFinal_ex(ctx, none, &n) != 1 ||
		       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, ret_tag) != 1))
		r = -EIO;
	gcm_forget(ctx);
	if (r < 0) {
		ERR_clear_error();
		secmem_wipe(ret_cipher, len);
	}
	return r;
}

int aead_open(const uint8_t key[KEY_LEN], const uint8_t nonce[NONCE_LEN], struct bytes aad, const void *cipher,
	      size_t len, const uint8_t tag[TAG_LEN], void *ret_plain)
{
	EVP_CIPHER_CTX *ctx;
	uint8_t expected[TAG_LEN], none[TAG_LEN];
	int n = 0, r;

	if (len > INT_MAX || aad.len > INT_MAX)
		return -EIO;
	r = gcm_context(&ctx);
	if (r < 0)
		return r;
	memcpy(expected, tag, TAG_LEN);
	r = gcm_run(ctx, 0, key, nonce, aad, cipher, len, ret_plain);
	if (r == 0 && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, expected) != 1)
		r = -EIO;
	if (r == 0 && EVP_CipherFinal_ex(ctx, none, &n) != 1)
		r = -EBADMSG;
	gcm_forget(ctx);
	if (r < 0) {
		ERR_clear_error();
		secmem_wipe(ret_plain, len);
	}
	return r;
}

/* ---- SHA-256 and what is made of it ---- */

static int sha_parts(SHA256_CTX *c, const struct bytes *parts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (parts[i].len && SHA256_Update(c, parts[i].data, parts[i].len) != 1)
			return -EIO;
	return 0;
}

int sha256(const struct bytes *parts, size_t n, uint8_t ret[DIGEST_LEN])
{
	SHA256_CTX c;
	int r = -EIO;

	if (SHA256_Init(&c) == 1 && sha_parts(&c, parts, n) == 0 && SHA256_Final(ret, &c) == 1)
		r = 0;
	secmem_wipe(&c, sizeof(c));
	return r;
}

/* RFC 2104; the key is shorter than a block, so it is padded and never hashed. */
int hmac256(const uint8_t key[KEY_LEN], const struct bytes *parts, size_t n, uint8_t ret[DIGEST_LEN])
{
	struct {
		SHA256_CTX c;
		uint8_t pad[BLOCK_LEN];
		uint8_t inner[DIGEST_LEN];
	} s;
	int r = -EIO;

	memset(s.pad, 0x36, sizeof(s.pad));
	for (size_t i = 0; i < KEY_LEN; i++)
		s.pad[i] ^= key[i];
	if (SHA256_Init(&s.c) != 1 || SHA256_Update(&s.c, s.pad, BLOCK_LEN) != 1 || sha_parts(&s.c, parts, n) < 0 ||
	    SHA256_Final(s.inner, &s.c) != 1)
		goto out;
	for (size_t i = 0; i < BLOCK_LEN; i++)
		s.pad[i] ^= 0x36 ^ 0x5c;
	if (SHA256_Init(&s.c) != 1 || SHA256_Update(&s.c, s.pad, BLOCK_LEN) != 1 ||
	    SHA256_Update(&s.c, s.inner, DIGEST_LEN) != 1 || SHA256_Final(ret, &s.c) != 1)
		goto out;
	r = 0;
out:
	secmem_wipe(&s, sizeof(s));
	return r;
}

/* One block of output is one step of expand: T(1) = HMAC(PRK, info | 0x01). */
int hkdf256(const uint8_t key[KEY_LEN], const char *label, struct bytes context, uint8_t ret[KEY_LEN])
{
	static const uint8_t no_salt[KEY_LEN], one = 1;
	const struct bytes ikm = { key, KEY_LEN };
	const struct bytes info[] = { { label, strlen(label) }, context, { &one, 1 } };
	uint8_t prk[KEY_LEN];
	int r;

	r = hmac256(no_salt, &ikm, 1, prk);
	if (r == 0)
		r = hmac256(prk, info, 3, ret);
	secmem_wipe(prk, sizeof(prk));
	return r;
}

/* ---- AES-256-KW ---- */

static int kw_run(int enc, const uint8_t *kek, const uint8_t *in, int len, uint8_t *out, int *ret_len)
{
	EVP_CIPHER_CTX *ctx;
	int n = 0, r = -ENOMEM;

	if (!crypto.ready)
		return -EIO;
	crypto_secret_begin();
	ctx = EVP_CIPHER_CTX_new();
	if (!ctx)
		goto out;
	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	if (EVP_CipherInit_ex2(ctx, crypto.kw, kek, NULL, enc, NULL) != 1)
		goto out;
	r = -EBADMSG;
	if (EVP_CipherUpdate(ctx, out, &n, in, len) != 1)
		goto out;
	*ret_len = n;
	r = 0;
out:
	EVP_CIPHER_CTX_free(ctx);
	crypto_secret_end();
	if (r < 0)
		ERR_clear_error();
	return r;
}

int key_wrap(const uint8_t kek[KEY_LEN], const uint8_t key[KEY_LEN], uint8_t ret_wrapped[KW_LEN])
{
	int n = 0, r = kw_run(1, kek, key, KEY_LEN, ret_wrapped, &n);

	if (r == -EBADMSG || (r == 0 && n != KW_LEN))
		r = -EIO;
	return r;
}

int key_unwrap(const uint8_t kek[KEY_LEN], const uint8_t *wrapped, size_t len, uint8_t ret_key[KEY_LEN])
{
	uint8_t out[KW_LEN]; /* OpenSSL may write a block more than the key */
	int n = 0, r;

	if (len != KW_LEN)
		return -EBADMSG;
	r = kw_run(0, kek, wrapped, KW_LEN, out, &n);
	if (r == 0 && n != KEY_LEN)
		r = -EBADMSG;
	if (r == 0)
		memcpy(ret_key, out, KEY_LEN);
	secmem_wipe(out, sizeof(out));
	return r;
}

/* ---- scrypt ---- */

int scrypt256(struct bytes passphrase, struct bytes salt, unsigned ln, unsigned r, unsigned p, uint8_t ret_key[KEY_LEN])
{
	int ok;

	if (ln < 1 || ln > 24)
		return -EIO;
	crypto_secret_begin();
	ok = EVP_PBE_scrypt(passphrase.data, passphrase.len, salt.data, salt.len, (uint64_t)1 << ln, r, p,
			    SCRYPT_MEMORY, ret_key, KEY_LEN);
	crypto_secret_end();
	if (ok == 1)
		return 0;
	ERR_clear_error();
	secmem_wipe(ret_key, KEY_LEN);
	return -EIO;
}
