/* One record after the other, in one place: the line, what is torn, and the segment that comes next. With lock, but
 * where it says otherwise. */
#ifndef COFFER_STORE_AUDIT_PUT_H
#define COFFER_STORE_AUDIT_PUT_H
#include <stdbool.h>
#include <stdint.h>

struct audit;
struct audit_event;
struct audit_head;
struct audit_space;
struct audit_tally;

/* Puts what names a request into its place in the recents. Who is pushed out is kept while its request has no answer:
 * its handler may be held up between record and answer for as long as it likes. */
void audit_recent_put(struct audit *a, uint64_t *place, uint64_t recent);

/* Makes the spare position the valid one and destroys the key of the past. */
void audit_publish(struct audit_head *h);

/* Where a line is to be put. */
struct audit_place {
	int fd;
	struct audit_space *space;
	uint32_t segment;
	uint64_t start; /* the file's size */
	int64_t opened;
	bool newline;    /* end what stands there first */
	bool reserve;    /* the reserve may be used */
	uint32_t oldest; /* the oldest segment from this record on; 0: as before */
};
/* Renders, seals, writes and publishes one record, whatever the rates say; with lock, which it keeps. tally: what the
 * record tells of, or NULL. A write that failed is undone, or the log is dirty. 0, -EIO, -ENOSPC. */
int audit_put_at(struct audit *a, const struct audit_event *e, struct audit_tally *tally,
		 const struct audit_place *place);
/* The same at the end of the open segment, after audit_ready; its bytes are the caller's neighbour's. */
int audit_put(struct audit *a, const struct audit_event *e, struct audit_tally *tally);
/* Ends a torn tail and begins a new segment where that is due; may let go of the lock for a moment. 0, -EIO, -ENOSPC.
 */
int audit_ready(struct audit *a);
/* A Torn record for what lies in the place's file from `from` to its start. */
int audit_put_torn(struct audit *a, uint64_t from, struct audit_place *place);
/* Ends the bytes that lie behind the head. */
int audit_end_torn(struct audit *a);
/* The open segment is not what we wrote. */
void audit_note_lost(struct audit *a);
/* Moves on to a new segment; the old one goes on being used where that fails, and for a second it is not tried again.
 * Not while syncing. because: for the record, or NULL. */
int audit_rotate(struct audit *a, const char *because);

/* With lock, after audit_ready: an AuditTampered record, of which whoever asks is told. 0, -EIO, -ENOSPC. */
int audit_put_tampered(struct audit *a, const char *detail);

#endif
