#pragma once
// One warp computes a token's softmax, its picks and their weights.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "cuda/device/reduce.cuh"
#include "ops/moe/router.kernels.h"

namespace caracal {

// Maps a score to an integer that orders like it, with NaN below all numbers. 0 means "no expert". Scores are never -0.
__device__ inline uint32_t rank_of(float score) {
  const uint32_t bits = __float_as_uint(score);
  return isnan(score) ? 1 : bits >> 31 ? ~bits : bits | 0x80000000;
}

constexpr int kChains = 4;  // independent chains of comparisons, to hide their latency

// The scores of a token, distributed over the lanes: N of them in the registers of each lane.
template <int N>
struct Scores {
  static_assert(N % 4 == 0, "a lane loads four neighbouring scores at a time");
  const RouterParameters& p;
  float s[N];
  uint32_t ranks[N];  // of s + bias

  __device__ static int expert(int i) { return (i / 4 * kWarp + lane_index()) * 4 + i % 4; }

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

// The scores of more experts than registers can hold stay in memory.
template <>
struct Scores<0> {
  const RouterParameters& p;
  float* row;

  __device__ Scores(const RouterParameters& p, float* row) : p(p), row(row) {}

  template <class F>
  __device__ void each(F f) {
    for (int i = lane_index(); i < p.all; i += kWarp) f(row[i]);
  }
  __device__ void rank() {}  // each_ranked computes the ranks
  template <class F>
  __device__ void each_ranked(F f) const {
    for (int i = lane_index(); i < p.all; i += kWarp) f(0, i, row[i], rank_of(p.bias ? row[i] + p.bias[i] : row[i]));
  }
};

// In place. A single NaN or +inf makes every score NaN.
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

// The pick after the one whose key is `last_key`, which is then updated. Picks are ordered by their keys: the rank in
// the upper 32 bits, the complement of the id in the lower ones. Tie rule: of equal ranks the lowest id has the largest
// key and so wins.
template <class S>
__device__ inline Pick next_pick(const S& scores, unsigned long long& last_key) {
  unsigned long long bests[kChains] = {};
  float best_scores[kChains] = {};
  scores.each_ranked([&](int chain, int expert, float s, uint32_t rank) {
    const unsigned long long key = static_cast<unsigned long long>(rank) << 32 | ~static_cast<uint32_t>(expert);
    if (key < last_key && key > bests[chain]) bests[chain] = key, best_scores[chain] = s;
  });
  unsigned long long best = bests[0];
  float best_score = best_scores[0];
#pragma unroll
  for (int i = 1; i < kChains; i++)
    if (bests[i] > best) best = bests[i], best_score = best_scores[i];
  const uint32_t rank = static_cast<uint32_t>(best >> 32);
  const uint32_t highest = __reduce_max_sync(kAllLanes, rank);
  const uint32_t id_complement = __reduce_max_sync(kAllLanes, rank == highest ? static_cast<uint32_t>(best) : 0);
  last_key = static_cast<unsigned long long>(highest) << 32 | id_complement;
  const int owner = __ffs(__ballot_sync(kAllLanes, best == last_key)) - 1;
  return {static_cast<int>(~id_complement), __shfl_sync(kAllLanes, best_score, owner)};
}

// Lane k % 32 holds pick k. The last 1 to 32 picks stay in the lanes until the sum of all scores is known; the `stored`
// picks before them wait in the outputs.
template <class S>
__device__ inline void pick_experts(S& scores, const RouterParameters& p, long long token) {
  const int lane = lane_index(), stored = (p.picks - 1) / kWarp * kWarp;
  int* ids = p.ids + token * p.picks;
  float* weights = p.weights + token * p.picks;
  softmax(scores);
  scores.rank();
  unsigned long long last_key = ~0ull;
  float sum = 0, zero_sum = 0;
  Pick lane_pick{};
  for (int k = 0; k < p.picks; k++) {
    const Pick pick = next_pick(scores, last_key);
    sum += pick.score;
    if (k % kWarp != lane) continue;
    lane_pick = pick;
    if (k < stored) ids[k] = pick.expert, weights[k] = pick.score;
  }
  for (int k = lane; k < p.picks; k += kWarp) {
    const bool is_zero_expert = (k < stored ? ids[k] : lane_pick.expert) >= p.experts;
    float weight = k < stored ? weights[k] : lane_pick.score;
    if (p.renormalize) weight /= sum;
    if (!is_zero_expert || p.scale_zero_experts) weight *= p.scale;
    if (is_zero_expert) zero_sum += weight;
    weights[k] = weight;
    if (k >= stored) ids[k] = lane_pick.expert;
  }
  zero_sum = warp_sum(zero_sum);
  if (lane == 0) p.zero_weight[token] = zero_sum;
}

}  // namespace caracal
