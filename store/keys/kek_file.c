/* A KEK in a file: exactly 32 random bytes (AES-KW), or an RSA private key of 2048 to 4096 bits in PEM, not encrypted
 * (RSA-OAEP-256).
 *
 * The checks are made on the opened descriptor, not on the path: a file, of root's or our own, that nobody else can
 * read or write. The RSA key lives in OpenSSL's structures, which lie in locked memory because they are made and used
 * between crypto_secret_begin and crypto_secret_end. Why a decryption failed is dropped with OpenSSL's error queue: one
 * error for all. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/crypto/secbuf.h"
#include "store/keys/kek_provider.h"

#define PEM_MAX      16384
#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 4096

_Static_assert(RSA_BITS_MAX / 8 <= KEK_WRAPPED_MAX, "a wrapped key fits");

struct kek_file {
	struct kek base;
	uint8_t key[KEY_LEN]; /* AES-KW */
	EVP_PKEY *pkey;       /* RSA */
	EVP_PKEY_CTX *encrypt, *decrypt;
	size_t modulus_len;
};

/* ---- RSA ---- */

static int rsa_context(EVP_PKEY *pkey, int (*init)(EVP_PKEY_CTX *ctx), EVP_PKEY_CTX **ret_ctx)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);

	if (ctx && init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
	    EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, "SHA256", NULL) == 1 &&
	    EVP_PKEY_CTX_set_rsa_mgf1_md_name(ctx, "SHA256", NULL) == 1) {
		*ret_ctx = ctx;
		return 0;
	}
	EVP_PKEY_CTX_free(ctx);
	return -EIO;
}

/* The id of an RSA KEK: the first bytes of SHA-256("coffer kek id 1" NUL | SubjectPublicKeyInfo). */
static int rsa_id(EVP_PKEY *pkey, uint8_t ret_id[KEK_ID_LEN])
{
	static const char label[] = "coffer kek id 1";
	unsigned char *der = NULL;
	uint8_t digest[DIGEST_LEN];
	int len = i2d_PUBKEY(pkey, &der), r = -EIO;

	if (len > 0) {
		const struct bytes parts[] = { { label, sizeof(label) }, { der, (size_t)len } };
		r = sha256(parts, 2, digest);
	}
	OPENSSL_free(der);
	if (r == 0)
		memcpy(ret_id, digest, KEK_ID_LEN);
	return r;
}

/* An encrypted PEM would ask on the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static int not_a_key(const char *path, size_t len, char *why)
{
	return kek_why(-EINVAL, why,
		       "%.120s has %zu bytes, and is neither a key of exactly %d random bytes nor an RSA private key "
		       "in PEM without a passphrase",
		       path, len, KEY_LEN);
}

static int rsa_load(struct kek_file *k, const void *pem, size_t len, const char *path, char *why)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	int bits, r = -EINVAL;

	if (bio)
		k->pkey = PEM_read_bio_PrivateKey_ex(bio, NULL, no_passphrase, NULL, NULL, NULL);
	BIO_free(bio);
	if (!k->pkey || !EVP_PKEY_is_a(k->pkey, "RSA"))
		return not_a_key(path, len, why);
	bits = EVP_PKEY_get_bits(k->pkey);
	if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX || bits % 8 != 0)
		return kek_why(-EINVAL, why, "%.120s is an RSA key of %d bits, which is not one of %d to %d", path,
			       bits, RSA_BITS_MIN, RSA_BITS_MAX);
	k->modulus_len = (size_t)bits / 8;
	k->base.alg = KEK_ALG_RSA_OAEP_256;
	r = rsa_id(k->pkey, k->base.id);
	if (r == 0)
		r = rsa_context(k->pkey, EVP_PKEY_encrypt_init, &k->encrypt);
	if (r == 0)
		r = rsa_context(k->pkey, EVP_PKEY_decrypt_init, &k->decrypt);
	return r;
}

/* What OpenSSL looks up on the way (decoders, key managers) it keeps for the life of the process, and a forked child
 * uses it. So it first goes that way in ordinary memory, with a key that does not matter; then only the key itself
 * comes to lie in the arena. */
