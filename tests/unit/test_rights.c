/* What each operation needs, against a model that knows nothing of the code: one line of text for each operation, the
 * same that stands in contrib/doc/guide/roles.md.
 *
 * There is a caller for each action alone, for each pair of actions, and for all actions but one. Each of them tries
 * each operation, and must be denied exactly where its actions do not do. So a pair that gives more than the model says
 * is found, and so is an operation that nobody wrote a line for. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/ctl/backups.h"
#include "fs/ctl/internal.h"
#include "fs/serve/names.h"
#include "fs/serve/record.h"
#include "fs/serve/removal.h"
#include "fs/shared/shared.h"
#include "store/backup/pieces.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/keys/envelope.h"
#include "store/keys/keys.h"
#include "store/keys/transport.h"
#include "store/keys/vaultconf.h"
#include "store/objects/objects.h"
#include "store/objects/stages.h"
#include "store/store.h"
#include "suite.h"

#define CALLERS    (ACTION_COUNT + ACTION_COUNT * (ACTION_COUNT - 1) / 2 + ACTION_COUNT)
#define FIRST_UID  2000u
#define OP(name)   "\"op\":\"" name "\""
#define PUBLIC_KEY "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"

static struct {
	char dir[64];
	struct vaultconf conf;
	struct vault vault;
	struct options options;
	int audit_fd, head_fd, bell;
	struct audit_head head;
	uint8_t stage_key[KEY_LEN];
	unsigned ids, names;
	uint64_t unique;
	uint8_t recipient[CURVE_LEN]; /* private key of the recipient "safe" */
	/* fields of requests to restore: without, and with what only administrators may bring */
	char restores[2][640];
	action_set held[CALLERS];
} v;

static struct identity admin;

/* ---- the vault ---- */

static int on_seal(void *arg)
{
	(void)arg;
	return 0;
}

static int on_program_user(void *arg, uint32_t *ret_user, char *why, size_t why_len)
{
	(void)arg;
	(void)why;
	(void)why_len;
	*ret_user = 999;
	return 0;
}

static int on_segment_open(void *arg, uint32_t number, bool create, int *ret_fd)
{
	(void)arg;
	return audit_segment_open_at(v.audit_fd, number, create, (uint32_t)getgid(), ret_fd);
}

static struct identity identity_of(uint32_t uid, bool host)
{
	struct identity i = {
		.refs = 1, .uid = uid, .gid = uid, .tid = 100, .tgid = 100, .user_ns = 1, .host = host, .full = true
	};

	i.policy = (struct policy_caller){ .uid = uid, .gid = uid, .host = host };
	i.audit = (struct audit_caller){ .uid = uid, .gid = uid, .pid = 100, .loginuid = -1, .comm = "test" };
	audit_caller_render(&i.audit);
	return i;
}

