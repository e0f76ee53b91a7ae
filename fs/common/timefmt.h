/* Times as people and JSON write them: RFC 3339 with an offset, or a span from now ("90d", "12h", "1h30m"). Pure: now
 * is an argument. Times are nanoseconds since the epoch, from 1677-09-21 to 2262-04-11; the two ends of int64_t mean
 * "none" elsewhere and are never results. */
#ifndef COFFER_FS_COMMON_TIMEFMT_H
#define COFFER_FS_COMMON_TIMEFMT_H

#include <stdint.h>

#define TIME_TEXT_MAX 40 /* bytes with the NUL, of a printed time */

/* RFC 3339 §5.6: "2026-08-01T12:00:00Z", "2026-08-01T12:00:00.25+02:00". The offset must be there; a space or a small t
 * or z is accepted; at most nine digits of fraction. 0; -EINVAL (form, or no such day); -ERANGE (beyond what
 * nanoseconds can count). */
int time_parse_rfc3339(const char *text, int64_t *ret_ns);

/* One or more of NUMBER UNIT with units w, d, h, m, s in falling order, each at most once. 0, -EINVAL, -ERANGE. */
int time_parse_span(const char *text, int64_t *ret_ns);

/* Either of the two: a span is added to now (time_parse), or taken from it (time_parse_since: "the last 12h"). */
int time_parse(const char *text, int64_t now, int64_t *ret_ns);
int time_parse_since(const char *text, int64_t now, int64_t *ret_ns);

/* RFC 3339 in UTC; the fraction has no trailing zeros and is left out when it is zero. */
void time_print(int64_t ns, char ret_text[TIME_TEXT_MAX]);

#define SPAN_TEXT_MAX 64
/* A span of at least a second as time_parse_span reads it: "90d", "1d12h". Below a second it is cut off. */
void time_print_span(int64_t ns, char ret_text[SPAN_TEXT_MAX]);

/* The wall clock. */
int64_t time_now(void);

#endif
