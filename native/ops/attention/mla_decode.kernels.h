#pragma once
#include "cuda/gemm/gemm.kernels.h"
#include "ops/attention/mla.kernels.h"

namespace caracal {

// --- q~ = Wk^T q_n --------------------------------------------------------------------------------------------------

// q~ [sequences][heads][latent + rope] of q [sequences][heads][nope + rope].
struct MlaAbsorbParameters {
  const void* q;
  void* out;
  MlaWeight w;
  int sequences, latent;
  bool q_bf16, out_bf16;
};

// A block has a head, up to kSequences sequences, and kColumns of the latent's columns.
struct MlaAbsorbTile {
  static constexpr int kThreads = 128, kSequences = 8, kColumns = 128;
};

inline constexpr Kernel<MlaAbsorbParameters> kMlaAbsorb{"mla_absorb"};  // mla_absorb_<w>

// --- a split of the keys --------------------------------------------------------------------------------------------

inline constexpr int kSplitKeys = 512;  // fixed, so that a row's bits do not depend on its neighbours

// Attention of q~ over the keys of one split each: sums [sequences][splits][heads][latent] and, for every row of them,
// the maximum and the sum of the exponentials.
struct MlaSplitParameters {
  PagedCache cache;
  const void* q;  // f32, or bf16 for the tensor cores
  float* sums;
  float* scales;  // [sequences][splits][heads][2]
  int heads, splits;
  float scale;   // of scores, times log2(e)
  bool aligned;  // rows of the cache and of q begin at multiples of 16 bytes
};

// A block's tile on tensor cores: latents of 512 + 64.
struct MlaSplitTile {
  static constexpr int kWarps = 8, kThreads = kWarps * 32, kKeys = 32, kLatent = 512, kWidth = 576;
};
// What stands in its shared memory; rows and matrices are bf16.
template <int Heads>
struct MlaSplitMemory : MlaSplitTile {
  alignas(128) uint8_t q[Heads * kWidth * 2];
  uint8_t keys[2][kKeys * kWidth * 2];
  uint8_t weights[Heads * kKeys * 2];
  const void* rows[kSplitKeys];
  float max[2][Heads], sum[2][Heads], factor[Heads];
};

inline constexpr Kernel<MlaSplitParameters> kMlaSplitSimt{"mla_split_simt"};      // mla_split_simt_<columns per lane>
inline constexpr Kernel<MlaSplitParameters> kMlaSplitTensor{"mla_split_tensor"};  // mla_split_tensor_<heads>

// --- the merge ------------------------------------------------------------------------------------------------------

struct MlaMergeParameters {
  const int* lengths;
  const float* sums;
  const float* scales;
  void* out;   // [sequences][heads][latent]
  float* lse;  // [sequences][heads]
  int heads, splits, latent;
  long long most;  // keys that a sequence can have
  bool out_bf16, aligned;
};

inline constexpr Kernel<MlaMergeParameters> kMlaMerge{"mla_merge"};

// --- o = Wv o~ ------------------------------------------------------------------------------------------------------

// o [sequences][heads][value] of what was merged.
struct MlaValuesParameters {
  const void* x;  // [sequences][heads][latent]
  void* out;
  MlaWeight w;
  int sequences, latent;
  bool out_bf16, out_aligned;
};

inline constexpr SimtShape kMlaValuesSimtShape = kSimtShapes[0][0];  // as linear's
inline constexpr TensorShape kMlaValuesTensorShapes[] = {kTensorShapes[0][0], kTensorShapes[0][1]};

inline constexpr Kernel<MlaValuesParameters> kMlaValuesSimt{"mla_values_simt"};  // mla_values_simt_<w>
inline constexpr Kernel<MlaValuesParameters> kMlaValues{"mla_values"};           // mla_values_<tensor tile>_<w>

}  // namespace caracal
