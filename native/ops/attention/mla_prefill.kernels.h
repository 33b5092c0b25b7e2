#pragma once
#include "cuda/gemm/gemm.kernels.h"
#include "ops/attention/mla.kernels.h"

namespace caracal {

// Expands keys [first, first + room) of every sequence to k [sequences][room][heads][nope + rope] and
// v [sequences][room][heads][value].
struct MlaKeysParameters {
  PagedCache cache;
  MlaWeight w;
  void *k, *v;
  long long first;
  int room;
};

inline constexpr SimtShape kMlaKeysSimtShape{"simt", 64, 64, 4, 4};
inline constexpr TensorShape kMlaKeysTensorShape = kTensorShapes[0][2];  // linear's largest

inline constexpr Kernel<MlaKeysParameters> kMlaKeysSimt{"mla_keys_simt"};      // mla_keys_simt_<cache>_<w>
inline constexpr Kernel<MlaKeysParameters> kMlaKeysTensor{"mla_keys_tensor"};  // mla_keys_tensor_<w>

}  // namespace caracal
