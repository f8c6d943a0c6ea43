/* What a peer of a later minor version may say beside what is known today. */
#ifndef FQ_TESTS_NEWER_H
#define FQ_TESTS_NEWER_H

#include "base/bytes.h"
#include "base/status.h"

/* Put fields that nobody knows into an encoded head: one in its kind, one beside it. */
FQ_MUST_CHECK fq_status test_make_newer(fq_buffer *head);
/* A head of a kind that nobody knows. */
static const unsigned char test_newer_kind[] = {0x82, 0x01, 2, 0x08, 1}; /* field 16 */

#endif