static void make_vault(void)
{
	char why[512] = "", uri[128], path[128], verify[128], params[KEK_PARAMS_MAX] = "";
	struct store_settings settings = { .retention_days = 90, .value_max = VALUE_MAX };
	struct wrap_context ctx = { .type = WRAP_VAULT_KEY };
	struct kek_source source = { .uri = uri, .fd = -1 };
	struct principal root;
	uint8_t key[KEY_LEN];
	struct kek *kek;

	strcpy(v.dir, "/dev/shm/coffer-rights-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(v.dir));
	snprintf(uri, sizeof uri, "file:%s/kek", v.dir);
	ck_assert_msg(kek_create(&source, params, &kek, why, sizeof why) == 0, "%s", why);
	strcpy(v.conf.name, "test");
	memset(v.conf.id, 7, sizeof v.conf.id);
	strcpy(v.conf.kek, uri);
	memcpy(ctx.vault, v.conf.id, sizeof ctx.vault);
	ck_assert_int_eq(wrap_new(kek, &ctx, key, v.conf.vault_record, &v.conf.vault_record_len), 0);
	ck_assert_int_eq(keys_new_local(kek, &v.vault.keys), 0);
	ck_assert_int_eq(principal_parse("user:0,host", NULL, NULL, &root), 0);
	snprintf(path, sizeof path, "%s/store", v.dir);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	ck_assert_msg(store_create(path, &v.conf, v.vault.keys, &settings, &root, 1, getuid(), getgid(), why,
				   sizeof why) == 0,
		      "%s", why);
	snprintf(verify, sizeof verify, "%s/verify", v.dir);
	ck_assert_msg(audit_create(path, verify, "test", getgid(), why, sizeof why) == 0, "%s", why);
}

static void open_vault(void)
{
	char why[512] = "", path[128];
	struct store_config config = { .dir = path, .conf = &v.conf, .stage_key = v.stage_key };
	struct audit_config log = { .head = &v.head,
				    .vault = "test",
				    .host = "here",
				    .deny_rate = 1000000,
				    .deny_burst = 1000000,
				    .segment_open = on_segment_open };

	snprintf(path, sizeof path, "%s/store", v.dir);
	ck_assert_msg(store_open(&config, &v.vault.store, why, sizeof why) == 0, "%s", why);
	ck_assert_msg(store_unlock(v.vault.store, v.vault.keys, why, sizeof why) == 0, "%s", why);
	snprintf(path, sizeof path, "%s/store/audit", v.dir);
	log.dir_fd = v.audit_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	log.head_fd = v.head_fd = openat(v.audit_fd, "head", O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(v.head_fd, 0);
	ck_assert_msg(audit_open(&log, &v.vault.audit, why, sizeof why) == 0, "%s", why);
}

/* What a worker has beside store and log. */
static void make_worker(void)
{
	int pair[2];

	v.vault.options = &v.options;
	v.vault.fuse_fd = v.vault.control_fd = -1;
	v.vault.shared = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(v.vault.shared, MAP_FAILED);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	v.vault.bell_fd = pair[0];
	v.bell = pair[1];
	ck_assert_int_eq(handles_new(&v.vault.shared->handles, &v.vault.handles), 0);
	ck_assert_int_eq(answers_new(&v.vault.answers), 0);
	ck_assert_int_eq(plain_pool_new(1 << 20, -1, &v.vault.plain), 0);
	ck_assert_int_eq(backups_new(&v.vault.backups), 0);
	v.vault.openers = calloc(HANDLES_MAX, sizeof *v.vault.openers);
	ck_assert_ptr_nonnull(v.vault.openers);
	v.vault.ctl = (struct ctl_env){ .vault = "test",
					.store = v.vault.store,
					.audit = v.vault.audit,
					.keys = v.vault.keys,
					.shared = v.vault.shared,
					.handles = v.vault.handles,
					.backups = v.vault.backups,
					.seal = on_seal,
					.program_user = on_program_user };
}

/* ---- asking ---- */

/* 0, or the errno's name (static for the caller's next request). */
static const char *error_of(const struct identity *who, const char *line, uint64_t stage, uint64_t value_len)
{
	static const char good[] = "{\"ok\":true,";
	static char error[32];
	const struct ctl_request request = {
		.line = line, .len = strlen(line), .stage = stage, .value_len = value_len, .unique = ++v.unique
	};
	char *answer = NULL;
	size_t len = 0;
	json_t *o;

	ck_assert_int_eq(ctl_execute(&v.vault.ctl, who, &request, &answer, &len), 0);
	if (len > strlen(good) && !memcmp(answer, good, strlen(good))) { /* a list of all roles is long */
		free(answer);
		return "";
	}
	o = json_loadb(answer, len, JSON_DISABLE_EOF_CHECK, NULL);
	ck_assert_msg(json_is_object(o), "%.*s", (int)len, answer);
	free(answer);
	snprintf(error, sizeof error, "%s",
		 json_is_true(json_object_get(o, "ok")) ? "" : json_string_value(json_object_get(o, "errno")));
	if (*error)
		ck_assert_msg(strcmp(error, "EINVAL") != 0, "%s: %s", line,
			      json_string_value(json_object_get(o, "message")));
	json_decref(o);
	return error;
}

static void with_id(const char *fields, char *ret, size_t len)
{
	snprintf(ret, len, "{\"id\":\"%032x\",%s}", ++v.ids, fields);
}

static void must(const char *fields)
{
	char line[1024];

	with_id(fields, line, sizeof line);
	const char *error = error_of(&admin, line, 0, 0);
	ck_assert_msg(!*error, "%s: %s", fields, error);
}

/* ---- what there is ---- */

static void add_caller(size_t i, action_set held)
{
	char name[32], principal[32];
	struct binding b = { .until = BINDING_FOREVER, .from = INT64_MIN };
	uint64_t id;

	v.held[i] = held;
	snprintf(name, sizeof name, "held-%zu", i);
	snprintf(principal, sizeof principal, "user:%zu", FIRST_UID + i);
	strcpy(b.scope, "*");
	ck_assert_int_eq(store_role_put(v.vault.store, name, held, &b.role), 0);
	ck_assert_int_eq(principal_parse(principal, NULL, NULL, &b.principal), 0);
	ck_assert_int_eq(store_binding_add(v.vault.store, &b, NULL, NULL, &id), 0);
}

static void add_callers(void)
{
	size_t n = 0;

	ck_assert_int_eq(store_begin(v.vault.store), 0);
	for (unsigned a = 0; a < ACTION_COUNT; a++) {
		add_caller(n++, ACTION_BIT(a));
		add_caller(n++, ACTION_ALL & ~ACTION_BIT(a));
		for (unsigned b = a + 1; b < ACTION_COUNT; b++)
			add_caller(n++, ACTION_BIT(a) | ACTION_BIT(b));
	}
	ck_assert_uint_eq(n, CALLERS);
	ck_assert_int_eq(store_commit(v.vault.store), 0);
}

static uint32_t secret_id(const char *name)
{
	store_rdlock(v.vault.store);
	const struct catalog_secret *s = store_find(v.vault.store, name);
	const uint32_t id = s ? s->id : 0;
	store_unlock_tables(v.vault.store);
	ck_assert_uint_ne(id, 0);
	return id;
}

static void hex(char *ret, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

/* A whole vault, to the recipient. */
static struct {
	uint8_t data[1 << 19];
	size_t len;
	uint8_t signer[DIGEST_LEN];
} backup_of[2];

static void back_up(unsigned n)
{
	struct backup_recipient to = { .kind = BACKUP_TO_KEY, .name = "safe" };
	uint8_t public[CURVE_LEN];
	struct backup *b = NULL;

	ck_assert_int_eq(x25519_public(v.recipient, to.key), 0);
	ck_assert_int_eq(backup_open(v.vault.store, &(struct backup_scope){ .all = true }, &to, &b), 0);
	ck_assert_int_eq(backup_read(b, backup_of[n].data, sizeof backup_of[n].data, &backup_of[n].len), 0);
	ck_assert_uint_lt(backup_of[n].len, sizeof backup_of[n].data);
	backup_close(b);
	ck_assert_int_eq(store_signer(v.vault.store, public), 0);
	ck_assert_int_eq(signer_fingerprint(public, backup_of[n].signer), 0);
}

/* Backups of another vault, with things that the one of the test has not: only there are grants asked for. */
static void back_up_another(void)
{
	must(OP("put") ",\"name\":\"db\",\"value_length\":0");
	must(OP("role-create") ",\"name\":\"made\",\"actions\":[\"secrets/get\"]");
	must(OP("grant") ",\"role\":\"made\",\"principal\":\"user:77\",\"on\":\"db\"");
	must(OP("rotation-set") ",\"on\":\"restored\",\"every\":\"90d\",\"command\":\"/usr/bin/true\"");
	back_up(0);
	must(OP("block") ",\"principal\":\"user:78\"");
	back_up(1);
}

/* By the uid that all callers have when they restore. ret: the fields that name it. */
static void hand_in(unsigned n, char *ret, size_t len)
{
	const struct restore_owner owner = { FIRST_UID, true };
	uint8_t id[RESTORE_ID_LEN] = { (uint8_t)(n + 1) }, file_key[KEY_LEN], holder[CURVE_LEN], box[BOX_LEN];
	char id_hex[2 * RESTORE_ID_LEN + 1], box_hex[2 * BOX_LEN + 1], signer[2 * DIGEST_LEN + 1], why[256];
	struct backup_header h;
	size_t header;

	ck_assert_int_eq(store_restore_put(v.vault.store, id, &owner, 0, backup_of[n].data, backup_of[n].len), 0);
	ck_assert_int_eq(backup_header_parse(backup_of[n].data, backup_of[n].len, &h, &header, why, sizeof why), 0);
	ck_assert_int_eq(box_open(box_label_recipient, v.recipient, h.box, file_key), 0);
	ck_assert_int_eq(keys_restore_key(v.vault.keys, holder), 0);
	ck_assert_int_eq(box_seal(box_label_holder, holder, file_key, box), 0);
	hex(id_hex, id, sizeof id);
	hex(box_hex, box, sizeof box);
	hex(signer, backup_of[n].signer, DIGEST_LEN);
	snprintf(ret, len, "\"restore\":\"%s\",\"key\":\"%s\",\"signer\":\"%s\"", id_hex, box_hex, signer);
}

static void fill(void)
{
	uint8_t public[CURVE_LEN];
	char line[256], key[2 * CURVE_LEN + 1];

	ck_assert_int_eq(x25519_public(v.recipient, public), 0);
	hex(key, public, sizeof public);
	must("\"op\":\"put\",\"name\":\"db\",\"value_length\":0");
	must("\"op\":\"put\",\"name\":\"db\",\"value_length\":0");
	for (unsigned i = 0; i < 2; i++)
		hand_in(i, v.restores[i], sizeof v.restores[i]);
	must("\"op\":\"put\",\"name\":\"off\",\"value_length\":0");
	must("\"op\":\"put\",\"name\":\"gone\",\"value_length\":0");
	must("\"op\":\"put\",\"name\":\"lost\",\"value_length\":0");
	must("\"op\":\"rotation-set\",\"on\":\"db\",\"every\":\"90d\",\"generator\":\"uuid\"");
	snprintf(line, sizeof line, "\"op\":\"recipient-add\",\"name\":\"safe\",\"public_key\":\"%s\"", key);
	must(line);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(store_begin(v.vault.store), 0);
		ck_assert_int_eq(store_secret_delete(v.vault.store, secret_id(i ? "lost" : "gone")), 0);
		ck_assert_int_eq(store_commit(v.vault.store), 0);
	}
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void begin(void)
{
	memset(&v, 0, sizeof v);
	v.unique = 1000;
	memset(v.recipient, 9, sizeof v.recipient);
	make_vault();
	open_vault();
	make_worker();
}

static void end(void)
{
	audit_close(v.vault.audit);
	backups_free(v.vault.backups);
	plain_pool_free(v.vault.plain);
	answers_free(v.vault.answers);
	handles_free(v.vault.handles);
	free(v.vault.openers);
	store_close(v.vault.store);
	keys_free(v.vault.keys);
	munmap(v.vault.shared, sizeof(struct shared));
	close(v.audit_fd);
	close(v.head_fd);
	close(v.vault.bell_fd);
	close(v.bell);
	nftw(v.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void setup(void)
{
	ck_assert_int_eq(secmem_init(16 << 20, SECMEM_AUTO), 0);
	ck_assert_int_eq(crypto_init(), 0);
	admin = identity_of(0, true);
	begin();
	back_up_another();
	end();
	begin();
	fill();
	add_callers();
}

static void teardown(void) { end(); }

/* ---- the model: "secrets/get + secrets/set", "a or b", "every action", "nothing" ---- */

static bool all_of(action_set held, char *text)
{
	enum action one;
	char *rest = text, *part;

	while ((part = strsep(&rest, "+"))) {
		part += strspn(part, " ");
		part[strcspn(part, " ")] = '\0';
		ck_assert_msg(action_parse(part, &one) == 0, "\"%s\" is not an action", part);
		if (!(held & ACTION_BIT(one)))
			return false;
	}
	return true;
}

static bool enough(action_set held, const char *needs)
{
	char copy[256], * or ;
	bool any = false;

	if (!strcmp(needs, "nothing"))
		return true;
	if (!strcmp(needs, "every action"))
		return held == ACTION_ALL;
	snprintf(copy, sizeof copy, "%s", needs);
	for (char *one = copy; one; one = or) {
		or = strstr(one, " or ");
		if (or) {
			* or = '\0';
			or += 4;
		}
		any |= all_of(held, one);
	}
	return any;
}

/* ---- requests ---- */

/* 0: it was let in, whatever came of it; -EACCES. */
static int request(const struct identity *who, const char *fields, bool changes)
{
	char line[1024];

	if (changes)
		with_id(fields, line, sizeof line);
	else
		snprintf(line, sizeof line, "{%s}", fields);
	return strcmp(error_of(who, line, 0, 0), "EACCES") ? 0 : -EACCES;
}

/* A session is one process's: begun by an administrator, and read on when rights are others. */
static int backup_read_on(const struct identity *who, const char *fields)
{
	struct identity begins = *who;
	char line[512], session[BACKUP_SESSION_ID], *answer = NULL;
	struct ctl_request q = { .line = line, .unique = ++v.unique };
	size_t len = 0;
	json_t *o;

	begins.policy = admin.policy;
	snprintf(line, sizeof line, "{%s}", fields);
	q.len = strlen(line);
	ck_assert_int_eq(ctl_execute(&v.vault.ctl, &begins, &q, &answer, &len), 0);
	o = json_loadb(answer, len, JSON_DISABLE_EOF_CHECK, NULL);
	free(answer);
	ck_assert(json_is_string(json_object_get(o, "session")));
	snprintf(session, sizeof session, "%s", json_string_value(json_object_get(o, "session")));
	json_decref(o);
	snprintf(line, sizeof line, "\"op\":\"backup-read\",\"session\":\"%s\",\"chunk\":0", session);
	const int r = request(who, line, false);
	backups_end(v.vault.backups, who, session);
	return r;
}

static int read_on(const struct identity *who)
{
	return backup_read_on(who, "\"op\":\"backup\",\"names\":[\"db\"],\"recipient\":\"safe\"");
}

static int read_on_ad_hoc(const struct identity *who)
{
	return backup_read_on(who, "\"op\":\"backup\",\"names\":[\"db\"],\"public_key\":\"" PUBLIC_KEY "\"");
}

static int put_piece(const struct identity *who)
{
	struct identity owner = *who;
	uint64_t stage;
	char line[160];

	owner.uid = FIRST_UID; /* the same piece of the same restore, again and again */
	ck_assert_int_eq(store_stage_new(v.vault.store, &stage), 0);
	ck_assert_int_eq(store_stage_write(v.vault.store, stage, ++v.unique, 0, "x", 1), 0);
	snprintf(line, sizeof line, "{\"op\":\"restore-put\",\"restore\":\"%032x\",\"at\":0,\"value_length\":1}", 99);
	const int r = strcmp(error_of(&owner, line, stage, 1), "EACCES") ? 0 : -EACCES;
	store_stage_drop(v.vault.store, stage);
	return r;
}

/* Carried out and taken back, by a caller who handed it in. */
static int restore(const struct identity *who, unsigned which, const char *how)
{
	struct identity owner = *who;
	char fields[1024];

	owner.uid = FIRST_UID;
	snprintf(fields, sizeof fields, "\"op\":\"restore-check\",%s%s", v.restores[which], how);
	return request(&owner, fields, false);
}

static int restore_skip(const struct identity *who) { return restore(who, 0, ",\"existing\":\"skip\""); }
static int restore_append(const struct identity *who) { return restore(who, 0, ",\"existing\":\"append\""); }
static int restore_grants(const struct identity *who)
{
	return restore(who, 0, ",\"existing\":\"skip\",\"grants\":true");
}
static int restore_blocks(const struct identity *who)
{
	return restore(who, 1, ",\"existing\":\"skip\",\"grants\":true");
}

/* ---- file operations ---- */

static int open_inode(const struct identity *who, struct inode inode, int flags)
{
	const struct call asker = { .who = (struct identity *)(uintptr_t)who,
				    .uid = who->uid,
				    .gid = who->gid,
				    .tid = who->tid,
				    .unique = ++v.unique };
	const struct open_ask q = { .inode = inode, .ino = inode_pack(&inode), .flags = flags };
	struct open_grant grant = { 0 };
	int r = access_open(&v.vault, &asker, &q, &grant);

	if (r == 0) {
		struct identity *opener = v.vault.openers[(uint32_t)grant.fh];
		v.vault.openers[(uint32_t)grant.fh] = NULL;
		identity_unref(opener);
		access_close(&v.vault, grant.fh);
	}
	return r;
}

static struct inode current(void) { return (struct inode){ .type = INODE_CURRENT, .secret = secret_id("db") }; }

static int open_read(const struct identity *who) { return open_inode(who, current(), O_RDONLY); }
static int open_write(const struct identity *who) { return open_inode(who, current(), O_WRONLY | O_TRUNC); }
static int open_append(const struct identity *who) { return open_inode(who, current(), O_WRONLY | O_APPEND); }
static int open_both(const struct identity *who) { return open_inode(who, current(), O_RDWR | O_TRUNC); }
static int open_own(const struct identity *who, enum inode_own own)
{
	return open_inode(who, (struct inode){ .type = INODE_OWN, .low = own }, O_RDONLY);
}
static int open_status(const struct identity *who) { return open_own(who, OWN_STATUS); }
static int open_metrics(const struct identity *who) { return open_own(who, OWN_METRICS); }
static int open_audit(const struct identity *who) { return open_own(who, OWN_AUDIT); }
static int open_events(const struct identity *who) { return open_own(who, OWN_EVENTS); }
static int open_whoami(const struct identity *who) { return open_own(who, OWN_WHOAMI); }
static int open_ctl(const struct identity *who) { return open_own(who, OWN_CTL); }

static int open_version(const struct identity *who)
{
	return open_inode(who, (struct inode){ .type = INODE_VERSION, .secret = secret_id("db"), .low = 1 }, O_RDONLY);
}

static struct call asker_of(const struct identity *who)
{
	return (struct call){ .who = (struct identity *)(uintptr_t)who,
			      .uid = who->uid,
			      .gid = who->gid,
			      .tid = who->tid,
			      .unique = ++v.unique };
}

static int count_entry(const struct names_entry *e, void *arg)
{
	if (e->name[0] != '.')
		++*(size_t *)arg;
	return 0;
}

/* A listing that shows nothing is one that was refused. */
static int list(const struct identity *who, struct inode dir)
{
	const struct call asker = asker_of(who);
	size_t n = 0;
	int r = names_list(&v.vault, &asker, 0, inode_pack(&dir), 0, count_entry, &n);

	return r == 0 && n == 0 ? -EACCES : r;
}

static int list_root(const struct identity *who) { return list(who, (struct inode){ .type = INODE_ROOT }); }
static int list_deleted(const struct identity *who)
{
	return list(who, (struct inode){ .type = INODE_OWN, .low = OWN_DELETED });
}

static int list_versions(const struct identity *who)
{
	return list(who, (struct inode){ .type = INODE_VERSIONS, .secret = secret_id("db") });
}

static int get_attribute(const struct identity *who)
{
	const struct call asker = asker_of(who);
	const struct inode i = current();
	char *value = NULL;
	size_t len;
	int r = names_getxattr(&v.vault, &asker, inode_pack(&i), "user.coffer.version", &value, &len);

	free(value);
	return r == -ENODATA ? -EACCES : r;
}

static void deaf(void)
{
	char message[sizeof(struct bell_message)];

	while (recv(v.bell, message, sizeof message, MSG_DONTWAIT) > 0)
		;
}

static int make_dir(const struct identity *who)
{
	const struct call asker = asker_of(who);
	const struct inode root = { .type = INODE_ROOT };
	char name[32];
	uint64_t ino;

	deaf();
	snprintf(name, sizeof name, "made-%u", ++v.names);
	return names_mkdir(&v.vault, &asker, inode_pack(&root), name, &ino);
}

static int remove_dir(const struct identity *who, enum inode_type type, enum inode_own own, const char *name)
{
	const struct call asker = asker_of(who);
	const struct inode dir = { .type = type, .low = own };

	deaf();
	return removal_rmdir(&v.vault, &asker, inode_pack(&dir), name);
}

static int remove_empty(const struct identity *who) { return remove_dir(who, INODE_ROOT, 0, "off"); }
static int purge(const struct identity *who) { return remove_dir(who, INODE_OWN, OWN_DELETED, "lost"); }

static int move(const struct identity *who, bool back, const char *name)
{
	const struct call asker = asker_of(who);
	const struct inode deleted = { .type = INODE_OWN, .low = OWN_DELETED }, root = { .type = INODE_ROOT };
	const struct rename n = { .from = inode_pack(back ? &deleted : &root),
				  .name = name,
				  .to = inode_pack(back ? &root : &deleted),
				  .to_name = name };

	deaf();
	return removal_rename(&v.vault, &asker, &n);
}

static int delete (const struct identity *who) { return move(who, false, "off"); }
static int recover(const struct identity *who) { return move(who, true, "none"); }

/* ---- the table ---- */

struct row {
	const char *what; /* as in contrib/doc/guide/roles.md; what stands first in backquotes is the operation */
	const char *needs;
	const char *fields; /* of the request; or */
	int (*act)(const struct identity *who);
};

static const struct row rows[] = {
	{ "`list`", "secrets/list", OP("list"), NULL },
	{ "`show`", "secrets/list", OP("show") ",\"name\":\"db\"", NULL },
	{ "`versions`", "secrets/list", OP("versions") ",\"name\":\"db\"", NULL },
	{ "`deleted`", "secrets/recover or secrets/purge or secrets/delete or secrets/list",
	  OP("deleted") ",\"name\":\"gone\"", NULL },
	{ "`put`", "secrets/set", OP("put") ",\"name\":\"db\",\"value_length\":0", NULL },
	{ "`put-set`", "secrets/set",
	  OP("put-set") ",\"items\":[{\"name\":\"db\",\"value_length\":0}],\"value_length\":0", NULL },
	{ "`attr`", "secrets/update", OP("attr") ",\"name\":\"db\",\"tags\":{\"a\":\"b\"}", NULL },
	{ "`enable`", "secrets/update", OP("enable") ",\"name\":\"db\"", NULL },
	{ "`disable`", "secrets/update", OP("disable") ",\"name\":\"db\",\"version\":999", NULL },
	{ "`destroy`", "secrets/purge", OP("destroy") ",\"name\":\"db\",\"version\":999", NULL },
	{ "`rollback`", "secrets/get + secrets/set", OP("rollback") ",\"name\":\"db\",\"version\":1", NULL },
	{ "`grant` of a data role", "bindings/create",
	  OP("grant") ",\"role\":\"secrets-officer\",\"principal\":\"user:5\",\"on\":\"db\"", NULL },
	{ "`grant` of any other role", "every action",
	  OP("grant") ",\"role\":\"auditor\",\"principal\":\"user:5\",\"on\":\"*\"", NULL },
	{ "`revoke` of a data role", "bindings/delete",
	  OP("revoke") ",\"role\":\"secrets-officer\",\"principal\":\"user:6\",\"on\":\"db\"", NULL },
	{ "`revoke` of any other role", "every action",
	  OP("revoke") ",\"role\":\"auditor\",\"principal\":\"user:6\",\"on\":\"*\"", NULL },
	{ "`bindings`", "nothing", OP("bindings"), NULL },
	{ "`block`", "every action", OP("block") ",\"principal\":\"user:7\"", NULL },
	{ "`unblock`", "every action", OP("unblock") ",\"principal\":\"user:8\"", NULL },
	{ "`blocks`", "bindings/list", OP("blocks"), NULL },
	{ "`holders`", "audit/read", OP("holders") ",\"name\":\"db\"", NULL },
	{ "`drained`", "secrets/list", OP("drained") ",\"name\":\"db\",\"version\":1", NULL },
	{ "`roles`", "nothing", OP("roles"), NULL },
	{ "`role-create`", "roles/create",
	  OP("role-create") ",\"name\":\"taken\",\"actions\":[\"secrets/get\",\"audit/read\"]", NULL },
	{ "`can-i` for oneself", "nothing", OP("can-i") ",\"action\":\"secrets/get\",\"name\":\"db\"", NULL },
	{ "`can-i` for others", "bindings/list",
	  OP("can-i") ",\"action\":\"secrets/get\",\"name\":\"db\",\"as\":\"user:5\"", NULL },
	{ "`whoami`", "nothing", OP("whoami"), NULL },
	{ "`status`", "vault/status", OP("status"), NULL },
	{ "`seal`", "vault/seal", OP("seal"), NULL },
	{ "`rotation-set` with a generator, or to notify", "secrets/set",
	  OP("rotation-set") ",\"on\":\"x\",\"every\":\"90d\",\"generator\":\"uuid\"", NULL },
	{ "`rotation-set` with a program", "secrets/set + vault/update",
	  OP("rotation-set") ",\"on\":\"y\",\"every\":\"90d\",\"command\":\"/usr/bin/true\"", NULL },
	{ "`rotations`", "secrets/list", OP("rotations"), NULL },
	{ "`rotation-remove`", "secrets/set", OP("rotation-remove") ",\"on\":\"z\"", NULL },
	{ "`history-set`", "secrets/purge", OP("history-set") ",\"on\":\"x\",\"keep_versions\":5", NULL },
	{ "`histories`", "secrets/list", OP("histories"), NULL },
	{ "`history-remove`", "secrets/purge", OP("history-remove") ",\"on\":\"z\"", NULL },
	{ "`rotate`", "secrets/set", OP("rotate") ",\"name\":\"db\",\"generator\":\"uuid\"", NULL },
	{ "`hook-add`", "vault/update", OP("hook-add") ",\"on\":\"z\",\"command\":\"/usr/bin/true\"", NULL },
	{ "`hooks`", "vault/status", OP("hooks"), NULL },
	{ "`hook-remove`", "vault/update", OP("hook-remove") ",\"hook\":9999", NULL },
	{ "`vault`", "vault/update", OP("vault") ",\"value_max\":65536", NULL },
	{ "`backup` of names to a registered recipient", "secrets/backup",
	  OP("backup") ",\"names\":[\"db\"],\"recipient\":\"safe\"", NULL },
	{ "`backup` of names to a passphrase or another key", "secrets/backup + secrets/get",
	  OP("backup") ",\"names\":[\"db\"],\"public_key\":\"" PUBLIC_KEY "\"", NULL },
	{ "`backup` of everything to a registered recipient", "secrets/backup + bindings/list",
	  OP("backup") ",\"all\":true,\"recipient\":\"safe\"", NULL },
	{ "`backup` of everything to a passphrase or another key",
	  "secrets/backup + secrets/get + secrets/list + bindings/list + vault/status",
	  OP("backup") ",\"all\":true,\"public_key\":\"" PUBLIC_KEY "\"", NULL },
	{ "`backup-read` to a registered recipient", "secrets/backup", NULL, read_on },
	{ "`backup-read` to a passphrase or another key", "secrets/backup + secrets/get", NULL, read_on_ad_hoc },
	{ "`backup-end`", "nothing", OP("backup-end") ",\"session\":\"none\"", NULL },
	{ "`recipient-add`", "every action", OP("recipient-add") ",\"name\":\"safe\",\"public_key\":\"" PUBLIC_KEY "\"",
	  NULL },
	{ "`recipient-remove`", "vault/update", OP("recipient-remove") ",\"name\":\"nobody\"", NULL },
	{ "`recipients`", "nothing", OP("recipients"), NULL },
	{ "`drill`", "secrets/restore",
	  OP("drill") ",\"vault\":\"07070707070707070707070707070707\",\"created\":\"2026-01-01T00:00:00Z\","
		      "\"secrets\":1,\"versions\":1",
	  NULL },
	{ "`restore-key`", "secrets/restore", OP("restore-key"), NULL },
	{ "`restore-put`", "secrets/restore", NULL, put_piece },
	{ "`restore-drop`", "secrets/restore", OP("restore-drop") ",\"restore\":\"00000000000000000000000000000063\"",
	  NULL },
	{ "`restore-check`, `restore` of secrets whose names are free, or left as they are", "secrets/restore", NULL,
	  restore_skip },
	{ "`restore-check`, `restore` that appends to secrets", "secrets/restore + secrets/set", NULL, restore_append },
	{ "`restore-check`, `restore` with data roles, bindings of them, settings, policies and hooks",
	  "secrets/restore + secrets/set + roles/create + bindings/create + vault/update", NULL, restore_grants },
	{ "`restore-check`, `restore` with blocks, recipients or bindings of other roles", "every action", NULL,
	  restore_blocks },
	{ "open `NAME/current` to read", "secrets/get", NULL, open_read },
	{ "open `NAME/versions/N`, `.coffer/at/EPOCH/NAME/current`", "secrets/get", NULL, open_version },
	{ "open `NAME/current` to replace it (O_TRUNC)", "secrets/set", NULL, open_write },
	{ "open `NAME/current` to write without O_TRUNC, or to append", "secrets/get + secrets/set", NULL,
	  open_append },
	{ "open `NAME/current` to read and write", "secrets/get + secrets/set", NULL, open_both },
	{ "`mkdir NAME`", "secrets/set", NULL, make_dir },
	{ "`rmdir NAME`", "secrets/delete", NULL, remove_empty },
	{ "`mv NAME .coffer/deleted/`", "secrets/delete", NULL, delete },
	{ "`mv .coffer/deleted/NAME NAME`", "secrets/recover", NULL, recover },
	{ "`rmdir .coffer/deleted/NAME`", "secrets/purge", NULL, purge },
	{ "list `/`: names on which there is", "secrets/list", NULL, list_root },
	{ "list `.coffer/deleted`: names on which there is", "secrets/list", NULL, list_deleted },
	{ "list `NAME/versions`", "secrets/list or secrets/get", NULL, list_versions },
	{ "extended attributes", "secrets/list", NULL, get_attribute },
	{ "open `.coffer/ctl`, `.coffer/whoami`", "nothing", NULL, open_ctl },
	{ "open `.coffer/ctl`, `.coffer/whoami`", "nothing", NULL, open_whoami },
	{ "open `.coffer/status`", "vault/status", NULL, open_status },
	{ "open `.coffer/metrics`", "vault/metrics", NULL, open_metrics },
	{ "open `.coffer/audit`, `.coffer/events`", "audit/read", NULL, open_audit },
	{ "open `.coffer/audit`, `.coffer/events`", "audit/read", NULL, open_events },
};
#define ROWS (sizeof rows / sizeof *rows)

/* Is it a request by this name, in quotes of the table? */
static bool speaks_of(const struct row *row, const char *op)
{
	char quoted[64];

	snprintf(quoted, sizeof quoted, "`%s`", op);
	return row->what[0] == '`' && strstr(row->what, quoted) != NULL;
}

static bool changes(const char *fields)
{
	for (size_t t = 0; ctl_tables[t]; t++)
		for (const struct ctl_op *op = ctl_tables[t]; op->name; op++) {
			char start[64];
			snprintf(start, sizeof start, "\"op\":\"%s\"", op->name);
			if (!strncmp(fields, start, strlen(start)))
				return op->changes;
		}
	ck_abort_msg("there is no operation for %s", fields);
	return false;
}

static void held_text(action_set held, char *ret, size_t len)
{
	size_t n = 0;

	ret[0] = '\0';
	if (__builtin_popcountll(held) > 2)
		n = (size_t)snprintf(ret, len, "all but");
	for (unsigned a = 0; a < ACTION_COUNT && n < len; a++)
		if (!!(held & ACTION_BIT(a)) == (__builtin_popcountll(held) <= 2))
			n += (size_t)snprintf(ret + n, len - n, " %s", action_name((enum action)a));
}

/* Backups that were begun and are not ended take the place of others'. */
static void end_backups(void)
{
	backups_free(v.vault.backups);
	v.vault.backups = NULL;
	ck_assert_int_eq(backups_new(&v.vault.backups), 0);
	v.vault.ctl.backups = v.vault.backups;
}

static int try(const struct row *row, const struct identity *who)
{
	return row->act ? row->act(who) : request(who, row->fields, changes(row->fields));
}

/* What is wrong with a row, and how often; the first of it in words. A test has several rows, so that a vault need not
 * be made for each: none hides another. */
static struct {
	unsigned n;
	char first[1024];
} wrong;

static void note_wrong(const struct row *row, const char *who, int r, const char *than)
{
	const size_t len = strlen(wrong.first);

	wrong.n++;
	snprintf(wrong.first + len, sizeof wrong.first - len, "\n%s with%s is %s, but %s", row->what, who,
		 r == -EACCES ? "denied" : "allowed", than);
}

static void try_callers(const struct row *row)
{
	char needs[256], held[128];

	end_backups();
	snprintf(needs, sizeof needs, "it needs %s", row->needs);
	for (size_t i = 0; i < CALLERS; i++) {
		const struct identity who = identity_of(FIRST_UID + (uint32_t)i, true);
		const int r = try(row, &who);
		if ((r != -EACCES) == enough(v.held[i], row->needs))
			continue;
		held_text(v.held[i], held, sizeof held);
		note_wrong(row, held, r, needs);
	}
	/* with every action nothing is denied: so it is the actions that are asked for, and nothing else */
	const int r = try(row, &admin);
	if (r == -EACCES)
		note_wrong(row, " every action", r, "nothing is denied to an administrator");
}

#define GROUP  12u /* rows on one vault */
#define GROUPS ((int)((ROWS + GROUP - 1) / GROUP))

START_TEST(no_pair_of_actions_gives_more_than_the_operation_needs)
{
	for (size_t i = (size_t)_i * GROUP; i < ROWS && i < ((size_t)_i + 1) * GROUP; i++)
		try_callers(&rows[i]);
	ck_assert_msg(wrong.n == 0, "%u are wrong:%s", wrong.n, wrong.first);
}
END_TEST

/* The two together would otherwise bring back what has expired: as a new version, which does not. */
START_TEST(who_may_read_and_write_gets_no_copy_of_what_has_expired)
{
	static const int flags[] = { O_WRONLY, O_WRONLY | O_APPEND, O_RDWR, O_RDWR | O_TRUNC };

	must(OP("grant") ",\"role\":\"secrets-officer\",\"principal\":\"user:9000\",\"on\":\"db\"");
	must(OP("attr") ",\"name\":\"db\",\"expires\":\"2001-01-01T00:00:00Z\"");
	const struct identity who = identity_of(9000, true);
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		ck_assert_int_eq(open_inode(&who, current(), flags[i]), 0);
	must(OP("vault") ",\"enforce_validity\":true");
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		ck_assert_int_eq(open_inode(&who, current(), flags[i]), -EKEYEXPIRED);
	ck_assert_int_eq(open_inode(&who, current(), O_WRONLY | O_TRUNC), 0); /* a new value it may write */
}
END_TEST

/* All actions on other names are none here, but for what may be asked of any name: a list that is empty, pieces that
 * wait. */
START_TEST(every_action_elsewhere_gives_nothing_here)
{
	static const char *const anywhere[] = { "`list`",        "`rotations`",   "`histories`",
						"`restore-key`", "`restore-put`", "`restore-drop`" };
	const struct identity who = identity_of(9100, true);

	must(OP("grant") ",\"role\":\"administrator\",\"principal\":\"user:9100\",\"on\":\"elsewhere-*\"");
	for (const struct row *row = rows; row < rows + ROWS; row++) {
		end_backups();
		bool any = !strcmp(row->needs, "nothing");
		for (size_t i = 0; i < sizeof anywhere / sizeof *anywhere; i++)
			any |= !strcmp(row->what, anywhere[i]);
		const int r = try(row, &who);
		if ((r != -EACCES) != any)
			note_wrong(row, " every action on another scope", r,
				   any ? "it may be asked of any name" : "it is of this one");
	}
	ck_assert_msg(wrong.n == 0, "%u are wrong:%s", wrong.n, wrong.first);
}
END_TEST

/* ---- what is withdrawn while a backup is read ---- */

static json_t *answer_of(const struct identity *who, const char *fields)
{
	char line[512], *answer = NULL;
	struct ctl_request q = { .line = line, .unique = ++v.unique };
	size_t len = 0;
	json_t *o;

	snprintf(line, sizeof line, "{%s}", fields);
	q.len = strlen(line);
	ck_assert_int_eq(ctl_execute(&v.vault.ctl, who, &q, &answer, &len), 0);
	o = json_loadb(answer, len, JSON_DISABLE_EOF_CHECK, NULL);
	free(answer);
	ck_assert_ptr_nonnull(o);
	return o;
}

START_TEST(what_is_withdrawn_before_it_is_read_is_left_out)
{
	static const char *const withdraw[] = {
		OP("disable") ",\"name\":\"db\",\"version\":2",
		OP("destroy") ",\"name\":\"db\",\"version\":2",
		OP("attr") ",\"name\":\"db\",\"version\":2,\"expires\":\"2001-01-01T00:00:00Z\"",
		OP("disable") ",\"name\":\"db\"",
	};
	static const char *const why[] = { "is disabled", "is destroyed", "has expired", "is disabled" };
	const struct identity who = identity_of(9000, true);
	char fields[128];
	json_t *a;

	must(OP("grant") ",\"role\":\"secrets-officer\",\"principal\":\"user:9000\",\"on\":\"db\"");
	must(OP("vault") ",\"enforce_validity\":true");
	a = answer_of(&who, OP("backup") ",\"names\":[\"db\"],\"public_key\":\"" PUBLIC_KEY "\"");
	ck_assert(json_is_string(json_object_get(a, "session")));
	snprintf(fields, sizeof fields, OP("backup-read") ",\"session\":\"%s\",\"chunk\":0",
		 json_string_value(json_object_get(a, "session")));
	json_decref(a);
	must(withdraw[_i]);
	for (int i = 0; i < 2; i++) { /* whoever lost the answer gets the same one */
		a = answer_of(&who, fields);
		const json_t *left = json_object_get(a, "left_out"), *one = json_array_get(left, 0);
		ck_assert_uint_eq(json_array_size(left), 1);
		ck_assert_str_eq(json_string_value(json_object_get(one, "name")), "db");
		ck_assert_str_eq(json_string_value(json_object_get(one, "why")), why[_i]);
		if (_i < 3)
			ck_assert_int_eq(json_integer_value(json_object_get(one, "version")), 2);
		else
			ck_assert(json_is_null(json_object_get(one, "version")));
		json_decref(a);
	}
}
END_TEST

/* The bell, and callers of whom nothing could be found out, have no identity. */
START_TEST(a_caller_without_an_identity_changes_no_name)
{
	const struct inode root = { .type = INODE_ROOT }, deleted = { .type = INODE_OWN, .low = OWN_DELETED };
	struct call asker = { .uid = 5, .gid = 5, .tid = 5, .doubt = true, .patience = WAITS_FOR_ALL };
	const struct rename away = {
		.from = inode_pack(&root), .name = "off", .to = inode_pack(&deleted), .to_name = "off"
	};
	uint64_t ino;

	asker.unique = ++v.unique;
	ck_assert_int_eq(removal_rename(&v.vault, &asker, &away), -EACCES);
	asker.unique = ++v.unique;
	ck_assert_int_eq(removal_rmdir(&v.vault, &asker, inode_pack(&root), "off"), -EACCES);
	asker.unique = ++v.unique;
	asker.resent = true;
	ck_assert_int_eq(removal_rmdir(&v.vault, &asker, inode_pack(&deleted), "lost"), -EACCES);
	asker.resent = false;
	asker.unique = ++v.unique;
	ck_assert_int_eq(names_mkdir(&v.vault, &asker, inode_pack(&root), "made", &ino), -EACCES);
}
END_TEST

START_TEST(each_operation_has_a_row)
{
	for (size_t t = 0; ctl_tables[t]; t++)
		for (const struct ctl_op *op = ctl_tables[t]; op->name; op++) {
			bool found = false;
			for (size_t i = 0; i < ROWS; i++)
				found |= speaks_of(&rows[i], op->name);
			ck_assert_msg(found,
				      "%s: write down in this table, and in contrib/doc/guide/roles.md, what it needs",
				      op->name);
		}
}
END_TEST

START_TEST(the_guide_says_what_each_operation_needs)
{
	static char guide[1 << 16];
	FILE *f = fopen(COFFER_SOURCE_DIR "/contrib/doc/guide/roles.md", "r");
	size_t n;

	ck_assert_ptr_nonnull(f);
	n = fread(guide, 1, sizeof guide - 1, f);
	guide[n] = '\0';
	fclose(f);
	for (size_t i = 0; i < ROWS; i++) {
		char line[512];
		snprintf(line, sizeof line, "\n| %s | %s |", rows[i].what, rows[i].needs);
		ck_assert_msg(strstr(guide, line) != NULL, "contrib/doc/guide/roles.md lacks:%s", line);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rights");
	TCase *table = tcase_create("table"), *pairs = tcase_create("pairs");

	tcase_add_test(table, each_operation_has_a_row);
	tcase_add_test(table, the_guide_says_what_each_operation_needs);
	tcase_add_checked_fixture(pairs, setup, teardown);
	tcase_set_timeout(pairs, 120);
	tcase_add_loop_test(pairs, no_pair_of_actions_gives_more_than_the_operation_needs, 0, GROUPS);
	tcase_add_test(pairs, every_action_elsewhere_gives_nothing_here);
	tcase_add_test(pairs, a_caller_without_an_identity_changes_no_name);
	tcase_add_loop_test(pairs, what_is_withdrawn_before_it_is_read_is_left_out, 0, 4);
	tcase_add_test(pairs, who_may_read_and_write_gets_no_copy_of_what_has_expired);
	suite_add_tcase(s, table);
	suite_add_tcase(s, pairs);
	return run_suite(s);
}
