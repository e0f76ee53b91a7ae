
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "kek_support.h"
#include "store/keys/kek_provider.h"
#include "store/keys/keyholder.h"
#include "store/keys/keyholder_proto.h"
#include "store/keys/keys.h"
#include "store/keys/transport.h"

/* A key holder in a child, forked before this process has locked memory of its own, and a client of it. */
static const struct wrap_context vault_ctx = { .type = WRAP_VAULT_KEY, .vault = { 7 } };
static const struct wrap_context ctx = { .type = WRAP_DEK, .vault = { 7 }, .secret = 5, .version = 2 };

static struct fixture {
	pid_t pid;
	int listener;
	int raw; /* our end of the client socket, owned by keys */
	struct keys *keys;
	char params[KEK_PARAMS_MAX];
	uint8_t check[WRAP_RECORD_MAX], vault_key[KEY_LEN];
	size_t check_len;
	char why[KEK_WHY_MAX];
} f;

static void setup(void)
{
	dir_setup();
	signal(SIGPIPE, SIG_DFL);
	memset(&f, 0, sizeof(f));
	f.listener = -1;
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	return fd;
}

/* Its end of the client's socket, and then ours, which it has no business with. */
static void start_on(struct keyholder_config config, int its, int ours)
{
	f.listener = listen_at(path_of("sock"));
	f.pid = fork();
	ck_assert_int_ge(f.pid, 0);
	if (f.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ours);
		if (secmem_init(ARENA, SECMEM_AUTO) < 0 || crypto_init() < 0)
			_exit(9);
		config.clients = &its;
		config.n_clients = 1;
		config.unseal_fd = f.listener;
		config.check_context = vault_ctx;
		config.check_record = f.check;
		config.check_len = f.check_len;
		_exit(keyholder_run(&config));
	}
	close(its);
}

static void start(struct keyholder_config config)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	start_on(config, pair[1], pair[0]);
	f.raw = pair[0];
	ck_assert_int_eq(keys_new_socket(pair[0], &f.keys), 0);
}

static int finish(void)
{
	int status;

	keys_free(f.keys);
	f.keys = NULL;
	close(f.listener);
	ck_assert_int_eq(waitpid(f.pid, &status, 0), f.pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void prepare_check(struct kek *k)
{
	ck_assert_int_eq(wrap_new(k, &vault_ctx, f.vault_key, f.check, &f.check_len), 0);
	kek_close(k);
}

static void start_file(void)
{
	prepare_check(file_kek());
	start((struct keyholder_config){ .source = { .uri = uri_of("kek"), .fd = -1 } });
}

static void start_passphrase(void)
{
	struct kek_source src = { .uri = CHEAP, .fd = -1, .passphrase = "open sesame", .passphrase_len = 11 };
	struct kek *k = NULL;

	ck_assert_int_eq(kek_create(&src, f.params, &k, f.why, sizeof(f.why)), 0);
	prepare_check(k);
	start((struct keyholder_config){ .source = { .uri = CHEAP, .params = f.params, .fd = -1 } });
}

static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

static int unseal(const char *passphrase)
{
	f.why[0] = '\0';
	return keyholder_unseal(path_of("sock"), passphrase, strlen(passphrase), f.why, sizeof(f.why));
}

static void *wrap_one(void *arg)
{
	uint8_t key[KEY_LEN], record[WRAP_RECORD_MAX];
	size_t len;

	*(int *)arg = keys_wrap_new(f.keys, &ctx, key, record, &len);
	return NULL;
}

/* The one before took the request along: who waits for its answer must not wait until his deadline. */
START_TEST(holder_that_follows_a_dead_one_is_asked_again)
{
	uint8_t taken[8192];
	pthread_t thread;
	int pair[2], r = -1;

	prepare_check(file_kek());
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	f.raw = pair[0];
	ck_assert_int_eq(keys_new_socket(pair[0], &f.keys), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, wrap_one, &r), 0);
	ck_assert_int_gt(recv(pair[1], taken, sizeof taken, 0), 0);
	start_on((struct keyholder_config){ .source = { .uri = uri_of("kek"), .fd = -1 }, .announce = true }, pair[1],
		 pair[0]);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(finish(), 0);
}
END_TEST

START_TEST(wraps_and_unwraps)
{
	uint8_t key[KEY_LEN], back[KEY_LEN], record[WRAP_RECORD_MAX];
	struct wrap_context other = ctx;
	struct keys_state state;
	size_t len;

	start_file();
	ck_assert_int_eq(keys_wrap_new(f.keys, &ctx, key, record, &len), 0);
	ck_assert_uint_eq(len, 124);
	ck_assert_int_eq(keys_unwrap(f.keys, &ctx, record, len, back), 0);
	ck_assert_mem_eq(key, back, KEY_LEN);
	ck_assert_int_eq(keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, back), 0);
	ck_assert_mem_eq(f.vault_key, back, KEY_LEN);
	other.version++;
	ck_assert_int_eq(keys_unwrap(f.keys, &other, record, len, back), -EBADMSG);
	ck_assert_int_eq(keys_unwrap(f.keys, &vault_ctx, record, len, back), -EBADMSG);
	ck_assert_int_eq(keys_unwrap(f.keys, &ctx, record, len - 1, back), -EBADMSG);
	ck_assert_int_eq(keys_unwrap(f.keys, &ctx, record, WRAP_RECORD_MAX + 1, back), -EBADMSG);
	record[40] ^= 1; /* names another KEK: not the error of a sealed vault */
	ck_assert_int_eq(keys_unwrap(f.keys, &ctx, record, len, back), -EBADMSG);
	ck_assert_int_eq(keys_state(f.keys, &state), 0);
	ck_assert(!state.sealed);
	ck_assert_str_eq(state.provider, "file");
	ck_assert_uint_eq(state.unwraps, 6);
	ck_assert_mem_eq(state.kek_id, f.check + 36, KEK_ID_LEN);
	ck_assert_int_eq(finish(), 0);
}
END_TEST