static void rsa_warm_up(void)
{
	static const uint8_t nothing[KEY_LEN];
	unsigned char cipher[128], plain[128];
	size_t cipher_len = sizeof(cipher), plain_len = sizeof(plain);
	EVP_PKEY *made = EVP_RSA_gen(1024), *read = NULL;
	EVP_PKEY_CTX *encrypt = NULL, *decrypt = NULL;
	BIO *bio = BIO_new(BIO_s_mem());
	uint8_t id[KEK_ID_LEN];

	if (!made || !bio || PEM_write_bio_PrivateKey(bio, made, NULL, NULL, 0, NULL, NULL) != 1)
		goto out;
	read = PEM_read_bio_PrivateKey_ex(bio, NULL, no_passphrase, NULL, NULL, NULL);
	if (!read || rsa_id(read, id) < 0 || rsa_context(read, EVP_PKEY_encrypt_init, &encrypt) < 0 ||
	    rsa_context(read, EVP_PKEY_decrypt_init, &decrypt) < 0)
		goto out;
	if (EVP_PKEY_encrypt(encrypt, cipher, &cipher_len, nothing, sizeof(nothing)) == 1)
		(void)EVP_PKEY_decrypt(decrypt, plain, &plain_len, cipher, cipher_len);
out:
	EVP_PKEY_CTX_free(encrypt);
	EVP_PKEY_CTX_free(decrypt);
	EVP_PKEY_free(read);
	EVP_PKEY_free(made);
	BIO_free(bio);
}

static int rsa_wrap(struct kek_file *k, const uint8_t key[KEY_LEN], uint8_t ret_wrapped[KEK_WRAPPED_MAX],
		    size_t *ret_len)
{
	size_t len = KEK_WRAPPED_MAX;

	if (EVP_PKEY_encrypt(k->encrypt, ret_wrapped, &len, key, KEY_LEN) != 1 || len != k->modulus_len)
		return -EIO;
	*ret_len = len;
	return 0;
}

static int rsa_unwrap(struct kek_file *k, const uint8_t *wrapped, size_t len, uint8_t ret_key[KEY_LEN])
{
	uint8_t *out;
	size_t n = KEK_WRAPPED_MAX;
	int r = -EBADMSG;

	if (len != k->modulus_len)
		return -EBADMSG;
	out = secmem_alloc(KEK_WRAPPED_MAX);
	if (!out)
		return -ENOMEM;
	if (EVP_PKEY_decrypt(k->decrypt, out, &n, wrapped, len) == 1 && n == KEY_LEN) {
		memcpy(ret_key, out, KEY_LEN);
		r = 0;
	}
	secmem_free(out, KEK_WRAPPED_MAX);
	return r;
}

/* ---- operations ---- */

static int file_wrap(struct kek *base, const uint8_t key[KEY_LEN], uint8_t ret_wrapped[KEK_WRAPPED_MAX],
		     size_t *ret_len)
{
	struct kek_file *k = (struct kek_file *)base;
	int r;

	if (base->alg == KEK_ALG_AES_KW) {
		r = key_wrap(k->key, key, ret_wrapped);
		if (r == 0)
			*ret_len = KW_LEN;
		return r;
	}
	crypto_secret_begin();
	r = rsa_wrap(k, key, ret_wrapped, ret_len);
	crypto_secret_end();
	ERR_clear_error();
	return r;
}

static int file_unwrap(struct kek *base, const uint8_t *wrapped, size_t len, uint8_t ret_key[KEY_LEN])
{
	struct kek_file *k = (struct kek_file *)base;
	int r;

	if (base->alg == KEK_ALG_AES_KW)
		return key_unwrap(k->key, wrapped, len, ret_key);
	crypto_secret_begin();
	r = rsa_unwrap(k, wrapped, len, ret_key);
	crypto_secret_end();
	ERR_clear_error();
	return r;
}

static void file_close(struct kek *base)
{
	struct kek_file *k = (struct kek_file *)base;

	EVP_PKEY_CTX_free(k->encrypt);
	EVP_PKEY_CTX_free(k->decrypt);
	EVP_PKEY_free(k->pkey);
	secmem_free(k, sizeof(*k));
}

/* A key from the file's content. */
static int file_load(const struct secbuf *content, const char *path, struct kek **ret_kek, char *why)
{
	struct kek_file *k = secmem_alloc(sizeof(*k));
	int r;

	if (!k)
		return kek_why(-ENOMEM, why, "no locked memory left for the key");
	k->base.ops = &kek_file_ops;
	if (secbuf_len(content) == KEY_LEN) {
		k->base.alg = KEK_ALG_AES_KW;
		memcpy(k->key, secbuf_cdata(content), KEY_LEN);
		r = kek_id_symmetric(k->key, k->base.id);
	} else {
		static pthread_once_t once = PTHREAD_ONCE_INIT;
		(void)pthread_once(&once, rsa_warm_up);
		crypto_secret_begin();
		r = rsa_load(k, secbuf_cdata(content), secbuf_len(content), path, why);
		crypto_secret_end();
		ERR_clear_error();
	}
	if (r < 0) {
		file_close(&k->base);
		return r;
	}
	*ret_kek = &k->base;
	return 0;
}

