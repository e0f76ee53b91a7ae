#include "fs/common/timefmt.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NS_PER_S 1000000000ll

/* Reads exactly n digits at *p and moves past them. */
static bool digits(const char **p, int n, int *ret)
{
	int v = 0;

	for (int i = 0; i < n; i++, (*p)++) {
		if (**p < '0' || **p > '9')
			return false;
		v = v * 10 + (**p - '0');
	}
	*ret = v;
	return true;
}

static bool literal(const char **p, const char *any_of)
{
	if (!**p || !strchr(any_of, **p))
		return false;
	(*p)++;
	return true;
}

static int days_in_month(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return month == 2 && leap ? 29 : days[month - 1];
}

static bool parse_fraction(const char **p, int64_t *ret_ns)
{
	int64_t ns = 0, unit = NS_PER_S / 10;
	const char *start = *p;

	for (; **p >= '0' && **p <= '9'; (*p)++, unit /= 10) {
		if (unit == 0)
			return false;
		ns += (**p - '0') * unit;
	}
	*ret_ns = ns;
	return *p != start;
}

static bool parse_offset(const char **p, int64_t *ret_s)
{
	int hours, minutes;
	bool west;

	if (literal(p, "Zz")) {
		*ret_s = 0;
		return true;
	}
	west = **p == '-';
	if (!literal(p, "+-") || !digits(p, 2, &hours) || !literal(p, ":") || !digits(p, 2, &minutes) || hours > 23 ||
	    minutes > 59)
		return false;
	*ret_s = (west ? -1 : 1) * (hours * 3600 + minutes * 60);
	return true;
}

int time_parse_rfc3339(const char *text, int64_t *ret_ns)
{
	struct tm tm = { 0 };
	const char *p = text;
	int year, month;
	int64_t fraction = 0, offset, ns;

	if (!digits(&p, 4, &year) || !literal(&p, "-") || !digits(&p, 2, &month) || !literal(&p, "-") ||
	    !digits(&p, 2, &tm.tm_mday) || !literal(&p, "Tt ") || !digits(&p, 2, &tm.tm_hour) || !literal(&p, ":") ||
	    !digits(&p, 2, &tm.tm_min) || !literal(&p, ":") || !digits(&p, 2, &tm.tm_sec))
		return -EINVAL;
	if (literal(&p, ".") && !parse_fraction(&p, &fraction))
		return -EINVAL;
	if (!parse_offset(&p, &offset) || *p)
		return -EINVAL;
	/* a leap second counts as the first of the next minute */
	if (month < 1 || month > 12 || tm.tm_mday < 1 || tm.tm_mday > days_in_month(year, month) || tm.tm_hour > 23 ||
	    tm.tm_min > 59 || tm.tm_sec > 60)
		return -EINVAL;
	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	if (__builtin_mul_overflow((int64_t)timegm(&tm) - offset, NS_PER_S, &ns) ||
	    __builtin_add_overflow(ns, fraction, &ns) || ns == INT64_MIN || ns == INT64_MAX)
		return -ERANGE;
	*ret_ns = ns;
	return 0;
}

int time_parse_span(const char *text, int64_t *ret_ns)
{
	static const struct {
		char unit;
		int64_t s;
	} units[] = {
		{ 'w', 604800 }, { 'd', 86400 }, { 'h', 3600 }, { 'm', 60 }, { 's', 1 },
	};
	const size_t n_units = sizeof(units) / sizeof(units[0]);
	const char *p = text;
	int64_t total = 0;
	size_t next = 0;

	do {
		int64_t v = 0;
		const char *start = p;

		for (; *p >= '0' && *p <= '9'; p++)
			if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v))
				return -ERANGE;
		if (p == start)
			return -EINVAL;
		while (next < n_units && units[next].unit != *p)
			next++;
		if (next == n_units)
			return -EINVAL;
		if (__builtin_mul_overflow(v, units[next].s * NS_PER_S, &v) || __builtin_add_overflow(total, v, &total))
			return -ERANGE;
		next++;
		p++;
	} while (*p);
	*ret_ns = total;
	return 0;
}

static int parse_either(const char *text, int64_t now, bool back, int64_t *ret_ns)
{
	int64_t span, ns;
	int r = time_parse_rfc3339(text, ret_ns);

	if (r != -EINVAL)
		return r;
	r = time_parse_span(text, &span);
	if (r < 0)
		return r;
	if (back ? __builtin_sub_overflow(now, span, &ns) : __builtin_add_overflow(now, span, &ns))
		return -ERANGE;
	if (ns == INT64_MIN || ns == INT64_MAX)
		return -ERANGE;
	*ret_ns = ns;
	return 0;
}

int time_parse(const char *text, int64_t now, int64_t *ret_ns) { return parse_either(text, now, false, ret_ns); }

int time_parse_since(const char *text, int64_t now, int64_t *ret_ns) { return parse_either(text, now, true, ret_ns); }

void time_print(int64_t ns, char ret_text[TIME_TEXT_MAX])
{
	time_t s = (time_t)(ns / NS_PER_S);
	long fraction = (long)(ns % NS_PER_S);
	struct tm tm;
	size_t n;

	if (fraction < 0) {
		fraction += NS_PER_S;
		s--;
	}
	gmtime_r(&s, &tm);
	n = strftime(ret_text, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	if (fraction) {
		n += (size_t)snprintf(ret_text + n, TIME_TEXT_MAX - n, ".%09ld", fraction);
		while (ret_text[n - 1] == '0')
			n--;
	}
	ret_text[n++] = 'Z';
	ret_text[n] = '\0';
}

void time_print_span(int64_t ns, char ret_text[SPAN_TEXT_MAX])
{
	static const struct {
		const char *unit;
		int64_t seconds;
	} units[] = { { "d", 86400 }, { "h", 3600 }, { "m", 60 }, { "s", 1 } };
	int64_t left = ns / NS_PER_S;
	size_t n = 0;

	ret_text[0] = '\0';
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (left < units[i].seconds && (n || i < 3))
			continue;
		n += (size_t)snprintf(ret_text + n, SPAN_TEXT_MAX - n, "%lld%s", (long long)(left / units[i].seconds),
				      units[i].unit);
		left %= units[i].seconds;
	}
}

int64_t time_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}