START_TEST(works_with_rsa)
{
	uint8_t key[KEY_LEN], back[KEY_LEN], record[WRAP_RECORD_MAX];
	size_t len;

	prepare_check(rsa_kek());
	start((struct keyholder_config){ .source = { .uri = uri_of("rsa"), .fd = -1 } });
	ck_assert_int_eq(keys_wrap_new(f.keys, &ctx, key, record, &len), 0);
	ck_assert_int_eq(keys_unwrap(f.keys, &ctx, record, len, back), 0);
	ck_assert_mem_eq(key, back, KEY_LEN);
	ck_assert_int_eq(finish(), 0);
}
END_TEST

START_TEST(starts_sealed_without_a_passphrase)
{
	uint8_t key[KEY_LEN], record[WRAP_RECORD_MAX];
	struct keys_state state;
	size_t len;

	start_passphrase();
	ck_assert_int_eq(keys_state(f.keys, &state), 0);
	ck_assert(state.sealed);
	ck_assert_str_eq(state.provider, "passphrase");
	ck_assert_int_eq(keys_wrap_new(f.keys, &ctx, key, record, &len), -ENOKEY);
	ck_assert_int_eq(keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key), -ENOKEY);
	ck_assert(!keys_state_changed(f.keys));
	ck_assert_int_eq(finish(), 0);
}
END_TEST

START_TEST(unseals_with_the_right_passphrase_alone)
{
	uint8_t key[KEY_LEN];
	struct keys_state state;

	start_passphrase();
	ck_assert_int_eq(unseal("open sesamE"), -EKEYREJECTED);
	ck_assert_ptr_nonnull(strstr(f.why, "does not open"));
	ck_assert_int_eq(unseal(""), -EKEYREJECTED);
	ck_assert(!readable(keys_fd(f.keys), 0));
	ck_assert_int_eq(keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key), -ENOKEY);
	ck_assert_int_eq(unseal("open sesame"), 0);
	ck_assert(readable(keys_fd(f.keys), 2000));
	ck_assert(keys_state_changed(f.keys));
	ck_assert(!keys_state_changed(f.keys));
	ck_assert(!readable(keys_fd(f.keys), 0));
	ck_assert_int_eq(keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key), 0);
	ck_assert_mem_eq(key, f.vault_key, KEY_LEN);
	ck_assert_int_eq(unseal("whatever"), 0); /* it is unsealed */
	ck_assert_int_eq(keys_state(f.keys, &state), 0);
	ck_assert(!state.sealed);
	ck_assert_int_eq(finish(), 0);
}
END_TEST

START_TEST(seals_until_the_next_unseal)
{
	uint8_t key[KEY_LEN];

	start_file();
	ck_assert_int_eq(keys_seal(f.keys), 0);
	ck_assert_int_eq(keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key), -ENOKEY);
	/* a call may have met the notice: who polls must still hear of it */
	ck_assert(readable(keys_fd(f.keys), 2000));
	ck_assert(keys_state_changed(f.keys));
	ck_assert_int_eq(keys_seal(f.keys), 0);
	ck_assert(!keys_state_changed(f.keys));
	ck_assert_int_eq(unseal(""), 0); /* the file is read again */
	ck_assert_int_eq(keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key), 0);
	ck_assert_int_eq(finish(), 0);
}
END_TEST