static int file_path(const char *uri, const char **ret_path, char *why)
{
	const char *path = uri + strlen("file:");

	if (path[0] != '/' || path[strlen(path) - 1] == '/' || strlen(path) >= PATH_MAX)
		return kek_why(-EINVAL, why, "\"%.150s\": write file: and the absolute path of the key file", uri);
	*ret_path = path;
	return 0;
}

/* ---- reading ---- */

static int file_check(int fd, const char *path, size_t *ret_size, char *why)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return kek_why(-errno, why, "%.150s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return kek_why(-EINVAL, why, "%.150s is not a regular file", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return kek_why(-EACCES, why, "the key file is user %u's: run chown root %.150s", st.st_uid, path);
	if (st.st_mode & 077)
		return kek_why(-EACCES, why, "others can use the key file: run chmod 600 %.150s", path);
	if (st.st_size == 0 || st.st_size > PEM_MAX)
		return not_a_key(path, (size_t)st.st_size, why);
	*ret_size = (size_t)st.st_size;
	return 0;
}

/* A file that changes while it is read is an error. */
static int file_read(int fd, size_t size, struct secbuf **ret_content)
{
	struct secbuf *b = NULL;
	size_t at = 0;
	int r = secbuf_new(size + 1, &b);

	if (r < 0)
		return r;
	for (;;) {
		ssize_t n = pread(fd, secbuf_data(b) + at, size + 1 - at, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	if (at != size) {
		secbuf_free(b);
		return -EIO;
	}
	(void)secbuf_set_len(b, size);
	*ret_content = b;
	return 0;
}

static int file_open(const struct kek_source *src, struct kek **ret_kek, char *why)
{
	struct secbuf *content = NULL;
	const char *path;
	size_t size = 0;
	int fd = src->fd > 0 ? src->fd : -1, r;

	r = file_path(src->uri, &path, why);
	if (r < 0)
		return r;
	if (fd < 0) /* O_NONBLOCK: a FIFO in its place must not hold us */
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return kek_why(-errno, why, "cannot open the key file %.150s: %s", path, strerror(errno));
	r = file_check(fd, path, &size, why);
	if (r < 0)
		goto out;
	r = file_read(fd, size, &content);
	if (r < 0) {
		kek_why(r, why, "cannot read the key file %.150s: %s", path, strerror(-r));
		goto out;
	}
	r = file_load(content, path, ret_kek, why);
out:
	secbuf_free(content);
	if (fd != src->fd)
		close(fd);
	return r;
}

/* ---- making ---- */

static int sync_parent(const char *path)
{
	char copy[PATH_MAX];
	int fd, r = 0;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		r = -errno;
	close(fd);
	return r;
}

static int file_write(int fd, const struct secbuf *content)
{
	ssize_t n;

	if (fchmod(fd, 0600) < 0)
		return -errno;
	do
		n = write(fd, secbuf_cdata(content), secbuf_len(content));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if ((size_t)n != secbuf_len(content))
		return -EIO;
	return fsync(fd) < 0 ? -errno : 0;
}

static int file_create(const struct kek_source *src, char ret_params[KEK_PARAMS_MAX], struct kek **ret_kek, char *why)
{
	struct secbuf *content = NULL;
	struct kek *k = NULL;
	const char *path;
	int fd = -1, r;

	r = file_path(src->uri, &path, why);
	if (r < 0)
		return r;
	r = secbuf_new(KEY_LEN, &content);
	if (r == 0)
		r = random_bytes(secbuf_data(content), KEY_LEN);
	if (r < 0)
		goto out;
	(void)secbuf_set_len(content, KEY_LEN);
	r = file_load(content, path, &k, why);
	if (r < 0)
		goto out;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST) {
		r = kek_why(-EEXIST, why,
			    "%.120s exists already: if it is no vault's key any more, move it away; it is never "
			    "overwritten",
			    path);
		goto out;
	}
	r = fd < 0 ? -errno : file_write(fd, content);
	if (r == 0)
		r = sync_parent(path);
	if (r < 0) {
		kek_why(r, why, "cannot make the key file %.150s: %s", path, strerror(-r));
		if (fd >= 0)
			unlink(path);
		goto out;
	}
	ret_params[0] = '\0';
	*ret_kek = k;
	k = NULL;
out:
	if (fd >= 0)
		close(fd);
	kek_close(k);
	secbuf_free(content);
	return r;
}

const struct kek_ops kek_file_ops = {
	.scheme = "file",
	.in_file = true,
	.create = file_create,
	.open = file_open,
	.wrap = file_wrap,
	.unwrap = file_unwrap,
	.close = file_close,
};
