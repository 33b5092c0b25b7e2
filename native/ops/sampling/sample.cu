// A block per row, which knows the best candidate of each part of the row (argmax.cu: 262 KB read for 131072 in bf16).
// Memory-bound: where topK leaves few, those parts are read again that can hold one of them, at most K of 256, and where
// topP does, all; what they hold is compared in shared memory, each with each. Where the cut may fall anywhere the row is
// read once for each digit of a radix selection, from the L2, and where there is no cut once. The weights (weight.h) are
// integers: their sums are exact in any order.
#include "cuda/device/rounded.cuh"
#include "ops/sampling/sample.kernels.h"
#include "ops/sampling/select.cuh"
#include "ops/sampling/weight.h"

namespace caracal {

constexpr int kListed = kSampleThreads;  // candidates that are compared each with each
constexpr int kLikely = 128;             // so many parts' best are listed where topP alone cuts

// Of weight.h; NaN has none.
__device__ inline u64 weight(float logit, float top, float scale) {
  using F = Rounded<float>;
  if (logit == top) return u64{1} << kWeightBits;
  const float x = fmaxf(__fmul_rn(__fsub_rn(logit, top), scale), kLeastExponent);
  const float n = rintf(x);
  const float y = exp2_fraction(F{__fsub_rn(x, n)}, [](float constant) { return F{constant}; }).v;
  return static_cast<u64>(__fmul_rn(y, __int_as_float((static_cast<int>(n) + 127 + kWeightBits) << 23)));
}

struct Listed {
  u64 floor;
  int n;  // may exceed kListed: then the rest is not here
  u64 candidates[kListed], sorted[kListed], weights[kListed];
};

struct SampleShared {
  Selection selection;
  Listed list;
  u64 best[AllowedIds::kMostParts];  // of each part of the row
};

// What a block knows of its row.
template <class T, int V>
struct SampledRow {
  static constexpr int kVector = V;
  const T* logits;
  const AllowedIds& allowed;
  const u64* best;
  const SampleRow& options;
  float top;

  template <class Fn>
  __device__ void walk_part(int part, Fn fn) const {
    for_candidates<V>(logits, allowed, allowed.part_begin(part), allowed.part_end(part),
                      static_cast<int>(threadIdx.x) % kWarp, kWarp, fn);
  }
  // By the block. Parts that have no candidate from `least` on are not read.
  template <class Fn>
  __device__ void walk(u64 least, Fn fn) const {
    for (int part = static_cast<int>(threadIdx.x) / kWarp; part < allowed.parts;
         part += static_cast<int>(blockDim.x) / kWarp)
      if (best[part] >= least) walk_part(part, fn);
  }
  __device__ u64 weigh(float logit) const { return weight(logit, top, options.scale); }
};

// The n-th largest of the parts' best: no fewer than n candidates are as large. 0 where not so many parts have one.
__device__ inline u64 nth_best(Listed& list, const u64* best, int parts, int n) {
  if (threadIdx.x == 0) list.floor = 0;
  __syncthreads();
  const u64 mine = threadIdx.x < parts ? best[threadIdx.x] : 0;
  if (mine > 0) {  // half of the warps have none
    int larger = 0;
    for (int j = 0; j < parts; j++) larger += best[j] > mine;
    if (larger == n - 1) list.floor = mine;
  }
  __syncthreads();
  return list.floor;
}

// Lists the candidates from `floor` on, in no order, and returns the weight of all where that is asked for.
template <class Row>
__device__ inline u64 gather(Listed& list, const Row& row, u64 floor, bool weigh_all) {
  if (threadIdx.x == 0) list.n = 0;
  __syncthreads();
  const float least = floor == 0 ? -INFINITY : logit_of(floor);  // a first look: few are as large
  u64 mine = 0, total = 0;
  row.walk(weigh_all ? 0 : floor, [&](float logit, long long id) {
    if (weigh_all) mine += row.weigh(logit);
    if (!(logit >= least) || candidate_of(logit, id) < floor) return;
    const int i = atomicAdd(&list.n, 1);
    if (i < kListed) list.candidates[i] = candidate_of(logit, id);
  });
  __syncthreads();
  if (weigh_all) block_sum_before(mine, total);
  return total;
}

// Draws among the listed, if they hold all that topK and topP leave. `total` is what topP is a share of, unless topK
// cuts first.
template <class Row>
__device__ inline bool draw_listed(Listed& list, const Row& row, u64 total, int* id) {
  const int me = static_cast<int>(threadIdx.x), k = row.options.top_k;
  if (me < list.n) {
    int larger = 0;
    for (int j = 0; j < list.n; j++) larger += list.candidates[j] > list.candidates[me];
    list.sorted[larger] = list.candidates[me];
  }
  __syncthreads();
  const int n = k > 0 ? min(k, list.n) : list.n;
  const u64 mine = me < n ? row.weigh(logit_of(list.sorted[me])) : 0;
  u64 sum, kept;
  const u64 above = block_sum_before(mine, sum), target = weight_share(k > 0 ? sum : total, row.options.top_p);
  if (sum < target) return false;
  list.weights[me] = above < target ? mine : 0;
  block_sum_before(list.weights[me], kept);
  const u64 drawn = __umul64hi(row.options.random, kept);
  if (list.weights[me] == 0) return true;
  u64 before = 0;
  for (int j = 0; j < n && list.weights[j] > 0; j++)
    if (id_of(list.sorted[j]) < id_of(list.sorted[me])) before += list.weights[j];
  if (before <= drawn && drawn < before + list.weights[me]) *id = id_of(list.sorted[me]);
  return true;
}

// Draws among the candidates of the row from `floor` on. Each warp weighs a stretch of parts; the one whose stretch
// holds the draw goes along it again, part by part, and then along the part.
template <class Row>
__device__ inline void draw_row(const Row& row, u64 floor, int* id) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp, parts = row.allowed.parts;
  auto weigh = [&](float logit, long long at) {
    return floor == 0 || candidate_of(logit, at) >= floor ? row.weigh(logit) : 0;
  };
  auto weigh_part = [&](int part) {  // each lane its own
    u64 sum = 0;
    if (row.best[part] >= floor) row.walk_part(part, [&](float logit, long long at) { sum += weigh(logit, at); });
    return sum;
  };
  int part = parts * warp / warps;
  u64 mine = 0, total;
  for (int i = part; i < parts * (warp + 1) / warps; i++) mine += weigh_part(i);
  const u64 stretch = warp_sum(mine);
  u64 before = __shfl_sync(kAllLanes, block_sum_before(lane == 0 ? stretch : 0, total), 0);
  const u64 drawn = __umul64hi(row.options.random, total);
  if (drawn < before || drawn >= before + stretch) return;
  for (;; part++) {
    const u64 sum = warp_sum(weigh_part(part));
    if (drawn < before + sum) break;
    before += sum;
  }
  for (long long at = row.allowed.part_begin(part);; at += kWarp) {
    const long long i = at + lane;
    u64 own = 0;
    if (row.allowed.has(i)) own = weigh(to_float(row.logits[i]), i);
    const u64 upto = before + warp_sum_to(own);
    if (upto - own <= drawn && drawn < upto) *id = static_cast<int>(i);
    before = __shfl_sync(kAllLanes, upto, kWarp - 1);
    if (drawn < before) return;
  }
}