START_TEST(stays_sealed_when_the_file_became_another)
{
	uint8_t key[KEY_LEN] = { 3 };

	start_file();
	ck_assert_int_eq(keys_seal(f.keys), 0);
	write_file("kek", key, 32, 0600);
	ck_assert_int_eq(unseal(""), -EKEYREJECTED);
	ck_assert_ptr_nonnull(strstr(f.why, "another vault's"));
	ck_assert_int_eq(chmod(path_of("kek"), 0644), 0);
	ck_assert_int_eq(unseal(""), -EKEYREJECTED);
	ck_assert_ptr_nonnull(strstr(f.why, "chmod 600"));
	ck_assert_int_eq(keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key), -ENOKEY);
	ck_assert_int_eq(finish(), 0);
}
END_TEST

/* The last word of a holder that ends. */
static void wait_for_the_fault(int expected)
{
	ck_assert(readable(keys_fd(f.keys), 10000));
	ck_assert(keys_state_changed(f.keys));
	ck_assert_int_eq(keys_fault(f.keys, f.why, sizeof(f.why)), expected);
}

static void *ask_state(void *keys)
{
	struct keys_state state;

	return (void *)(intptr_t)keys_state(keys, &state);
}

START_TEST(refuses_to_start_with_another_vaults_key)
{
	uint8_t key[KEY_LEN] = { 3 };

	prepare_check(file_kek());
	write_file("kek", key, 32, 0600);
	start((struct keyholder_config){ .source = { .uri = uri_of("kek"), .fd = -1 } });
	wait_for_the_fault(-EKEYREJECTED);
	ck_assert_ptr_nonnull(strstr(f.why, "another vault's"));
	ck_assert_int_eq(keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key), -EIO);
	ck_assert_int_eq(finish(), 1);
}
END_TEST

START_TEST(says_why_it_has_no_key)
{
	uint8_t key[KEY_LEN] = { 3 };

	prepare_check(file_kek());
	write_file("kek", key, 31, 0600);
	start((struct keyholder_config){ .source = { .uri = uri_of("kek"), .fd = -1 } });
	wait_for_the_fault(-EIO);
	ck_assert_ptr_nonnull(strstr(f.why, "31 bytes"));
	ck_assert_ptr_nonnull(strstr(f.why, "from its copy"));
	ck_assert_ptr_null(strchr(f.why, '\n'));
	ck_assert_int_eq(finish(), 1);
}
END_TEST

/* The keeper keeps both ends of a client's socket, so that the next holder works on it. */
START_TEST(a_call_ends_at_a_fault_which_the_next_answer_clears)
{
	struct kh_reply fault = { .result = -EKEYREJECTED, .record_len = 4, .record = "why" };
	uint8_t key[KEY_LEN];
	int pair[2];
	struct kh_request request;
	struct kh_reply reply = { 0 };
	struct keys *keys = NULL;
	pthread_t thread;
	void *result;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(keys_new_socket(pair[0], &keys), 0);
	ck_assert_int_eq(keys_fault(keys, f.why, sizeof(f.why)), 0);
	ck_assert_int_eq(send(pair[1], &fault, sizeof(fault), 0), sizeof(fault));
	ck_assert_int_eq(keys_unwrap(keys, &vault_ctx, f.check, 0, key), -ETIMEDOUT);
	ck_assert_int_eq(keys_fault(keys, f.why, sizeof(f.why)), -EKEYREJECTED);
	ck_assert_str_eq(f.why, "why");
	ck_assert(keys_state_changed(keys));
	ck_assert_int_eq(recv(pair[1], &request, sizeof(request), 0), sizeof(request));

	ck_assert_int_eq(pthread_create(&thread, NULL, ask_state, keys), 0);
	ck_assert_int_eq(recv(pair[1], &request, sizeof(request), 0), sizeof(request));
	reply.number = request.number;
	ck_assert_int_eq(send(pair[1], &reply, sizeof(reply), 0), sizeof(reply));
	ck_assert_int_eq(pthread_join(thread, &result), 0);
	ck_assert_ptr_null(result);
	ck_assert_int_eq(keys_fault(keys, f.why, sizeof(f.why)), 0);
	close(pair[1]);
	keys_free(keys);
}
END_TEST

