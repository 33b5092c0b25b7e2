#pragma once
// The contents of a tensor map in this library. NVIDIA's own 128 bytes are opaque; programs obtain them only from
// cuTensorMapEncodeTiled.
#include <cstdint>

namespace vgpu {

constexpr uint32_t kTensorMapMagic = 0x70616d74;  // "tmap"; detects operands that are not tensor maps

enum class TensorInterleave : uint8_t { none, bytes16, bytes32 };
// In the order of CUtensorMapSwizzle.
enum class TensorSwizzle : uint8_t {
  none,
  bytes32,
  bytes64,
  bytes128,
  bytes128_atom32,
  bytes128_atom32_flip8,
  bytes128_atom64
};

struct TensorMap {
  uint32_t magic;
  uint8_t data_type;  // CUtensorMapDataType
  uint8_t rank;       // 1 to 5
  TensorInterleave interleave;
  TensorSwizzle swizzle;
  uint64_t address;
  uint32_t last[5];           // index of the last element along each dimension: sizes reach 2^32
  uint8_t element_bits;       // in global memory
  uint8_t fill_nan;           // elements outside the tensor are NaN instead of zero
  uint16_t box[5];            // elements to traverse along each dimension, 1 to 256
  uint64_t stride[4];         // bytes between elements of dimensions 1 to rank - 1
  uint8_t element_stride[5];  // 1 to 8; dimension 0 uses it only when interleaved
};
static_assert(sizeof(TensorMap) <= 128);

}  // namespace vgpu