template <class T, int V>
__device__ inline void sample(SampleShared& shared, const SampledRow<T, V>& row, int* id) {
  const int k = row.options.top_k, parts = row.allowed.parts;
  const bool few = row.allowed.last - row.allowed.first <= kListed;
  const int listed = k > 0 ? k : min(kLikely, parts);  // at least
  if ((k > 0 || row.options.top_p < 1) && (few || listed <= parts)) {
    const u64 floor = few ? 0 : nth_best(shared.list, row.best, parts, listed);
    const u64 total = gather(shared.list, row, floor, k == 0);
    if (shared.list.n <= kListed && draw_listed(shared.list, row, total, id)) return;
  }
  u64 floor = 0;
  const int id_bits = 64 - __clzll(row.allowed.last);
#pragma unroll 1
  for (int cut = 0; cut < 2; cut++) {  // to topK, to topP
    if (cut == 0 ? k == 0 : row.options.top_p >= 1) continue;
    floor = least_kept(
        shared.selection, [&](u64 least, auto fn) { row.walk(least, fn); }, floor, id_bits,
        [&](float logit) { return cut == 0 ? 1 : row.weigh(logit); },
        [&](u64 total) { return cut == 0 ? k : weight_share(total, row.options.top_p); });
  }
  draw_row(row, floor, id);
}

template <class T>
__device__ inline void sample_row(const T* logits, const u64* best, const AllowedIds& allowed, const SampleRow& options,
                                  int* id, bool aligned) {
  __shared__ SampleShared shared;
  const int me = static_cast<int>(threadIdx.x), parts = allowed.parts;
  if (me < parts) shared.best[me] = best[me];
  __syncthreads();
  u64 first = 0;  // every warp for itself
  for (int i = me % kWarp; i < parts; i += kWarp) first = max(first, shared.best[i]);
  first = warp_max(first);
  const float top = logit_of(first);
  if (options.top_k == 1 || top == -INFINITY) {
    if (me == 0) *id = id_of(first);
  } else if (aligned) {
    sample(shared, SampledRow<T, kVector<T>>{logits, allowed, shared.best, options, top}, id);
  } else {
    sample(shared, SampledRow<T, 1>{logits, allowed, shared.best, options, top}, id);
  }
}

#define CARACAL_SAMPLE(T)                                                                                              \
  CARACAL_KERNEL(kSample, sample_##T, __launch_bounds__(kSampleThreads, 1), const T* logits, long long columns,        \
                 const u64* best, const __grid_constant__ AllowedIds allowed, const __grid_constant__ SampleRows rows, \
                 int* ids, bool aligned) {                                                                             \
    const long long row = blockIdx.x;                                                                                  \
    sample_row(logits + row * columns, best + row * allowed.parts, allowed, rows.row[row], ids + row, aligned);        \
  }
CARACAL_SAMPLE(f32)
CARACAL_SAMPLE(bf16)
#undef CARACAL_SAMPLE

}  // namespace caracal