static int held[2][2]; /* pipes: a thread says that it is in the handler; it may go on */

static void hold_thread(int signal)
{
	char byte = 0;

	(void)signal;
	(void)!write(held[0][1], &byte, 1);
	(void)!read(held[1][0], &byte, 1);
}

/* Who polls for news is not woken by the answer to somebody's question, however long that one takes to fetch it: there
 * is nothing that he could do about it, again and again. */
START_TEST(an_answer_is_no_news)
{
	struct kh_request request;
	struct kh_reply reply = { .began = 1 };
	struct keys *keys;
	pthread_t thread;
	void *result;
	int pair[2];
	char byte = 0;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	ck_assert_int_eq(pipe(held[0]) | pipe(held[1]), 0);
	signal(SIGUSR1, hold_thread);
	ck_assert_int_eq(keys_new_socket(pair[0], &keys), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, ask_state, keys), 0);
	ck_assert_int_eq(recv(pair[1], &request, sizeof(request), 0), sizeof(request));
	ck_assert_int_eq(pthread_kill(thread, SIGUSR1), 0);
	ck_assert_int_eq(read(held[0][0], &byte, 1), 1);
	reply.number = request.number;
	ck_assert_int_eq(send(pair[1], &reply, sizeof(reply), 0), sizeof(reply));
	ck_assert(!readable(keys_fd(keys), 0));
	ck_assert(!keys_state_changed(keys));
	ck_assert_int_eq(write(held[1][1], &byte, 1), 1);
	ck_assert_int_eq(pthread_join(thread, &result), 0);
	ck_assert_ptr_null(result);
	ck_assert(!readable(keys_fd(keys), 0));
	/* afterwards he hears again */
	reply.number = 0;
	ck_assert_int_eq(send(pair[1], &reply, sizeof(reply), 0), sizeof(reply));
	ck_assert(readable(keys_fd(keys), 2000));
	ck_assert(keys_state_changed(keys));
	close(pair[1]);
	keys_free(keys);
}
END_TEST

static void answer_state(int fd)
{
	struct kh_request request;
	struct kh_reply reply = { .began = 1 };

	ck_assert_int_eq(recv(fd, &request, sizeof(request), 0), sizeof(request));
	reply.number = request.number;
	ck_assert_int_eq(send(fd, &reply, sizeof(reply), 0), sizeof(reply));
}

/* News that cannot be taken up now, for a call is on the socket, is told when that is done, and not all the while. */
START_TEST(news_waits_for_the_call_that_follows_it)
{
	const struct kh_reply news = { 0 };
	struct keys *keys;
	pthread_t thread;
	int pair[2];
	char byte;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	ck_assert_int_eq(keys_new_socket(pair[0], &keys), 0);
	ck_assert_int_eq(send(pair[1], &news, sizeof(news), 0), sizeof(news));
	ck_assert_int_eq(pthread_create(&thread, NULL, ask_state, keys), 0);
	answer_state(pair[1]);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(readable(keys_fd(keys), 0));

	ck_assert_int_eq(pthread_create(&thread, NULL, ask_state, keys), 0);
	ck_assert_int_eq(recv(pair[1], &byte, 1, MSG_PEEK), 1);
	ck_assert(!keys_state_changed(keys));
	ck_assert(!readable(keys_fd(keys), 0));
	answer_state(pair[1]);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(readable(keys_fd(keys), 2000));
	ck_assert(keys_state_changed(keys));
	ck_assert(!readable(keys_fd(keys), 0));
	close(pair[1]);
	keys_free(keys);
}
END_TEST

static int64_t timed_unwrap(int *ret_r)
{
	uint8_t key[KEY_LEN];
	int64_t begin = kh_now_ms();

	*ret_r = keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key);
	return kh_now_ms() - begin;
}

static void *unwrap_in_thread(void *arg)
{
	int64_t ms = timed_unwrap(arg);

	return (void *)(intptr_t)ms;
}

