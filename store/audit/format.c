/* The format of the audit log.
 *
 * STORE/audit/audit-%08u.jsonl (segments, numbered from 1) hold lines of ASCII JSON. Every record has every field, in
 * this order; what does not apply is null:
 *
 *   seq          number, from 0, without gaps through all segments
 *   time         string, RFC 3339, UTC, nine digits of a second: when the record was written
 *   vault, host  strings
 *   operation    string: SecretGet … (table below)
 *   result       "allow", "deny" or "error"
 *   errno        string such as "EACCES", or null
 *   secret       string or null; in a folded record "*" if there were several
 *   version      number or null
 *   caller       null: the daemon itself; else {uid, gid, pid: numbers; comm, exe: strings; loginuid: number; unit,
 *                container: strings; groups: array of numbers}, any of them null if not known (loginuid null: none).
 *                groups are the supplementary ones; of more than 24 the first ones, and then the string "..."
 *   binding      number or null; role: string or null; principal: string or null, in canonical text: what let the
 *                caller in
 *   request      "<16 hex digits of the connection>-<unique>" or null: two records with one request, operation and
 *                result are never written. One that was sent again to another worker may have two that differ in the
 *                result: the later one is what the caller was told
 *   duration_us  number
 *   count        number: 1, or how many requests a folded record stands for (AUDIT-FORMAT.md says which fold)
 *   detail       string or null: further words for a person
 *   prev         64 hex digits: h of the record before, 64 zeros in the very first
 *   mac          64 hex digits: HMAC-SHA-256(K_seq, h)
 *
 *   h        = SHA-256(body), body = the line up to, without, `,"mac":"`
 *   K_{n+1}  = HMAC-SHA-256(K_n, "coffer audit evolve"); K_0 is in the verify key file
 *
 * The MAC is over h rather than over the body, so that each record is hashed once for both chain and seal; that rests
 * on SHA-256 being collision-resistant, as the chain does anyway. The key moves by a rule that does not look at the
 * records, so that segments removed by retention can be stepped over.
 *
 * Strings: bytes 0x20 to 0x7e as they are, but \" and \\; other bytes that are valid UTF-8 as \uXXXX (pairs beyond the
 * BMP); any other byte as \\xHH, which reads back as the four characters \xHH. Longer than the limits of
 * audit_internal.h: cut, and ended with "..."; exe is cut at its beginning, where "..." then stands.
 *
 * Records that audit writes by itself:
 *   Segment  the first of each segment; detail "segment N, oldest M" (M: the lowest number that was there at that
 *            moment), and after a semicolon why, if it was neither size nor age: the segment before was removed or cut
 *            while it was open (only a Torn record at 0 may stand there instead) M is the lowest number of which no
 *            record says that it was removed; until November 2026 it was the lowest one that was there. A Torn record
 *            at 0 has "; oldest M" behind its detail
 *   SegmentRemove  detail "segment N, last record L, hash <64 hex>": retention is about to remove segment N, which ends
 *                  with record L, whose h is given. On the disk before the file goes
 *   AuditTampered  result error; detail says what: segments are gone, cut or there that retention did not remove, or
 *                  this log did not make
 *   Torn     detail "torn, L bytes at O of segment N, SHA-256 <64 hex>": the L bytes between the record before and the
 *            newline that precedes this line are no record (a process or machine died in a write). Bytes that are no
 *            record are accepted nowhere else, and a Torn record only directly after the bytes that it names.
 *
 * The head file, STORE/audit/head, is one block of 4096 bytes with a slot at 0 and one at 2048, written in turn; the
 * valid slot of the higher generation counts. A slot, little-endian:
 *   magic "cofaudh1" | generation u64 | segment u32 | 0 u32 | seq u64 | size u64 | opened i64 | prev[32] | key[32] |
 *   SHA-256 of what precedes
 * and behind it what came later (a slot without it, or with one that does not fit, is one of before; so a slot that an
 * older version wrote is not misread):
 *   magic "cofaudm1" | oldest u32 | tampered u32 | SHA-256 of the slot and of these 16 bytes
 *
 * What verify finds, with the key K_0 and the head file: a changed bit; a record dropped, doubled, reordered, moved to
 * another segment; a tail cut off before the last durable point; a log cut off and continued, or resealed, by somebody
 * who holds a later key (K_j does not follow from K_n, n > j); segments removed at the beginning that no record
 * accounts for. Accounted for is what lies before the M of the first Segment record that is there, and what a
 * SegmentRemove record names; in a log of before, up to the first record that has a principal, also what lies before
 * the M of a later Segment record. The head file accounts for nothing. What it cannot find: the tail after the last
 * durable point cut off when the machine crashed; the whole directory with its head file put back from an old copy,
 * unless it is told the daemon's head; records invented after the moment at which the key was stolen. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "store/audit/log.h"

static const struct {
	const char *name;
	size_t len;
} operations[] = {
#define OP(id, text) [id] = { text, sizeof text - 1 }
	OP(AUDIT_SECRET_GET, "SecretGet"),
	OP(AUDIT_SECRET_SET, "SecretSet"),
	OP(AUDIT_SECRET_UPDATE, "SecretUpdate"),
	OP(AUDIT_SECRET_LIST, "SecretList"),
	OP(AUDIT_SECRET_LIST_VERSIONS, "SecretListVersions"),
	OP(AUDIT_SECRET_DELETE, "SecretDelete"),
	OP(AUDIT_SECRET_RECOVER, "SecretRecover"),
	OP(AUDIT_SECRET_PURGE, "SecretPurge"),
	OP(AUDIT_SECRET_BACKUP, "SecretBackup"),
	OP(AUDIT_SECRET_RESTORE, "SecretRestore"),
	OP(AUDIT_SECRET_LIST_DELETED, "SecretListDeleted"),
	OP(AUDIT_SECRET_DESTROY, "SecretDestroy"),
	OP(AUDIT_BINDING_CREATE, "BindingCreate"),
	OP(AUDIT_BINDING_DELETE, "BindingDelete"),
	OP(AUDIT_BINDING_LIST, "BindingList"),
	OP(AUDIT_ROLE_CREATE, "RoleCreate"),
	OP(AUDIT_ROLE_LIST, "RoleList"),
	OP(AUDIT_VAULT_CREATE, "VaultCreate"),
	OP(AUDIT_VAULT_UPDATE, "VaultUpdate"),
	OP(AUDIT_VAULT_SEAL, "VaultSeal"),
	OP(AUDIT_VAULT_UNSEAL, "VaultUnseal"),
	OP(AUDIT_VAULT_STATUS, "VaultStatus"),
	OP(AUDIT_VAULT_METRICS, "VaultMetrics"),
	OP(AUDIT_VAULT_START, "VaultStart"),
	OP(AUDIT_VAULT_STOP, "VaultStop"),
	OP(AUDIT_AUDIT_READ, "AuditRead"),
	OP(AUDIT_BREAK_GLASS, "BreakGlass"),
	OP(AUDIT_CAN_I, "CanI"),
	OP(AUDIT_WORKER_START, "WorkerStart"),
	OP(AUDIT_PRINCIPAL_BLOCK, "PrincipalBlock"),
	OP(AUDIT_PRINCIPAL_UNBLOCK, "PrincipalUnblock"),
	OP(AUDIT_HOLDER_LIST, "HolderList"),
	OP(AUDIT_SECRET_NEAR_EXPIRY, "SecretNearExpiry"),
	OP(AUDIT_SECRET_EXPIRED, "SecretExpired"),
	OP(AUDIT_ROTATION_SET, "RotationSet"),
	OP(AUDIT_ROTATION_DELETE, "RotationDelete"),
	OP(AUDIT_ROTATION_LIST, "RotationList"),
	OP(AUDIT_HOOK_CREATE, "HookCreate"),
	OP(AUDIT_HOOK_DELETE, "HookDelete"),
	OP(AUDIT_HOOK_LIST, "HookList"),
	OP(AUDIT_HOOK_RUN, "HookRun"),
	OP(AUDIT_EVENTS_READ, "EventsRead"),
	OP(AUDIT_SEGMENT, "Segment"),
	OP(AUDIT_TORN, "Torn"),
	OP(AUDIT_REQUEST_GIVE_UP, "RequestGiveUp"),
	OP(AUDIT_SEGMENT_REMOVE, "SegmentRemove"),
	OP(AUDIT_TAMPERED, "AuditTampered"),
	OP(AUDIT_HISTORY_SET, "HistorySet"),
	OP(AUDIT_HISTORY_DELETE, "HistoryDelete"),
	OP(AUDIT_HISTORY_LIST, "HistoryList"),
#undef OP
};
#define OPERATIONS (sizeof operations / sizeof operations[0])
_Static_assert(OPERATIONS <= AUDIT_OPERATIONS, "audit_recent() has six bits for an operation");

const char *audit_operation_name(enum audit_operation op)
{
	return (unsigned int)op < OPERATIONS && operations[op].name ? operations[op].name : "Unknown";
}

/* ---- text ---- */

