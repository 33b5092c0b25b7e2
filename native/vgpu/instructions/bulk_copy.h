#pragma once
#include "program/decoding.h"

namespace vgpu {

// cp.async.bulk…, after what all cp have in common.
void decode_bulk_copy(Decoding& i);

}  // namespace vgpu
