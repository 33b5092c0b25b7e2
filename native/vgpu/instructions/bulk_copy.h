#pragma once
#include "program/decoding.h"

namespace vgpu {

// Decodes cp.async.bulk… and cp.reduce.async.bulk…, after the prefix common to all cp.
void decode_bulk_copy(Decoding& i);
void decode_bulk_reduction(Decoding& i);
// st.async and red.async, which signal an mbarrier too.
void decode_st_async(Decoding& i);
void decode_red_async(Decoding& i);
// tensormap. (tensor_map.cc)
void decode_tensor_map(Decoding& i);

}  // namespace vgpu
