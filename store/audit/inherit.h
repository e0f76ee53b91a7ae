/* At a takeover. */
#ifndef COFFER_STORE_AUDIT_INHERIT_H
#define COFFER_STORE_AUDIT_INHERIT_H

struct audit;

/* At a takeover, before anything reads them: the tables of the head hold what can be used, whoever wrote them. */
void audit_inherit_tables(struct audit *a);

#endif
