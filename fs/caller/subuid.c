#include "fs/caller/subuid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OWNERS_CHAIN_MAX 8 /* owners that lie in another one's range; what goes on longer is a circle */

/* An owner beyond 32 bits stands for a name that is nobody's: its own, but not another's. */
#define UNKNOWN_NAME (UINT64_C(1) << 32)

struct piece {
	const char *at;
	size_t len;
};

/* ---- lines ---- */

static bool next_piece(struct piece *rest, char end, struct piece *ret)
{
	const char *stop;

	if (!rest->at)
		return false;
	stop = rest->len ? memchr(rest->at, end, rest->len) : NULL;
	*ret = (struct piece){ rest->at, stop ? (size_t)(stop - rest->at) : rest->len };
	*rest = stop ? (struct piece){ stop + 1, rest->len - ret->len - 1 } : (struct piece){ NULL, 0 };
	return true;
}

/* Decimal, at most 32 bits. */
static bool number_of(struct piece p, uint64_t *ret)
{
	uint64_t n = 0;

	if (p.len == 0 || p.len > 10)
		return false;
	for (size_t i = 0; i < p.len; i++) {
		if (p.at[i] < '0' || p.at[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(p.at[i] - '0');
	}
	*ret = n;
	return n <= UINT32_MAX;
}

/* ---- /etc/passwd: names, sorted ---- */

struct account {
	struct piece name;
	uint32_t uid;
};

static int compare_pieces(const struct piece *a, const struct piece *b)
{
	int r = memcmp(a->at, b->at, a->len < b->len ? a->len : b->len);

	return r ? r : (a->len > b->len) - (a->len < b->len);
}

static int compare_accounts(const void *a, const void *b)
{
	return compare_pieces(&((const struct account *)a)->name, &((const struct account *)b)->name);
}

static size_t count_lines(struct piece text)
{
	size_t n = 0;
	struct piece line;

	while (next_piece(&text, '\n', &line))
		n++;
	return n;
}

/* name ":" password ":" uid ":" … */
static int read_accounts(struct piece text, struct account **ret_accounts, size_t *ret_n)
{
	struct account *accounts = calloc(count_lines(text) + 1, sizeof *accounts);
	struct piece line, name, field;
	size_t n = 0;
	uint64_t uid;

	if (!accounts)
		return -ENOMEM;
	while (next_piece(&text, '\n', &line))
		if (next_piece(&line, ':', &name) && name.len > 0 && next_piece(&line, ':', &field) &&
		    next_piece(&line, ':', &field) && number_of(field, &uid) && uid < UINT32_MAX)
			accounts[n++] = (struct account){ name, (uint32_t)uid };
	qsort(accounts, n, sizeof *accounts, compare_accounts);
	*ret_accounts = accounts;
	*ret_n = n;
	return 0;
}

static bool find_account(const struct account *accounts, size_t n, struct piece name, uint32_t *ret_uid)
{
	const struct account key = { .name = name },
			     *found = n ? bsearch(&key, accounts, n, sizeof *accounts, compare_accounts) : NULL;

	if (found)
		*ret_uid = found->uid;
	return found != NULL;
}

/* ---- /etc/subuid ---- */

struct claim {
	uint64_t owner;
	uint32_t first, last;
};

enum line { LINE_GOOD, LINE_EMPTY, LINE_MALFORMED };

/* uid 0 is nobody's subordinate: where a line says so, who has it is root anyway. */
static enum line read_line(struct piece line, struct piece *ret_name, struct claim *ret_claim)
{
	struct piece first, count;
	uint64_t from, n;

	if (line.len == 0 || line.at[0] == '#')
		return LINE_EMPTY;
	if (!next_piece(&line, ':', ret_name) || ret_name->len == 0 || !next_piece(&line, ':', &first) ||
	    !next_piece(&line, ':', &count) || line.at || !number_of(first, &from) || !number_of(count, &n) ||
	    from + n > UINT32_MAX)
		return LINE_MALFORMED;
	if (from == 0 && n > 0) {
		from++;
		n--;
	}
	if (n == 0)
		return LINE_EMPTY;
	*ret_claim = (struct claim){ .first = (uint32_t)from, .last = (uint32_t)(from + n - 1) };
	return LINE_GOOD;
}

struct reading {
	const struct account *accounts;
	size_t n_accounts;
	struct claim *claims;
	size_t n;
	struct subuid_faults faults;
};

static void note(uint32_t line, uint32_t *count, uint32_t *first)
{
	if ((*count)++ == 0)
		*first = line;
}

static void take_line(struct reading *r, struct piece text, uint32_t line)
{
	struct claim c;
	struct piece name;
	uint64_t uid;
	uint32_t account;
	const enum line kind = read_line(text, &name, &c);

	if (kind == LINE_MALFORMED)
		note(line, &r->faults.malformed, &r->faults.first_malformed);
	if (kind != LINE_GOOD)
		return;
	/* as shadow does: a name first, for a name may be made of digits */
	if (find_account(r->accounts, r->n_accounts, name, &account)) {
		c.owner = account;
	} else if (number_of(name, &uid) && uid < UINT32_MAX) {
		c.owner = uid;
	} else {
		note(line, &r->faults.unknown, &r->faults.first_unknown);
		c.owner = UNKNOWN_NAME + line;
	}
	r->claims[r->n++] = c;
}

static void read_lines(struct reading *r, struct piece text)
{
	struct piece line;
	uint32_t number = 0;

	while (next_piece(&text, '\n', &line)) {
		if (number == SUBUID_LINES_MAX) {
			r->faults.too_long = line.len > 0 || text.at;
			return;
		}
		take_line(r, line, ++number);
	}
}

/* ---- claims become ranges that do not overlap ---- */

static int compare_claims(const void *x, const void *y)
{
	const struct claim *a = x, *b = y;

	if (a->owner != b->owner)
		return a->owner < b->owner ? -1 : 1;
	return (a->first > b->first) - (a->first < b->first);
}

/* What one owner claims twice is one claim: afterwards no two of the same owner overlap. */
static size_t merge_owners(struct claim *c, size_t n)
{
	size_t kept = 0;

	qsort(c, n, sizeof *c, compare_claims);
	for (size_t i = 0; i < n; i++) {
		struct claim *last = kept ? &c[kept - 1] : NULL;
		if (last && last->owner == c[i].owner && c[i].first <= last->last)
			last->last = c[i].last > last->last ? c[i].last : last->last;
		else
			c[kept++] = c[i];
	}
	return kept;
}

/* Where a claim begins, and one behind where it ends. */
struct edge {
	uint64_t at, owner;
	int step;
};

static int compare_edges(const void *x, const void *y)
{
	const struct edge *a = x, *b = y;

	return (a->at > b->at) - (a->at < b->at);
}

/* Who claims the place between two edges: of users how many and the sum of their numbers, which is the owner where
 * there is one. */
struct claimed {
	uint64_t users, sum, roots;
};

static bool owner_of(const struct claimed *c, uint32_t *ret_owner, bool *ret_shared)
{
	if (c->users == 0 && c->roots == 0)
		return false;
	*ret_shared |= c->users > 1;
	*ret_owner = c->users == 0                            ? SUBUID_ROOT
		     : c->users > 1 || c->sum >= UNKNOWN_NAME ? SUBUID_UNKNOWN
							      : (uint32_t)c->sum;
	return true;
}

static void step_over(struct claimed *c, const struct edge *e)
{
	if (e->owner == SUBUID_ROOT) {
		c->roots += (uint64_t)(int64_t)e->step;
		return;
	}
	c->users += (uint64_t)(int64_t)e->step;
	c->sum += e->step > 0 ? e->owner : (uint64_t)0 - e->owner;
}

static int flatten(const struct claim *claims, size_t n, struct subuid_table *ret_table, bool *ret_shared)
{
	struct edge *edges = calloc(2 * n + 1, sizeof *edges);
	struct subuid_range *ranges = calloc(2 * n + 1, sizeof *ranges);
	struct claimed now = { 0 };
	size_t kept = 0;
	uint32_t owner;

	if (!edges || !ranges) {
		free(edges);
		free(ranges);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		edges[2 * i] = (struct edge){ claims[i].first, claims[i].owner, 1 };
		edges[2 * i + 1] = (struct edge){ (uint64_t)claims[i].last + 1, claims[i].owner, -1 };
	}
	qsort(edges, 2 * n, sizeof *edges, compare_edges);
	for (size_t i = 0; i < 2 * n; i++) {
		step_over(&now, &edges[i]);
		if (i + 1 < 2 * n && edges[i + 1].at > edges[i].at && owner_of(&now, &owner, ret_shared))
			ranges[kept++] = (struct subuid_range){ (uint32_t)edges[i].at, (uint32_t)(edges[i + 1].at - 1),
								owner };
	}
	free(edges);
	*ret_table = (struct subuid_table){ kept, ranges };
	return 0;
}

int subuid_parse(const char *subuid, size_t subuid_len, const char *passwd, size_t passwd_len,
		 struct subuid_table *ret_table, struct subuid_faults *ret_faults)
{
	const struct piece text = { subuid, subuid_len }, people = { passwd, passwd_len };
	size_t lines = count_lines(text);
	struct reading r = { 0 };
	struct account *accounts = NULL;
	int e = read_accounts(people, &accounts, &r.n_accounts);

	if (e)
		return e;
	r.accounts = accounts;
	r.claims = calloc(lines < SUBUID_LINES_MAX ? lines + 1 : SUBUID_LINES_MAX, sizeof *r.claims);
	e = -ENOMEM;
	if (!r.claims)
		goto out;
	read_lines(&r, text);
	r.n = merge_owners(r.claims, r.n);
	e = flatten(r.claims, r.n, ret_table, &r.faults.shared);
	if (!e)
		*ret_faults = r.faults;
out:
	free(r.claims);
	free(accounts);
	return e;
}

/* ---- questions ---- */

const struct subuid_range *subuid_find(const struct subuid_table *t, uint32_t uid)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		const size_t mid = lo + (hi - lo) / 2;
		if (t->ranges[mid].last < uid)
			lo = mid + 1;
		else if (t->ranges[mid].first > uid)
			hi = mid;
		else
			return &t->ranges[mid];
	}
	return NULL;
}

uint32_t subuid_owner(const struct subuid_table *t, uint32_t uid, const struct subuid_range **ret_range)
{
	const struct subuid_range *range = subuid_find(t, uid);

	*ret_range = range;
	for (int i = 0; i < OWNERS_CHAIN_MAX; i++) {
		if (!range || range->owner == uid)
			return uid;
		if (range->owner == SUBUID_ROOT || range->owner == SUBUID_UNKNOWN)
			return range->owner;
		uid = range->owner;
		range = subuid_find(t, uid);
	}
	return SUBUID_UNKNOWN;
}
