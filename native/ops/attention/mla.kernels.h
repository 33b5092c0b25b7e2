#pragma once
// What the host tells the kernels of latent attention (mla.h); read by both.
#include "cuda/fault.h"

namespace caracal {

// The cache's rows and which of them a sequence has.
struct PagedCache {
  const void* rows;  // [blocks, block size, width]
  bool bf16;
  const int* table;  // [sequences, table width]
  const int* lengths;
  int blocks, block_size, table_width;
  int latent, width;
  Fault* fault;
};

struct MlaWeight {
  const void* data;     // [heads * (nope + value), latent]
  const float* scales;  // of f8e4m3
  int heads, nope, rope, value;
  bool aligned;  // its rows begin at multiples of 16 bytes, and so do the cache's
};

// Keys [heads][nope + rope] and values [heads][value] of the keys from `first` on, `room` of every sequence.
struct MlaKeysParameters {
  PagedCache cache;
  MlaWeight w;
  void *k, *v;
  long long first;
  int room;
};

// q~ [sequences][heads][latent + rope] of q [sequences][heads][nope + rope].
struct MlaAbsorbParameters {
  const void* q;
  void* out;
  MlaWeight w;
  int sequences, latent;
  bool q_bf16, out_bf16;
};

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

// o [sequences][heads][value] of what was merged.
struct MlaValuesParameters {
  const void* x;  // [sequences][heads][latent]
  void* out;
  MlaWeight w;
  int sequences, latent;
  bool out_bf16, out_aligned;
};

constexpr int kSplitKeys = 512;  // fixed, so that a row's bits do not depend on its neighbours

}  // namespace caracal