/* Two callers: the second waits for its turn, and that counts. */
START_TEST(gives_up_at_the_deadline_and_drops_the_late_reply)
{
	struct keys_state state;
	uint8_t key[KEY_LEN], record[WRAP_RECORD_MAX];
	pthread_t t;
	size_t len;
	void *ms;
	int r = 0, r_thread = 0;

	start_file();
	ck_assert_int_eq(keys_state(f.keys, &state), 0);
	ck_assert_int_eq(kill(f.pid, SIGSTOP), 0);
	ck_assert_int_eq(waitpid(f.pid, NULL, WUNTRACED), f.pid);
	ck_assert_int_eq(pthread_create(&t, NULL, unwrap_in_thread, &r_thread), 0);
	int64_t mine = timed_unwrap(&r);
	pthread_join(t, &ms);
	ck_assert_int_eq(kill(f.pid, SIGCONT), 0);
	ck_assert_int_eq(r, -ETIMEDOUT);
	ck_assert_int_eq(r_thread, -ETIMEDOUT);
	ck_assert_int_lt(mine, KEYS_DEADLINE_MS + 1000);
	ck_assert_int_lt((intptr_t)ms, KEYS_DEADLINE_MS + 1000);
	ck_assert_int_ge(mine, KEYS_DEADLINE_MS - 50);
	ck_assert_int_eq(keys_wrap_new(f.keys, &ctx, key, record, &len), 0);
	ck_assert_uint_eq(len, 124);
	ck_assert_int_eq(finish(), 0);
}
END_TEST

/* A holder of the test's own, which answers what a script says. */
static void *answer_crookedly(void *arg)
{
	int fd = *(int *)arg;
	struct kh_request request;
	struct kh_reply reply;

	while (recv(fd, &request, sizeof(request), 0) == sizeof(request)) {
		memset(&reply, 0, sizeof(reply));
		reply.number = request.number + 1; /* somebody else's */
		memset(reply.key, 0xee, KEY_LEN);
		(void)!send(fd, &reply, sizeof(reply), MSG_NOSIGNAL);
		(void)!send(fd, "short", 5, MSG_NOSIGNAL);
		reply.number = 0;
		(void)!send(fd, &reply, sizeof(reply), MSG_NOSIGNAL);
		reply.number = request.number;
		memset(reply.key, 0x11, KEY_LEN);
		reply.record_len = request.op == KH_WRAP_NEW ? WRAP_RECORD_MAX + 1 : 0;
		reply.result = request.op == KH_SEAL ? -EPERM : 0;
		memset(reply.provider, 'x', sizeof(reply.provider));
		(void)!send(fd, &reply, sizeof(reply), MSG_NOSIGNAL);
	}
	close(fd);
	return NULL;
}

START_TEST(client_takes_its_own_reply_alone)
{
	uint8_t key[KEY_LEN], expected[KEY_LEN], record[WRAP_RECORD_MAX] = { 0 };
	struct keys_state state;
	pthread_t t;
	size_t len = 0;
	int pair[2];

	memset(expected, 0x11, sizeof(expected));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(keys_new_socket(pair[0], &f.keys), 0);
	ck_assert_int_eq(pthread_create(&t, NULL, answer_crookedly, &pair[1]), 0);
	ck_assert_int_eq(keys_unwrap(f.keys, &ctx, record, 124, key), 0);
	ck_assert_mem_eq(key, expected, KEY_LEN);
	ck_assert(readable(keys_fd(f.keys), 0));
	ck_assert(keys_state_changed(f.keys));
	ck_assert(!readable(keys_fd(f.keys), 0));
	ck_assert_int_eq(keys_wrap_new(f.keys, &ctx, key, record, &len), -EIO);
	ck_assert_int_eq(keys_seal(f.keys), -EIO);
	ck_assert_int_eq(keys_state(f.keys, &state), 0);
	ck_assert_uint_eq(strlen(state.provider), sizeof(state.provider) - 1);
	ck_assert(!secmem_contains(expected, 16));
	keys_free(f.keys);
	pthread_join(t, NULL);
}
END_TEST

START_TEST(end_of_the_holder_is_one_change)
{
	uint8_t key[KEY_LEN];

	start_file();
	ck_assert_int_eq(keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key), 0);
	ck_assert_int_eq(kill(f.pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(f.pid, NULL, 0), f.pid);
	ck_assert(readable(keys_fd(f.keys), 2000));
	ck_assert(keys_state_changed(f.keys));
	ck_assert(!readable(keys_fd(f.keys), 0));
	ck_assert(!keys_state_changed(f.keys));
	ck_assert_int_eq(keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key), -EIO);
	keys_free(f.keys);
	close(f.listener);
}
END_TEST

