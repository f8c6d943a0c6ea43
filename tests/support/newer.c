#include "newer.h"

fq_status test_make_newer(fq_buffer *head) {
    static const unsigned char inside[] = {0xf8, 0x07, 1};           /* field 127, a number */
    static const unsigned char beside[] = {0xa2, 0x06, 2, 'h', 'i'}; /* field 100, a text */
    fq_buffer                  out = {0};
    size_t                     at = 1; /* behind the tag: the length, a varint */
    while ((head->data[at] & 0x80) != 0)
        at++;
    at++;
    size_t size = head->size - at + sizeof inside;
    fq_put_u8(&out, head->data[0]);
    for (; size > 0x7f; size >>= 7)
        fq_put_u8(&out, (uint8_t)(size | 0x80));
    fq_put_u8(&out, (uint8_t)size);
    fq_put_bytes(&out, head->data + at, head->size - at);
    fq_put_bytes(&out, inside, sizeof inside);
    fq_put_bytes(&out, beside, sizeof beside);
    fq_buffer_fini(head);
    *head = out;
    return out.failed ? fq_fail(FQ_ENOMEM, "no memory for a message") : FQ_OK;
}
