#pragma once
#include "program/decoding.h"

namespace vgpu {

// cp.async.bulk… and cp.reduce.async.bulk…, after what all cp have in common.
void decode_bulk_copy(Decoding& i, bool reduces);

}  // namespace vgpu
