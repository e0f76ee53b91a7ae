/* What a binding speaks of: one secret's name, every name with a prefix ("db-*"), or the vault ("*"). */
#ifndef COFFER_POLICY_SCOPE_H
#define COFFER_POLICY_SCOPE_H

#include <stdbool.h>
#include <stddef.h>

#define NAME_LEN_MAX 127 /* bytes of a secret's name, without the NUL */

/* True for a name that a secret can have: [A-Za-z0-9][A-Za-z0-9._-]{0,126}. */
bool name_valid(const char *name);

/* True for a valid name, for a prefix of one (at most 126 bytes) followed by "*", or for "*" alone. */
bool scope_valid(const char *scope);

/* Does the scope cover the resource? The resource is a name, another scope (a binding that is to be made: "db-*" covers
 * "db-*" and "db-x*", "db-x" covers only itself), or NULL for the vault itself, which only "*" covers. */
bool scope_covers(const char *scope, const char *resource);

#endif
