/* The head of the log, in memory that the keeper owns. */
#ifndef COFFER_STORE_AUDIT_HEAD_H
#define COFFER_STORE_AUDIT_HEAD_H

#include <stdatomic.h>
#include <stdint.h>

#include "store/audit/audit.h"

#define AUDIT_FOLDS    128 /* the last one takes what finds no room in the others */
#define AUDIT_RATES    256 /* likewise */
#define AUDIT_STREAMS  4096
#define AUDIT_REPEATS  256
#define AUDIT_SHARES   256
#define AUDIT_RECENTS  4096
#define AUDIT_NAME_MAX 128  /* of what is kept in here */
#define AUDIT_KEPT     4096 /* more than the records of one request (a set) */

/* Where the next record goes. */
struct audit_position {
	uint32_t segment; /* number of the open segment */
	/* the lowest one of which no record says that it was removed; 0: not known yet (a head file of before) */
	uint32_t oldest;
	uint64_t seq;             /* of the next record */
	uint64_t size;            /* bytes of the open segment that are accounted for */
	int64_t opened;           /* when the segment was begun, ns since the epoch */
	uint8_t prev[DIGEST_LEN]; /* h_{seq-1} */
	uint8_t key[KEY_LEN];     /* K_seq: this memory is locked and never dumped */
	uint32_t tampered;        /* the segment in which the last AuditTampered record lies; 0: there is none */
	uint32_t zero;
};

/* How often, and when. count is stored last when an entry is made, and zeroed first when it is written. */
struct audit_tally {
	uint64_t count;      /* 0: free */
	uint64_t written_as; /* seq of the record that is being written of it; 0: none */
	int64_t first, last; /* ns since the epoch */
};

/* Denials that were counted, not written. */
struct audit_fold {
	struct audit_tally tally;
	uint64_t neighbour;
	uint32_t uid; /* UINT32_MAX: several */
	uint16_t operation, error;
	uint8_t result, mixed; /* mixed: secret was not always the same */
	uint8_t coarse;        /* whatever the neighbour was denied: of several callers and operations */
	char secret[AUDIT_NAME_MAX];
};
struct audit_rate {
	uint64_t neighbour;
	int64_t due; /* CLOCK_MONOTONIC ns; in the past: free */
};

/* How fast one process asks for one thing: a bucket, as audit_rate's. In sets, found by a keyed hash. */
struct audit_stream {
	uint64_t tag; /* of process, operation, binding, secret and version */
	int64_t due;  /* CLOCK_MONOTONIC ns; in the past: free */
	uint64_t neighbour;
	uint32_t repeat; /* where it is being counted, plus one; 0: nowhere */
	uint32_t zero;
};
/* What was allowed, and counted, not written. All but secret (where mixed) is the same for all that are counted here,
 * and for the record of its own that the first of them has. */
struct audit_repeat {
	struct audit_tally tally;
	uint8_t origin[AUDIT_ORIGIN_LEN];
	uint64_t neighbour, binding;
	uint32_t version, stream;
	uint16_t operation;
	uint8_t mixed;
	char secret[AUDIT_NAME_MAX], role[64], principal[144];
	uint16_t caller_len;
	char caller[AUDIT_CALLER_JSON_MAX];
};
/* What a neighbour has written of late: the moment at which all of it will have grown old (CLOCK_MONOTONIC ns; in the
 * past: free). */
struct audit_share {
	uint64_t neighbour;
	int64_t due;
};

/* What is being added to a tally: whoever is killed in the middle of it has it finished by the next worker, once.
 * recent is stored last, and zeroed last. */
struct audit_redo {
	uint64_t recent; /* 0: nothing is under way */
	uint32_t index;
	uint8_t repeat; /* in repeats, not in folds */
	uint64_t count; /* after it */
};

/* What was found amiss in the directory, and recorded: so that no worker records it twice, and whoever is to be told of
 * it (audit_tampering) is, though a worker dies in between. */
struct audit_tampering {
	/* how many segments are gone and which is the first; one that is there and should not */
	uint32_t missing, first_missing, foreign;
	uint32_t found, told; /* counts */
	char detail[160];     /* of the last one */
};

/* A worker may be killed between any two stores: positions[current & 1] is the valid one, the other is written while it
 * is not looked at and then published by storing current. */
struct audit_head {
	uint32_t magic; /* 0: not initialised: audit_open takes it from the head file */
	_Atomic uint32_t current;
	struct audit_position positions[2];
	uint64_t allocated[2]; /* bytes of each one's segment for which there are blocks, from its start */
	uint64_t connection;   /* random, names this mount in "request" */
	uint64_t hash_key[2];  /* random: nobody shall choose what meets in a set */
	uint64_t durable_seq;  /* everything before it was fdatasync'd */
	/* request and operation of record seq, at seq % AUDIT_RECENTS; 0: none */
	uint64_t recents[AUDIT_RECENTS];
	uint64_t fold_recents[AUDIT_RECENTS]; /* likewise of what was folded, at folded % AUDIT_RECENTS */
	uint64_t folded;
	/* what would have been pushed out of these two by newer ones, though its request has no answer yet */
	uint64_t kept[AUDIT_KEPT];
	uint64_t n_kept;
	struct audit_tampering tampering;
	uint64_t refused; /* how often somebody was refused who had used up a share of the log */
	struct audit_redo redo;
	struct audit_fold folds[AUDIT_FOLDS];
	struct audit_rate rates[AUDIT_RATES];
	struct audit_rate all_denials; /* of everybody together */
	struct audit_stream streams[AUDIT_STREAMS];
	struct audit_repeat repeats[AUDIT_REPEATS];
	struct audit_share shares[AUDIT_SHARES];
};

/* The number of the open segment, 0: the head is not initialised. For the keeper: what lies there is the worker's word.
 */
uint32_t audit_head_segment(const struct audit_head *head);

#endif