static void request_raw(uint32_t op, uint32_t type, uint32_t record_len, int32_t expected)
{
	struct kh_request request = { .number = 99, .op = op, .type = type, .record_len = record_len };
	struct kh_reply reply;

	ck_assert_int_eq(send(f.raw, &request, sizeof(request), 0), sizeof(request));
	ck_assert(readable(f.raw, 2000));
	ck_assert_int_eq(recv(f.raw, &reply, sizeof(reply), 0), sizeof(reply));
	ck_assert_uint_eq(reply.number, 99);
	ck_assert_int_eq(reply.result, expected);
	for (size_t i = 0; i < KEY_LEN; i++)
		ck_assert_uint_eq(reply.key[i], 0);
}

START_TEST(holder_survives_crooked_requests)
{
	struct kh_request big[2] = { 0 };
	uint8_t key[KEY_LEN];

	start_file();
	ck_assert_int_eq(send(f.raw, "x", 1, 0), 1);
	ck_assert_int_eq(send(f.raw, big, sizeof(big), 0), sizeof(big));
	ck_assert_int_eq(send(f.raw, big, sizeof(big[0]), 0), sizeof(big[0])); /* number 0 */
	request_raw(0, WRAP_DEK, 0, -EINVAL);
	request_raw(77, WRAP_DEK, 0, -EINVAL);
	request_raw(KH_UNWRAP, 0, 124, -EINVAL);
	request_raw(KH_UNWRAP, 3, 124, -EINVAL);
	request_raw(KH_WRAP_NEW, 0xffffffff, 0, -EINVAL);
	request_raw(KH_UNWRAP, WRAP_DEK, 0, -EBADMSG);
	request_raw(KH_UNWRAP, WRAP_DEK, WRAP_RECORD_MAX + 1, -EBADMSG);
	request_raw(KH_UNWRAP, WRAP_DEK, 0xffffffff, -EBADMSG);
	ck_assert_int_eq(keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key), 0);
	ck_assert_int_eq(finish(), 0);
}
END_TEST

START_TEST(unwraps_are_rate_limited)
{
	uint8_t key[KEY_LEN];
	int done = 0, r = 0;

	prepare_check(file_kek());
	start((struct keyholder_config){
		.source = { .uri = uri_of("kek"), .fd = -1 }, .unwraps_per_second = 1, .unwrap_burst = 5 });
	while (done < 20 && (r = keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key)) == 0)
		done++;
	ck_assert_int_eq(r, -EBUSY);
	ck_assert_int_ge(done, 5);
	ck_assert_int_lt(done, 20);
	ck_assert_int_eq(finish(), 0);
}
END_TEST

/* Who connects and says nothing holds up neither clients nor who comes after. */
START_TEST(stalled_visitors_hold_nobody_up)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int stalled[3];
	uint8_t key[KEY_LEN];
	int64_t begin;

	start_passphrase();
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path_of("sock"));
	for (size_t i = 0; i < 3; i++) {
		stalled[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(connect(stalled[i], (struct sockaddr *)&addr, sizeof(addr)), 0);
		ck_assert_int_eq(send(stalled[i], "open", 4, 0), 4);
	}
	begin = kh_now_ms();
	ck_assert_int_eq(keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key), -ENOKEY);
	ck_assert_int_eq(unseal("open sesame"), 0);
	ck_assert_int_lt(kh_now_ms() - begin, 4000);
	for (size_t i = 0; i < 3; i++)
		close(stalled[i]);
	ck_assert_int_eq(finish(), 0);
}
END_TEST

START_TEST(only_root_unseals)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		return;
	start_passphrase();
	ck_assert_int_eq(chmod(test_dir, 0711), 0);
	ck_assert_int_eq(chmod(path_of("sock"), 0666), 0);
	pid = fork();
	if (pid == 0) {
		char why[KEK_WHY_MAX] = "";
		if (setuid(65534) < 0)
			_exit(1);
		_exit(keyholder_unseal(path_of("sock"), "open sesame", 11, why, sizeof(why)) == -EACCES &&
				      strstr(why, "only root")
			      ? 0
			      : 2);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	ck_assert(!keys_state_changed(f.keys));
	ck_assert_int_eq(finish(), 0);
}
END_TEST

START_TEST(unseal_says_when_nobody_answers)
{
	static char lengthy[PASSPHRASE_MAX + 1];

	ck_assert_int_eq(unseal("x"), -EIO);
	ck_assert_ptr_nonnull(strstr(f.why, "cofferd"));
	ck_assert_int_eq(keyholder_unseal(path_of("sock"), lengthy, sizeof(lengthy), f.why, sizeof(f.why)), -EINVAL);
}
END_TEST

