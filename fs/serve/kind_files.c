#include "fs/serve/kind_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef COFFER_TEST_HOOKS
static int render_test(struct vault *v, uint32_t object, uint32_t version, char **ret_text, size_t *ret_len)
{
	(void)v;
	*ret_text = malloc(64);
	if (!*ret_text)
		return -ENOMEM;
	*ret_len = (size_t)snprintf(*ret_text, 64, "version %u of object %u\n", version, object);
	return 0;
}
#endif

static const struct kind_file files[OBJECT_KINDS][KIND_FILES] = {
	[OBJECT_SECRET] = { { .name = "current", .type = INODE_CURRENT },
			    { .name = "versions", .type = INODE_VERSIONS } },
#ifdef COFFER_TEST_HOOKS
	[OBJECT_CERTIFICATE] = { { .name = "versions", .type = INODE_VERSIONS },
				 { .name = "public.pem",
				   .type = INODE_VIEW,
				   .verb = VERB_LIST,
				   .render = render_test } },
#endif
};

const struct kind_file *kind_file_at(const struct catalog_secret *s, uint32_t place)
{
	return kind_known(s) && place < KIND_FILES && files[s->kind][place].name ? &files[s->kind][place] : NULL;
}

const struct kind_file *kind_file_typed(const struct catalog_secret *s, enum inode_type type)
{
	const struct kind_file *f;

	for (uint32_t k = 0; (f = kind_file_at(s, k)); k++)
		if (f->type == type)
			return f;
	return NULL;
}

const struct kind_file *kind_file_named(const struct catalog_secret *s, const char *name, uint32_t *ret_place)
{
	const struct kind_file *f;

	for (uint32_t k = 0; (f = kind_file_at(s, k)); k++)
		if (!strcmp(f->name, name)) {
			*ret_place = k;
			return f;
		}
	return NULL;
}

struct inode kind_file_inode(const struct catalog_secret *s, uint32_t place)
{
	const enum inode_type type = files[s->kind][place].type;

	return (struct inode){ .type = type, .secret = s->id, .low = type == INODE_VIEW ? place : 0 };
}

const struct kind_file *kind_view(struct vault *v, const struct inode *i)
{
	const struct kind_file *f = i->type == INODE_VIEW ? kind_file_at(store_get(v->store, i->secret), i->low) : NULL;

	return f && f->render ? f : NULL;
}
