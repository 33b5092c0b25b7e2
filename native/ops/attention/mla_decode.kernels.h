#pragma once
#include "cuda/gemm/gemm.kernels.h"
#include "ops/attention/mla.kernels.h"

namespace caracal {

// --- absorb: q~ = Wk^T q_n ------------------------------------------------------------------------------------------

// q [sequences][heads][nope + rope] becomes q~ [sequences][heads][latent + rope].
struct MlaAbsorbParameters {
  const void* q;
  void* out;
  MlaWeight w;
  int sequences, latent;
  bool q_bf16, out_bf16;
};

// A block has one head, up to kSequences sequences and kColumns columns of the latent.
struct MlaAbsorbTile {
  static constexpr int kThreads = 128, kSequences = 8, kColumns = 128;
};

inline constexpr Kernel<MlaAbsorbParameters> kMlaAbsorb{"mla_absorb"};  // mla_absorb_<w>

// --- split: attention of q~ over the keys of one split --------------------------------------------------------------

inline constexpr int kSplitKeys = 512;  // fixed, so that a row's bits do not depend on the other sequences

struct MlaSplitParameters {
  PagedCache cache;
  const void* q;  // f32, or bf16 for the tensor cores
  float* sums;    // [sequences][splits][heads][latent]
  float* stats;   // [sequences][splits][heads][2]: the maximum score and the sum of the exponentials
  int heads, splits;
  float scale;   // score_scale()
  bool aligned;  // in exact f32: rows of the cache and of q start at multiples of 16 bytes
};

// A block's tile on tensor cores, for latents of 512 + 64.
struct MlaSplitTile {
  static constexpr int kWarps = 8, kThreads = kWarps * 32, kKeys = 32, kLatent = 512, kWidth = 576;
};

// Its dynamic shared memory; q, keys and weights are swizzled bf16.
template <int Heads>
struct MlaSplitMemory : MlaSplitTile {
  alignas(128) uint8_t q[Heads * kWidth * 2];
  uint8_t keys[2][kKeys * kWidth * 2];  // two stages
  uint8_t weights[Heads * kKeys * 2];
  const void* rows[kSplitKeys];  // of the cache
  float max[2][Heads], sum[2][Heads], factor[Heads];
};
static_assert(sizeof(MlaSplitMemory<16>) <= 99 << 10, "fits a block of every GPU from sm_80 on");
static_assert(sizeof(MlaSplitMemory<64>) <= 163 << 10, "fits a block of sm_80 and sm_90");

inline constexpr Kernel<MlaSplitParameters> kMlaSplitSimt{"mla_split_simt"};      // mla_split_simt_<columns per lane>
inline constexpr Kernel<MlaSplitParameters> kMlaSplitTensor{"mla_split_tensor"};  // mla_split_tensor_<heads>

// --- merge: the splits, in their order ------------------------------------------------------------------------------

struct MlaMergeParameters {
  const int* lengths;
  const float* sums;
  const float* stats;
  void* out;   // [sequences][heads][latent]
  float* lse;  // [sequences][heads]
  int heads, splits, latent;
  long long max_keys;  // that a sequence can have
  bool out_bf16, aligned;
};

inline constexpr Kernel<MlaMergeParameters> kMlaMerge{"mla_merge"};

// --- values: o = Wv o~ ----------------------------------------------------------------------------------------------

struct MlaValuesParameters {
  const void* x;  // o~ [sequences][heads][latent]
  void* out;      // o [sequences][heads][value]
  MlaWeight w;
  int sequences, latent;
  bool out_bf16, out_aligned;
};

inline constexpr SimtShape kMlaValuesSimtShape = kSimtShapes[0][0];  // linear's
inline constexpr TensorShape kMlaValuesTensorShapes[] = {kTensorShapes[0][0], kTensorShapes[0][1]};

inline constexpr Kernel<MlaValuesParameters> kMlaValuesSimt{"mla_values_simt"};  // mla_values_simt_<w>
inline constexpr Kernel<MlaValuesParameters> kMlaValuesTensor{"mla_values"};     // mla_values_<tile>_<w>

}  // namespace caracal
