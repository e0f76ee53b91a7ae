/* What in the state of an object keeps a caller from it who has the right. Opens, open files, commits, backups and the
 * answers of can-i all go by this: what can-i says is what an open does. Pure: no clock, no locks; the tables are the
 * caller's to hold. */
#ifndef COFFER_FS_CTL_HINDRANCE_H
#define COFFER_FS_CTL_HINDRANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/core/tables.h"

enum use {
	USE_READ,       /* its bytes are read: there must be a version */
	USE_READ_WRITE, /* likewise, and a new version can be written where there is none */
	USE_COPY,       /* a new version begins as a copy of this one, which must not outlive it */
	USE_WRITE,      /* a new version takes nothing from this one */
};

enum hindrance {
	HINDRANCE_NONE,
	HINDRANCE_ABSENT, /* there is no such name */
	HINDRANCE_DELETED,
	HINDRANCE_DESTROYED, /* or there never was a version of this number */
	HINDRANCE_DISABLED,
	HINDRANCE_VERSION_DISABLED,
	HINDRANCE_NO_VERSION,   /* it never had one */
	HINDRANCE_NONE_ENABLED, /* it has no version that is enabled */
	HINDRANCE_NOT_YET_VALID,
	HINDRANCE_EXPIRED,
	HINDRANCES
};

/* Of a version that is named by its number (v NULL: there is none), or of the newest enabled one. s may be NULL; now is
 * in ns. */
enum hindrance hindrance_of_version(const struct catalog_secret *s, const struct catalog_version *v, enum use use,
				    const struct store_settings *settings, int64_t now);
enum hindrance hindrance_of_newest(const struct catalog_secret *s, enum use use, const struct store_settings *settings,
				   int64_t now);

/* What open(2) gives: positive errno; 0: nothing hinders. */
int hindrance_errno(enum hindrance h);
/* It is not there, whatever else is asked of it. */
bool hindrance_is_absence(enum hindrance h);
/* "is disabled", of what is hindered; NULL: nothing. */
const char *hindrance_words(enum hindrance h);

#endif