START_TEST(local_keys_do_the_same)
{
	uint8_t key[KEY_LEN], back[KEY_LEN], record[WRAP_RECORD_MAX];
	struct wrap_context other = ctx;
	struct keys_state state;
	size_t len;

	ck_assert_int_eq(keys_new_local(file_kek(), &f.keys), 0);
	ck_assert_int_eq(keys_wrap_new(f.keys, &ctx, key, record, &len), 0);
	ck_assert_int_eq(keys_unwrap(f.keys, &ctx, record, len, back), 0);
	ck_assert_mem_eq(key, back, KEY_LEN);
	other.secret++;
	ck_assert_int_eq(keys_unwrap(f.keys, &other, record, len, back), -EBADMSG);
	record[40] ^= 1;
	ck_assert_int_eq(keys_unwrap(f.keys, &ctx, record, len, back), -EBADMSG);
	record[40] ^= 1;
	ck_assert_int_eq(keys_fd(f.keys), -1);
	ck_assert(!keys_state_changed(f.keys));
	ck_assert_int_eq(keys_seal(f.keys), 0);
	ck_assert_int_eq(keys_unwrap(f.keys, &ctx, record, len, back), -ENOKEY);
	ck_assert_int_eq(keys_wrap_new(f.keys, &ctx, key, record, &len), -ENOKEY);
	ck_assert_int_eq(keys_state(f.keys, &state), 0);
	ck_assert(state.sealed);
	ck_assert_str_eq(state.provider, "file");
	keys_free(f.keys);
	keys_free(NULL);
}
END_TEST

static void *unwrap_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < 300; i++) {
		uint8_t key[KEY_LEN];
		if (keys_unwrap(f.keys, &vault_ctx, f.check, f.check_len, key) != 0 ||
		    memcmp(key, f.vault_key, KEY_LEN) != 0)
			return (void *)1;
	}
	return NULL;
}

START_TEST(threads_share_a_socket)
{
	pthread_t t[4];

	start_file();
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, unwrap_often, NULL), 0);
	for (size_t i = 0; i < 4; i++) {
		void *result;
		pthread_join(t[i], &result);
		ck_assert_ptr_null(result);
	}
	ck_assert_int_eq(finish(), 0);
}
END_TEST

/* A version's key goes from one vault's KEK under a file key to another's, by way of a recipient, and stays the same
 * key. */
static void carry(struct keys *from, struct keys *to)
{
	static const uint8_t vault[16] = { 7 }, elsewhere[16] = { 8 };
	struct wrap_context becomes = { .type = WRAP_DEK, .vault = { 8 }, .secret = 900, .version = 12 };
	uint8_t private[CURVE_LEN], public[CURVE_LEN], holder[CURVE_LEN], key[KEY_LEN], back[KEY_LEN],
		file_key[KEY_LEN], stream[KEY_LEN], box[BOX_LEN];
	struct keys_item items[2] = { { .was = ctx, .becomes = becomes } }, kept;
	struct transport_start begun;

	ck_assert_int_eq(random_bytes(private, CURVE_LEN), 0);
	ck_assert_int_eq(x25519_public(private, public), 0);
	ck_assert_int_eq(keys_wrap_new(from, &ctx, key, items[0].data, &items[0].len), 0);
	kept = items[1] = items[0];
	ck_assert_int_eq(keys_backup_begin(from, vault, public, &begun), 0);
	items[1].was.version++; /* a record passed for another version's */
	ck_assert_int_eq(keys_backup_export(from, vault, begun.ticket, begun.ticket_len, items, 2), -EBADMSG);
	items[0] = kept;
	ck_assert_int_eq(keys_backup_export(from, elsewhere, begun.ticket, begun.ticket_len, items, 1), -EBADMSG);
	ck_assert_int_eq(keys_backup_export(from, vault, begun.ticket, begun.ticket_len, items, 1), 0);
	ck_assert_uint_eq(items[0].len, SEALED_SEED_LEN);

	ck_assert_int_eq(box_open(box_label_recipient, private, begun.box, file_key), 0);
	ck_assert_int_eq(keys_restore_key(to, holder), 0);
	ck_assert_int_eq(box_seal(box_label_holder, holder, file_key, box), 0);
	ck_assert_int_eq(keys_restore_begin(to, box, stream), 0);
	ck_assert_mem_eq(stream, begun.stream_key, KEY_LEN);
	kept = items[1] = items[0];
	items[1].was.version++;
	ck_assert_int_eq(keys_restore_import(to, box, items, 2), -EBADMSG);
	items[0] = kept;
	box[BOX_LEN - 1] ^= 1;
	ck_assert_int_eq(keys_restore_import(to, box, items, 1), -EBADMSG);
	box[BOX_LEN - 1] ^= 1;
	ck_assert_int_eq(keys_restore_import(to, box, items, 1), 0);
	ck_assert_int_eq(keys_unwrap(to, &becomes, items[0].data, items[0].len, back), 0);
	ck_assert_mem_eq(back, key, KEY_LEN);
	ck_assert_int_eq(keys_unwrap(to, &ctx, items[0].data, items[0].len, back), -EBADMSG);
	/* Neither the file key nor the signing key can be had by unwrapping. */
	becomes = (struct wrap_context){ .type = WRAP_BACKUP, .vault = { 7 } };
	if (keys_fd(from) >= 0)
		ck_assert_int_ne(keys_unwrap(from, &becomes, begun.ticket, begun.ticket_len, back), 0);
}

