/* protobuf-c, as the files of this folder use it. Not for other folders. */
#ifndef FQ_WIRE_WIRE_IMPL_H
#define FQ_WIRE_WIRE_IMPL_H

#include "base/arena.h"
#include "fq.pb-c.h"

/* Unpacking allocates through this, so that a message vanishes with the arena, and one that would
 * want more than the arena has is refused. */
ProtobufCAllocator fq_wire_allocator(fq_arena *arena);

#endif