#define LITERAL(p, text) put(p, text, sizeof text - 1)

static inline char *put(char *p, const char *text, size_t len)
{
	memcpy(p, text, len);
	return p + len;
}

static char *put_number(char *p, uint64_t n)
{
	char digits[20];
	size_t i = sizeof digits;

	do {
		digits[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	return put(p, digits + i, sizeof digits - i);
}

static char *put_signed(char *p, int64_t n)
{
	if (n < 0)
		*p++ = '-';
	return put_number(p, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

static const char hex_digits[16] = "0123456789abcdef";

void audit_hex(char ret[AUDIT_HEX_LEN], const uint8_t digest[DIGEST_LEN])
{
	for (size_t i = 0; i < DIGEST_LEN; i++) {
		ret[2 * i] = hex_digits[digest[i] >> 4];
		ret[2 * i + 1] = hex_digits[digest[i] & 15];
	}
}

int audit_hex_value(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

int audit_unhex(const char *hex, uint8_t ret[DIGEST_LEN])
{
	for (size_t i = 0; i < DIGEST_LEN; i++) {
		int high = audit_hex_value(hex[2 * i]), low = high < 0 ? -1 : audit_hex_value(hex[2 * i + 1]);
		if (low < 0)
			return -EBADMSG;
		ret[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

/* One character of UTF-8 (RFC 3629: no surrogates, no overlong forms, nothing beyond U+10FFFF). Returns its bytes, 0:
 * none is there. */
static size_t utf8_next(const uint8_t *s, size_t len, uint32_t *ret_code)
{
	static const uint32_t lowest[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = s[0] >= 0xf0 && s[0] < 0xf5   ? 4
		   : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
		   : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
						 : 0;
	uint32_t code = s[0] & (0x7fu >> n);

	if (!n || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	if (code < lowest[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	*ret_code = code;
	return n;
}

static char *put_u16(char *p, uint32_t unit)
{
	*p++ = '\\';
	*p++ = 'u';
	for (int shift = 12; shift >= 0; shift -= 4)
		*p++ = hex_digits[unit >> shift & 15];
	return p;
}

/* One character of raw, escaped; *ret_used bytes of it. At most 12 bytes. */
static size_t escape_one(char *ret, const uint8_t *s, size_t len, size_t *ret_used)
{
	uint32_t code;
	char *p = ret;

	*ret_used = 1;
	if (s[0] == '"' || s[0] == '\\') {
		*p++ = '\\';
		*p++ = (char)s[0];
	} else if (s[0] < 0x20 || s[0] == 0x7f) {
		p = put_u16(p, s[0]);
	} else if (s[0] < 0x7f) {
		*p++ = (char)s[0];
	} else if ((*ret_used = utf8_next(s, len, &code)) == 0) {
		*ret_used = 1;
		p = LITERAL(p, "\\\\x");
		*p++ = hex_digits[s[0] >> 4];
		*p++ = hex_digits[s[0] & 15];
	} else if (code >= 0x10000) {
		p = put_u16(p, 0xd800 + ((code - 0x10000) >> 10));
		p = put_u16(p, 0xdc00 + ((code - 0x10000) & 0x3ff));
	} else {
		p = put_u16(p, code);
	}
	return (size_t)(p - ret);
}

size_t audit_escape(char *ret, size_t room, const char *raw, size_t raw_max)
{
	const uint8_t *s = (const uint8_t *)raw;
	size_t len = strnlen(raw, raw_max + 1), used = 0, cut = 0; /* cut: where "..." still has room */
	bool whole = len <= raw_max;

	if (!whole)
		len = raw_max;
	for (size_t i = 0, n; i < len; i += n) {
		char one[12];
		size_t bytes = escape_one(one, s + i, len - i, &n);
		if (used + bytes > room) {
			whole = false;
			break;
		}
		memcpy(ret + used, one, bytes);
		used += bytes;
		if (used + 3 <= room)
			cut = used;
	}
	if (whole)
		return used;
	return room < 3 ? used : (size_t)(LITERAL(ret + cut, "...") - ret);
}

/* key is `,"name":`; a string, or null. */
static char *put_string(char *p, const char *key, size_t key_len, const char *raw, size_t raw_max, size_t room)
{
	p = put(p, key, key_len);
	if (!raw)
		return LITERAL(p, "null");
	*p++ = '"';
	p += audit_escape(p, room, raw, raw_max);
	*p++ = '"';
	return p;
}
#define STRING(p, key, raw, max) put_string(p, key, sizeof key - 1, raw, max, 6 * (max))

void audit_names_set(struct audit_names *n, const char *vault, const char *host, uint64_t connection)
{
	char *p = LITERAL(n->middle, "Z\"");

	snprintf(n->vault, sizeof n->vault, "%s", vault ? vault : "");
	snprintf(n->host, sizeof n->host, "%s", host ? host : "");
	p = STRING(p, ",\"vault\":", n->vault, AUDIT_VAULT_MAX);
	p = STRING(p, ",\"host\":", n->host, AUDIT_VAULT_MAX);
	p = LITERAL(p, ",\"operation\":\"");
	n->middle_len = (size_t)(p - n->middle);
	snprintf(n->request, sizeof n->request, "\"%016llx-", (unsigned long long)connection);
}

static char *put_groups(char *p, const struct audit_caller *c)
{
	p = LITERAL(p, ",\"groups\":");
	if (!c->groups_known)
		return LITERAL(p, "null");
	*p++ = '[';
	for (size_t i = 0; i < c->n_groups && i < AUDIT_GROUPS_MAX; i++) {
		if (i)
			*p++ = ',';
		p = put_number(p, c->groups[i]);
	}
	if (c->n_groups > AUDIT_GROUPS_MAX)
		p = LITERAL(p, ",\"...\"");
	*p++ = ']';
	return p;
}

/* Of a path the end says most: of what is too long, the beginning is cut, and "..." says so. Whoever is refused must
 * not choose how much room that takes. */
static char *put_path(char *p, const char *key, size_t key_len, const char *raw)
{
	const size_t len = raw ? strlen(raw) : 0;
	size_t total = 0, from = 0, used;
	char one[12];

	for (size_t i = 0; i < len; i += used)
		total += escape_one(one, (const uint8_t *)raw + i, len - i, &used);
	if (total <= AUDIT_EXE_MAX)
		return put_string(p, key, key_len, raw, len, AUDIT_EXE_MAX);
	for (; total > AUDIT_EXE_MAX - 3; from += used)
		total -= escape_one(one, (const uint8_t *)raw + from, len - from, &used);
	p = LITERAL(put(p, key, key_len), "\"...");
	p += audit_escape(p, AUDIT_EXE_MAX, raw + from, len);
	*p++ = '"';
	return p;
}

/* Budgets of escaped bytes, so that whatever the strings are the whole fits AUDIT_CALLER_JSON_MAX: 96 + 160 + 200 +
 * 200, 24 × 11 and 20 for groups, and 210 for the rest. */
void audit_caller_render(struct audit_caller *c)
{
	char *p = LITERAL(c->json, "{\"uid\":");

	p = put_number(p, c->uid);
	p = LITERAL(p, ",\"gid\":");
	p = put_number(p, c->gid);
	p = LITERAL(p, ",\"pid\":");
	p = put_signed(p, c->pid);
	p = put_string(p, ",\"comm\":", 8, c->comm, 96, 96);
	p = put_path(p, ",\"exe\":", 7, c->exe);
	p = LITERAL(p, ",\"loginuid\":");
	p = c->loginuid < 0 ? LITERAL(p, "null") : put_signed(p, c->loginuid);
	p = put_string(p, ",\"unit\":", 8, c->unit, 200, 200);
	p = put_string(p, ",\"container\":", 13, c->container, 200, 200);
	p = put_groups(p, c);
	if (c->has_owner)
		p = put_number(LITERAL(p, ",\"owner\":"), c->owner);
	*p++ = '}';
	c->json_len = (uint16_t)(p - c->json);
}

/* ---- records ---- */

int64_t audit_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * AUDIT_NS + t.tv_nsec;
}

static char *put_time(char *p, struct audit_clock *clock, int64_t now)
{
	int64_t second = now / AUDIT_NS;
	uint32_t ns = (uint32_t)(now % AUDIT_NS);

	if (second != clock->second || !clock->text[0]) {
		time_t t = (time_t)second;
		struct tm tm;
		gmtime_r(&t, &tm);
		strftime(clock->text, sizeof clock->text, "%Y-%m-%dT%H:%M:%S", &tm);
		clock->second = second;
	}
	p = put(p, clock->text, 19);
	*p = '.';
	for (int i = 9; i > 0; i--, ns /= 10)
		p[i] = (char)('0' + ns % 10);
	return p + 10;
}

static char *put_errno(char *p, int error)
{
	const char *name = error > 0 ? strerrorname_np(error) : NULL;

	p = LITERAL(p, ",\"errno\":");
	if (error <= 0)
		return LITERAL(p, "null");
	*p++ = '"';
	if (name)
		p = put(p, name, strlen(name));
	else
		p = put_number(LITERAL(p, "E"), (uint64_t)error);
	*p++ = '"';
	return p;
}

static char *put_caller(char *p, const struct audit_caller *caller)
{
	p = LITERAL(p, ",\"caller\":");
	if (!caller)
		return LITERAL(p, "null");
	if (caller->json_len)
		return put(p, caller->json, caller->json_len);

	struct audit_caller copy = *caller;
	audit_caller_render(&copy);
	return put(p, copy.json, copy.json_len);
}

static char *put_optional(char *p, const char *key, size_t key_len, uint64_t n)
{
	p = put(p, key, key_len);
	return n ? put_number(p, n) : LITERAL(p, "null");
}
#define OPTIONAL(p, key, n) put_optional(p, key, sizeof key - 1, n)

const char *const audit_results[AUDIT_RESULTS] = {
	[AUDIT_DENY] = "deny\"", [AUDIT_ALLOW] = "allow\"", [AUDIT_ERROR] = "error\""
};
_Static_assert(AUDIT_RESULTS <= 4, "audit_recent() has two bits for a result");

size_t audit_render(char *ret_line, const struct audit_names *names, struct audit_clock *clock, int64_t now,
		    uint64_t seq, uint64_t count, const struct audit_event *e, const uint8_t prev[DIGEST_LEN])
{
	const char *operation = audit_operation_name(e->operation), *result = (unsigned int)e->result <= AUDIT_ERROR
										      ? audit_results[e->result]
										      : audit_results[AUDIT_ERROR];
	char *p = put_number(LITERAL(ret_line, "{\"seq\":"), seq);

	p = LITERAL(p, ",\"time\":\"");
	p = put_time(p, clock, now);
	p = put(p, names->middle, names->middle_len);
	p = put(p, operation, strlen(operation));
	p = LITERAL(p, "\",\"result\":\"");
	p = put(p, result, strlen(result));
	p = put_errno(p, e->error);
	p = STRING(p, ",\"secret\":", e->secret, AUDIT_SECRET_MAX);
	p = OPTIONAL(p, ",\"version\":", e->version);
	p = put_caller(p, e->caller);
	p = OPTIONAL(p, ",\"binding\":", e->binding);
	p = STRING(p, ",\"role\":", e->role, AUDIT_ROLE_MAX);
	p = put_string(p, ",\"principal\":", 13, e->principal, AUDIT_PRINCIPAL_MAX, AUDIT_PRINCIPAL_MAX);
	p = LITERAL(p, ",\"request\":");
	if (e->unique) {
		p = put(p, names->request, 18);
		p = put_number(p, e->unique);
		*p++ = '"';
	} else {
		p = LITERAL(p, "null");
	}
	p = LITERAL(p, ",\"duration_us\":");
	p = put_number(p, e->duration_us);
	p = LITERAL(p, ",\"count\":");
	p = put_number(p, count);
	p = STRING(p, ",\"detail\":", e->detail, AUDIT_DETAIL_MAX);
	if (e->self_grant)
		p = LITERAL(p, ",\"self\":true");
	p = LITERAL(p, ",\"prev\":\"");
	audit_hex(p, prev);
	p += AUDIT_HEX_LEN;
	*p++ = '"';
	return (size_t)(p - ret_line);
}
/* The worst case: every string full of bytes that become six (\u001f), the rest generously. */
_Static_assert(6 * (2 * AUDIT_VAULT_MAX + AUDIT_SECRET_MAX + AUDIT_ROLE_MAX + AUDIT_DETAIL_MAX) + AUDIT_PRINCIPAL_MAX +
			       AUDIT_CALLER_JSON_MAX + 720 + 77 <
		       AUDIT_LINE_MAX,
	       "a record fits its buffer");

int audit_evolve(const uint8_t key[KEY_LEN], uint8_t ret_key[KEY_LEN])
{
	struct bytes label = { "coffer audit evolve", 19 };

	return hmac256(key, &label, 1, ret_key);
}

int audit_seal(char *line, size_t body_len, const struct audit_position *at, struct audit_position *ret_next,
	       size_t *ret_len)
{
	struct bytes body = { line, body_len };
	uint8_t hash[DIGEST_LEN], mac[DIGEST_LEN];
	struct bytes hashed = { hash, sizeof hash };
	char *p = line + body_len;

	if (sha256(&body, 1, hash) < 0 || hmac256(at->key, &hashed, 1, mac) < 0 ||
	    audit_evolve(at->key, ret_next->key) < 0)
		return -EIO;
	p = LITERAL(p, ",\"mac\":\"");
	audit_hex(p, mac);
	p = LITERAL(p + AUDIT_HEX_LEN, "\"}\n");
	memcpy(ret_next->prev, hash, sizeof hash);
	ret_next->segment = at->segment;
	ret_next->oldest = at->oldest;
	ret_next->tampered = at->tampered;
	ret_next->zero = 0;
	ret_next->opened = at->opened;
	ret_next->size = at->size;
	ret_next->seq = at->seq + 1;
	*ret_len = (size_t)(p - line);
	return 0;
}

int64_t audit_monotonic(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * AUDIT_NS + t.tv_nsec;
}

void audit_why(char *why, size_t why_len, const char *format, ...)
{
	va_list args;

	if (!why || why_len == 0)
		return;
	va_start(args, format);
	vsnprintf(why, why_len, format, args);
	va_end(args);
}
