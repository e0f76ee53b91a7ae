/* The runner: a process that runs the programs of hooks and of rotation policies, outside the worker's cell, as the
 * user that each is to run as.
 *
 * It has CAP_SETUID and CAP_SETGID to become that user and CAP_KILL to end what does not end, and nothing else; its
 * programs have none of them, whoever they run as (the bounding set is empty and no_new_privs is set). So a captured
 * worker must not be able to choose what runs: a request names a command and a user exactly as a line of
 * STORE/hooks.allow does, a file that only root can change, and the runner puts nothing into it but a secret's name, a
 * version's number and an event's word. It keeps no Landlock or seccomp filter: programs would inherit it.
 *
 * A program gets: words of the command as argv, /dev/null as stdin and stdout (or a pipe for the new value, whose other
 * end goes to the worker: the value never passes through the runner), a session and process group of its own, which is
 * killed as a whole at the deadline and when the program ends, a fixed environment, no other descriptor. */
#ifndef COFFER_FS_HELPERS_RUNNER_H
#define COFFER_FS_HELPERS_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/core/rules_table.h"

#define RUNNER_ALLOW    "hooks.allow" /* in the store's directory: lines of "UID COMMAND" */
#define RUNNER_TEXT_MAX 200

enum runner_type {
	RUNNER_CHECK = 1,
	RUNNER_RUN,
	RUNNER_STARTED,
	RUNNER_ENDED,
	RUNNER_RESUME,
	RUNNER_GROUPS,
	RUNNER_DEFAULT
};

struct runner_request {
	/* RUNNER_GROUPS: no program; the "value" is the groups of the account `user`, as u32: how many, and each
	 * (fs/helpers/runner_groups.c). RUNNER_CHECK: would it run? RUNNER_DEFAULT: as whom does a program run that
	 * names no user? The answer's cookie is the uid. RUNNER_RESUME: only if it does already, or did: else it is
	 * answered -ENOENT, which nothing else is */
	uint32_t type;
	uint32_t number; /* of the question, for its answers */
	/* what this run is: the same again is answered by the run under way or its result, also to another worker. 0,
	 * 0: no such thing */
	uint64_t key[2];
	uint64_t cookie;        /* comes back with the answers; that of the first question, if this was asked before */
	uint32_t user, timeout; /* s */
	uint32_t wants_value;
	uint32_t event;   /* enum event_kind, 0: none */
	uint32_t version; /* 0: none */
	char name[NAME_LEN_MAX + 2];
	char command[HOOK_COMMAND_MAX];
};

struct runner_answer {
	/* RUNNER_STARTED: comes with the pipe's reading end, if a value was wanted; RUNNER_ENDED */
	uint32_t type;
	uint32_t number;
	uint64_t cookie;
	int32_t error;  /* 0; or why it was not run: negative errno */
	int32_t status; /* of wait(2) */
	uint32_t timed_out;
	int32_t runner;             /* its pid */
	char text[RUNNER_TEXT_MAX]; /* one line about the error, or the first line of the program's stderr */
};

/* ---- commands: words as a shell has them, without a shell: between blanks, with '…', "…" and backslashes; %n is the
 * secret's name, %v the version, %e the event, %% a percent sign ---- */

#define RUNNER_WORDS_MAX 64

/* The first character that a shell would do more with than a word has (| > $ * …), outside the quotes that keep it from
 * that; 0: none. What has one is no command, for nobody would do it. */
char runner_command_shellish(const char *command);
/* Does the command depend on what happened? Then each event is a run of its own. */
bool runner_command_varies(const char *command);
/* The words with what stands for the percents; *ret_buf is malloc'd and holds them. 0; -EINVAL (another %, too many
 * words, a quote that does not end); -ENOMEM. */
int runner_expand(const struct runner_request *request, char **ret_buf, char *ret_argv[RUNNER_WORDS_MAX + 1]);

/* May programs run as this user at all? Not as nobody, by number or name. 0; -EPERM with one line in why. Looks users
 * up. */
int runner_user_check(uint32_t user, char *why, size_t why_len);
/* Could the command run as this user, if a line allowed it? Its words, and who could write the program. 0; -EINVAL (no
 * such command can be), -ENOENT (there is no such program) or -EPERM with one line in why. */
int runner_command_check(uint32_t user, const char *command, char *why, size_t why_len);
/* Is the command allowed to run as this user? dir is the store's. 0; -EPERM, or what runner_command_check says, with
 * one line in why. */
int runner_allowed(int dir, uint32_t user, const char *command, char *why, size_t why_len);

/* ---- accounts ---- */

/* For a process of its own, which may hang in a name service and be killed: writes what RUNNER_GROUPS promises to out.
 * The exit status: 0; 2: there is no such account, or it has too many groups. */
int runner_groups(uint32_t uid, int out);

/* ---- the role ---- */

#define RUNNER_CLIENTS_MAX 4
/* Serves its clients (SOCK_SEQPACKET) until all have closed, or SIGTERM. */
int runner_run(const int *clients, size_t n_clients, int dir);

/* ---- the client's ends of the socket ---- */

int runner_send(int fd, const struct runner_request *request); /* never blocks: -EAGAIN */
/* One answer, if there is one: 0; -EAGAIN; -EPIPE; -EBADMSG. *ret_fd is -1 when none came. */
int runner_receive(int fd, struct runner_answer *ret_answer, int *ret_fd);

#endif
