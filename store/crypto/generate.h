/* New values, made in locked memory. A generator is named by a word and its parameters:
 *
 *   random:N[:raw|hex|base64]     N random bytes, 16 to 65536, as they are or as text without a newline (default
 *                                 base64)
 *   password:N[:CLASS+CLASS…]     N characters, 8 to 1024, of lower, upper, digits, symbols (default
 *                                 lower+upper+digits), at least one of each class
 *   uuid                          a random UUID, RFC 9562 §5.4
 *   rsa:2048|3072|4096            a private key, PKCS #8 in PEM
 *   ec:p256|p384|p521             likewise
 *   ed25519                       likewise, RFC 8410 */
#ifndef COFFER_STORE_CRYPTO_GENERATE_H
#define COFFER_STORE_CRYPTO_GENERATE_H

#include <stdint.h>

struct secbuf;

enum generator_kind {
	GENERATOR_RANDOM = 1,
	GENERATOR_PASSWORD,
	GENERATOR_UUID,
	GENERATOR_RSA,
	GENERATOR_EC,
	GENERATOR_ED25519
};
enum generator_encoding { GENERATOR_BASE64 = 0, GENERATOR_HEX, GENERATOR_RAW };
enum { CLASS_LOWER = 1, CLASS_UPPER = 2, CLASS_DIGITS = 4, CLASS_SYMBOLS = 8 };

struct generator {
	enum generator_kind kind;
	uint32_t n; /* bytes, characters, or bits */
	enum generator_encoding encoding;
	unsigned classes;
};

#define GENERATOR_HELP                                                                                   \
	"random:N[:raw|hex|base64], password:N[:lower+upper+digits+symbols], uuid, rsa:2048|3072|4096, " \
	"ec:p256|p384|p521, or ed25519"

int generator_parse(const char *text, struct generator *ret); /* 0 or -EINVAL */
/* A new value. An RSA key takes its time: seconds. 0, -ENOMEM, -EIO. */
int generate(const struct generator *g, struct secbuf **ret_value);

#endif
