#include "fs/ctl/hindrance.h"

#include <errno.h>
#include <stddef.h>

static const struct {
	int error;
	const char *words;
} hindrances[HINDRANCES] = {
	[HINDRANCE_NONE] = { 0, NULL },
	[HINDRANCE_ABSENT] = { ENOENT, "is no secret yet" },
	[HINDRANCE_DELETED] = { ENOENT, "is deleted" },
	[HINDRANCE_DESTROYED] = { ENOENT, "is destroyed" },
	[HINDRANCE_DISABLED] = { EACCES, "is disabled" },
	[HINDRANCE_VERSION_DISABLED] = { EACCES, "is disabled" },
	[HINDRANCE_NO_VERSION] = { ENOENT, "has no version yet" },
	[HINDRANCE_NONE_ENABLED] = { ENOENT, "has no version that is enabled" },
	[HINDRANCE_NOT_YET_VALID] = { EKEYEXPIRED, "is not valid yet" },
	[HINDRANCE_EXPIRED] = { EKEYEXPIRED, "has expired" },
};

int hindrance_errno(enum hindrance h) { return hindrances[h].error; }

const char *hindrance_words(enum hindrance h) { return hindrances[h].words; }

bool hindrance_is_absence(enum hindrance h)
{
	return h == HINDRANCE_ABSENT || h == HINDRANCE_DELETED || h == HINDRANCE_DESTROYED;
}

static enum hindrance of_bytes(const struct catalog_secret *s, const struct catalog_version *v, enum use use,
			       const struct store_settings *settings, int64_t now)
{
	if (!v && use == USE_READ)
		return s->n_versions ? HINDRANCE_NONE_ENABLED : HINDRANCE_NO_VERSION;
	if (!v || use == USE_WRITE || store_version_valid(settings, v, now))
		return HINDRANCE_NONE;
	return now < v->not_before ? HINDRANCE_NOT_YET_VALID : HINDRANCE_EXPIRED;
}

enum hindrance hindrance_of_version(const struct catalog_secret *s, const struct catalog_version *v, enum use use,
				    const struct store_settings *settings, int64_t now)
{
	if (!s)
		return HINDRANCE_ABSENT;
	if (s->deleted)
		return HINDRANCE_DELETED;
	if (!v || v->destroyed)
		return HINDRANCE_DESTROYED;
	if (!s->enabled)
		return HINDRANCE_DISABLED;
	if (!v->enabled)
		return HINDRANCE_VERSION_DISABLED;
	return of_bytes(s, v, use, settings, now);
}

enum hindrance hindrance_of_newest(const struct catalog_secret *s, enum use use, const struct store_settings *settings,
				   int64_t now)
{
	if (!s)
		return HINDRANCE_ABSENT;
	if (s->deleted)
		return HINDRANCE_DELETED;
	if (!s->enabled)
		return HINDRANCE_DISABLED;
	return of_bytes(s, s->current ? catalog_version(s, s->current) : NULL, use, settings, now);
}
