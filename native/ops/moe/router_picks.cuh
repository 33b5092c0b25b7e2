#pragma once
// A token's softmax, its picks and their weights, by one warp.
#include "cuda/device/element.cuh"
#include "cuda/device/reduce.cuh"
#include "ops/moe/router.kernels.h"

namespace caracal {

// Larger for what is picked sooner; NaN last, and 0 is nothing. Scores have no -0.
__device__ inline uint32_t rank_of(float score) {
  const uint32_t bits = __float_as_uint(score);
  return isnan(score) ? 1 : bits >> 31 ? ~bits : bits | 0x80000000;
}

constexpr int kChains = 4;  // of comparisons, that do not wait for each other

// The scores of a token, dealt out to the lanes: N of them in registers, ...
template <int N>
struct Scores {
  static_assert(N % 4 == 0);
  const RouterParameters& p;
  float s[N];
  uint32_t ranks[N];  // of s + bias

  __device__ static int expert(int i) { return (i / 4 * kWarp + static_cast<int>(threadIdx.x) % kWarp) * 4 + i % 4; }

  __device__ Scores(const RouterParameters& p, const float* row) : p(p) { fetch(row, s); }
  __device__ void fetch(const float* from, float (&to)[N]) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      float v[4] = {};
      if (p.aligned && expert(i) < p.all) load<4>(from + expert(i), v);
#pragma unroll
      for (int j = 0; j < 4; j++) to[i + j] = p.aligned || expert(i + j) >= p.all ? v[j] : from[expert(i + j)];
    }
  }

  template <class F>
  __device__ void each(F f) {
#pragma unroll
    for (int i = 0; i < N; i++)
      if (expert(i) < p.all) f(s[i]);
  }
  __device__ void rank() {
    float bias[N] = {};
    if (p.bias) fetch(p.bias, bias);
#pragma unroll
    for (int i = 0; i < N; i++) ranks[i] = expert(i) < p.all ? rank_of(s[i] + bias[i]) : 0;
  }
  template <class F>
  __device__ void each_ranked(F f) const {
#pragma unroll
    for (int i = 0; i < N; i++) f(i % kChains, expert(i), s[i], ranks[i]);
  }
};

// ... or, of more, in memory.
template <>
struct Scores<0> {
  const RouterParameters& p;
  float* row;

  __device__ Scores(const RouterParameters& p, float* row) : p(p), row(row) {}

  template <class F>
  __device__ void each(F f) {
    for (int i = static_cast<int>(threadIdx.x) % kWarp; i < p.all; i += kWarp) f(row[i]);
  }
  __device__ void rank() {}
  template <class F>
  __device__ void each_ranked(F f) const {
    for (int i = static_cast<int>(threadIdx.x) % kWarp; i < p.all; i += kWarp)
      f(0, i, row[i], rank_of(p.bias ? row[i] + p.bias[i] : row[i]));
  }
};

// A NaN or +inf anywhere makes every score NaN.
template <class S>
__device__ inline void softmax(S& scores) {
  float largest = -INFINITY, sum = 0;
  bool valid = true;
  scores.each([&](float& s) {
    valid = valid && s < INFINITY;
    largest = fmaxf(largest, s);
  });
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, step));
  const float shift = __all_sync(kAllLanes, valid) ? largest : NAN;
  scores.each([&](float& s) { sum += s = expf(s - shift); });
  sum = warp_sum(sum);
  scores.each([&](float& s) { s /= sum; });
}

struct Pick {
  int expert;
  float score;
};

// The next in the order of rank and, of equal ranks, of id; `last` is where in it the pick before stands.
template <class S>
__device__ inline Pick next_pick(const S& scores, unsigned long long& last) {
  unsigned long long bests[kChains] = {};
  float best_scores[kChains] = {};
  scores.each_ranked([&](int chain, int expert, float s, uint32_t rank) {
    const unsigned long long here = static_cast<unsigned long long>(rank) << 32 | ~static_cast<uint32_t>(expert);
    if (here < last && here > bests[chain]) bests[chain] = here, best_scores[chain] = s;
  });
  unsigned long long best = bests[0];
  float best_score = best_scores[0];
#pragma unroll
  for (int i = 1; i < kChains; i++)
    if (bests[i] > best) best = bests[i], best_score = best_scores[i];
  const uint32_t rank = static_cast<uint32_t>(best >> 32);
  const uint32_t highest = __reduce_max_sync(kAllLanes, rank);
  const uint32_t place = __reduce_max_sync(kAllLanes, rank == highest ? static_cast<uint32_t>(best) : 0);
  last = static_cast<unsigned long long>(highest) << 32 | place;
  const int owner = __ffs(__ballot_sync(kAllLanes, best == last)) - 1;
  return {static_cast<int>(~place), __shfl_sync(kAllLanes, best_score, owner)};
}

// Lane k % 32 has pick k. Of more than 32, those before the last 32 wait in the outputs for the sum of all.
template <class S>
__device__ inline void pick_experts(S& scores, const RouterParameters& p, long long token) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, kept = (p.picks - 1) / kWarp * kWarp;
  int* ids = p.ids + token * p.picks;
  float* weights = p.weights + token * p.picks;
  softmax(scores);
  scores.rank();
  unsigned long long last = ~0ull;
  float sum = 0, identity = 0;
  Pick mine{};
  for (int k = 0; k < p.picks; k++) {
    const Pick pick = next_pick(scores, last);
    sum += pick.score;
    if (k % kWarp != lane) continue;
    mine = pick;
    if (k < kept) ids[k] = pick.expert, weights[k] = pick.score;
  }
  for (int k = lane; k < p.picks; k += kWarp) {
    const bool zero = (k < kept ? ids[k] : mine.expert) >= p.experts;
    float weight = k < kept ? weights[k] : mine.score;
    if (p.renormalize) weight /= sum;
    if (!zero || p.scale_zero_experts) weight *= p.scale;
    if (zero) identity += weight;
    weights[k] = weight;
    if (k >= kept) ids[k] = mine.expert;
  }
  identity = warp_sum(identity);
  if (lane == 0) p.zero_weight[token] = identity;
}

}  // namespace caracal
