// cuTensorMapEncodeTiled. It checks every requirement in its documentation.
#include <cstring>

#include "driver/state.h"
#include "machine/tensor_map.h"

using namespace vgpu;
using namespace vgpu::driver;

static_assert(sizeof(TensorMap) <= sizeof(CUtensorMap));

namespace {

bool is_float(CUtensorMapDataType t) {
  return t >= CU_TENSOR_MAP_DATA_TYPE_FLOAT16 && t <= CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ;
}

}  // namespace

CUresult cuTensorMapEncodeTiled(CUtensorMap* out, CUtensorMapDataType type, cuuint32_t rank, void* address,
                                const cuuint64_t* dims, const cuuint64_t* strides, const cuuint32_t* box,
                                const cuuint32_t* element_strides, CUtensorMapInterleave interleave,
                                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                                CUtensorMapFloatOOBfill fill) {
  return with_driver([&](ApiCall& c) {
    auto must = [](bool condition, const char* what) { require(condition, CUDA_ERROR_INVALID_VALUE, what); };
    require(c.driver.settings.limits.compute >= 90, CUDA_ERROR_NOT_SUPPORTED,
            "tensor maps need compute capability 9.0");
    must(out && reinterpret_cast<uintptr_t>(out) % 64 == 0, "a tensor map must be aligned to 64 bytes");
    must(type >= 0 && type <= CU_TENSOR_MAP_DATA_TYPE_16U6_ALIGN16B, "tensorDataType");
    must(interleave >= 0 && interleave <= CU_TENSOR_MAP_INTERLEAVE_32B, "interleave");
    must(swizzle >= 0 && swizzle <= CU_TENSOR_MAP_SWIZZLE_128B_ATOM_64B, "swizzle");
    must(promotion >= 0 && promotion <= CU_TENSOR_MAP_L2_PROMOTION_L2_256B, "l2Promotion");
    must(fill >= 0 && fill <= CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA, "oobFill");
    // The packed types of 4 and 6 bits require compute capability 10.0.
    require(type < CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN8B && swizzle <= CU_TENSOR_MAP_SWIZZLE_128B,
            CUDA_ERROR_NOT_SUPPORTED);
    must(rank >= 1 && rank <= 5, "tensorRank must be 1 to 5");
    must(interleave == CU_TENSOR_MAP_INTERLEAVE_NONE || rank >= 3, "tensorRank must be at least 3 if interleaved");
    must(dims && box && element_strides && (strides || rank == 1), "an array is null");
    const bool by32 = interleave == CU_TENSOR_MAP_INTERLEAVE_32B;
    must(address && reinterpret_cast<uintptr_t>(address) % (by32 ? 32 : 16) == 0,
         "globalAddress must be 16-byte aligned, 32 with INTERLEAVE_32B");
    static constexpr uint32_t bytes_of[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
    const uint32_t bytes = bytes_of[type];
    for (cuuint32_t i = 0; i < rank; i++) {
      must(dims[i] >= 1 && dims[i] <= uint64_t{1} << 32, "globalDim must be 1 to 2^32");
      must(box[i] >= 1 && box[i] <= 256, "boxDim must be 1 to 256");
      must(element_strides[i] >= 1 && element_strides[i] <= 8, "elementStrides must be 1 to 8");
    }
    for (cuuint32_t i = 0; i + 1 < rank; i++)
      must(strides[i] % (by32 ? 32 : 16) == 0 && strides[i] < uint64_t{1} << 40,
           "globalStrides must be multiples of 16, 32 with INTERLEAVE_32B, below 2^40");
    if (interleave == CU_TENSOR_MAP_INTERLEAVE_NONE) {
      const uint32_t inner = box[0] * bytes;
      must(inner % 16 == 0, "boxDim[0] must cover a multiple of 16 bytes");
      static constexpr uint32_t max_bytes[] = {UINT32_MAX, 32, 64, 128};
      must(inner <= max_bytes[swizzle], "boxDim[0] covers more bytes than the swizzle");
    }
    must(!by32 || swizzle == CU_TENSOR_MAP_SWIZZLE_32B, "INTERLEAVE_32B needs SWIZZLE_32B");
    must(fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE || is_float(type), "a NaN fill needs a floating-point type");

    TensorMap map{};
    map.magic = kTensorMapMagic;
    map.data_type = static_cast<uint8_t>(type);
    map.rank = static_cast<uint8_t>(rank);
    map.interleave = static_cast<TensorInterleave>(interleave);
    map.swizzle = static_cast<TensorSwizzle>(swizzle);
    map.address = reinterpret_cast<uint64_t>(address);
    map.element_bits = static_cast<uint8_t>(bytes * 8);
    map.fill_nan = fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA;
    for (size_t i = 0; i < rank; i++) {
      map.last[i] = static_cast<uint32_t>(dims[i] - 1);
      map.box[i] = static_cast<uint16_t>(box[i]);
      map.element_stride[i] = static_cast<uint8_t>(element_strides[i]);
      if (i + 1 < rank) map.stride[i] = strides[i];
    }
    std::memset(out, 0, sizeof *out);
    std::memcpy(out, &map, sizeof map);
  });
}
