/* Temporary directories and keys for the tests of KEKs. */
#ifndef COFFER_TESTS_KEK_SUPPORT_H
#define COFFER_TESTS_KEK_SUPPORT_H

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto_support.h"
#include "store/keys/kek.h"
#include "store/keys/kek_provider.h"

#define CHEAP "passphrase:?ln=15" /* the lowest cost there is */

static char test_dir[32];

static inline void dir_setup(void)
{
	crypto_setup();
	snprintf(test_dir, sizeof(test_dir), "/tmp/coffer-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(test_dir));
}

/* Files that the tests make, by name: nothing walks a tree as root. */
static inline void dir_teardown(void)
{
	static const char *const names[] = { "kek", "rsa", "vault.conf", "vault.conf.new", "sock", "link" };
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", test_dir, names[i]);
		(void)unlink(path);
	}
	ck_assert_int_eq(rmdir(test_dir), 0);
}

static inline const char *path_of(const char *name)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/%s", test_dir, name);
	return path;
}

static inline const char *uri_of(const char *name)
{
	static char uri[160];

	snprintf(uri, sizeof(uri), "file:%s/%s", test_dir, name);
	return uri;
}

static inline void write_file(const char *name, const void *data, size_t len, mode_t mode)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
}

static inline void write_pem(const char *name, EVP_PKEY *pkey, const char *password)
{
	FILE *f = fopen(path_of(name), "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(pkey);
	ck_assert_int_eq(PEM_write_PrivateKey(f, pkey, password ? EVP_aes_256_cbc() : NULL, NULL, 0, NULL,
					      password ? (void *)(uintptr_t)password : NULL),
			 1);
	fclose(f);
	ck_assert_int_eq(chmod(path_of(name), 0600), 0);
	EVP_PKEY_free(pkey);
}

static inline struct kek *open_kek(const char *uri, const char *params, const char *passphrase)
{
	struct kek_source src = { .uri = uri,
				  .params = params,
				  .fd = -1,
				  .passphrase = passphrase,
				  .passphrase_len = passphrase ? strlen(passphrase) : 0 };
	char why[KEK_WHY_MAX] = "";
	struct kek *k = NULL;
	int r = kek_open(&src, &k, why, sizeof(why));

	ck_assert_msg(r == 0, "%d: %s", r, why);
	return k;
}

/* A new 32-byte key file. */
static inline struct kek *file_kek(void)
{
	struct kek_source src = { .uri = uri_of("kek"), .fd = -1 };
	char why[KEK_WHY_MAX] = "", params[KEK_PARAMS_MAX];
	struct kek *k = NULL;
	int r = kek_create(&src, params, &k, why, sizeof(why));

	ck_assert_msg(r == 0, "%d: %s", r, why);
	return k;
}

static inline struct kek *rsa_kek(void)
{
	write_pem("rsa", EVP_RSA_gen(2048), NULL);
	return open_kek(uri_of("rsa"), NULL, NULL);
}

#endif