START_TEST(carries_keys_from_one_kek_to_another)
{
	struct kek_source other = { .fd = -1 };
	struct kek *kek = NULL;
	struct keys *local = NULL;

	start_file();
	other.uri = uri_of("other");
	ck_assert_int_eq(kek_create(&other, f.params, &kek, f.why, sizeof(f.why)), 0);
	ck_assert_int_eq(keys_new_local(kek, &local), 0);
	carry(f.keys, local);
	carry(local, f.keys);
	carry(f.keys, f.keys);
	keys_free(local);
	unlink(path_of("other"));
	ck_assert_int_eq(finish(), 0);
}
END_TEST

START_TEST(signs_for_one_vault)
{
	static const uint8_t vault[16] = { 7 }, elsewhere[16] = { 8 };
	uint8_t record[WRAP_RECORD_MAX], public[CURVE_LEN], signature[SIGNATURE_LEN], digest[DIGEST_LEN] = { 1 };
	size_t len = 0;

	start_file();
	ck_assert_int_eq(keys_signer_new(f.keys, vault, record, &len, public), 0);
	ck_assert_int_eq(keys_sign(f.keys, vault, record, len, digest, signature), 0);
	ck_assert_int_eq(signer_verify(public, digest, signature), 0);
	ck_assert_int_eq(keys_sign(f.keys, elsewhere, record, len, digest, signature), -EBADMSG);
	digest[31] ^= 1;
	ck_assert_int_eq(signer_verify(public, digest, signature), -EBADMSG);
	ck_assert_int_eq(keys_seal(f.keys), 0);
	ck_assert_int_eq(keys_sign(f.keys, vault, record, len, digest, signature), -ENOKEY);
	ck_assert_int_eq(finish(), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("keyholder");
	TCase *t = tcase_create("keyholder");

	tcase_add_checked_fixture(t, setup, dir_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, wraps_and_unwraps);
	tcase_add_test(t, holder_that_follows_a_dead_one_is_asked_again);
	tcase_add_test(t, works_with_rsa);
	tcase_add_test(t, starts_sealed_without_a_passphrase);
	tcase_add_test(t, unseals_with_the_right_passphrase_alone);
	tcase_add_test(t, seals_until_the_next_unseal);
	tcase_add_test(t, stays_sealed_when_the_file_became_another);
	tcase_add_test(t, refuses_to_start_with_another_vaults_key);
	tcase_add_test(t, says_why_it_has_no_key);
	tcase_add_test(t, a_call_ends_at_a_fault_which_the_next_answer_clears);
	tcase_add_test(t, an_answer_is_no_news);
	tcase_add_test(t, news_waits_for_the_call_that_follows_it);
	tcase_add_test(t, gives_up_at_the_deadline_and_drops_the_late_reply);
	tcase_add_test(t, client_takes_its_own_reply_alone);
	tcase_add_test(t, end_of_the_holder_is_one_change);
	tcase_add_test(t, holder_survives_crooked_requests);
	tcase_add_test(t, unwraps_are_rate_limited);
	tcase_add_test(t, stalled_visitors_hold_nobody_up);
	tcase_add_test(t, only_root_unseals);
	tcase_add_test(t, unseal_says_when_nobody_answers);
	tcase_add_test(t, local_keys_do_the_same);
	tcase_add_test(t, threads_share_a_socket);
	tcase_add_test(t, carries_keys_from_one_kek_to_another);
	tcase_add_test(t, signs_for_one_vault);
	suite_add_tcase(s, t);
	return run_suite(s);
}
