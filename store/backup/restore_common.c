#include "store/backup/restore_common.h"

#include <errno.h>
#include <jansson.h>

#include "store/core/database.h"

int restore_damaged(struct restore *r, const char *what)
{
	store_why(r->why, r->why_len, "the backup is damaged: %s", what);
	return -EBADMSG;
}

int restore_ask(struct restore *r, const struct restore_item *item)
{
	return r->options->ask ? r->options->ask(item, r->options->arg) : 0;
}

bool restore_text_valid(const char *text)
{
	json_t *checked = json_string(text);
	bool valid = checked != NULL;

	json_decref(checked);
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		valid &= *p >= 0x20 && *p != 0x7f && !(p[0] == 0xc2 && p[1] < 0xa0);
	return valid;
}
