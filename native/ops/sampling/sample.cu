// One block per row, which starts from the best candidate of each part of the row (candidates.cu). Memory-bound: if topK
// keeps few candidates, only the parts that can hold one of them are read again, at most K of 256; if topP keeps few, all
// are. The listed candidates are ranked in shared memory, each against each. A cut that may fall anywhere reads the row
// from L2 once per digit of a radix selection. Without a cut the row is read once.
#include "cuda/device/rounded.cuh"
#include "ops/sampling/radix_select.cuh"
#include "ops/sampling/sample.kernels.h"
#include "ops/sampling/sample_weight.h"

namespace caracal {

constexpr int kListed = kSampleThreads;  // candidates that are ranked each against each, one per thread
constexpr int kLikely = 128;             // parts whose best candidates are listed if topP alone cuts

static_assert(AllowedIds::kMaxParts <= kSampleThreads, "a thread loads the best candidate of one part");
static_assert(kLikely <= AllowedIds::kMaxParts, "the listed candidates include the best of every likely part");
static_assert(kBins % kSampleThreads == 0, "every thread owns the same number of bins");

// A logit's weight (sample_weight.h); that of NaN is 0.
__device__ inline u64 weight(float logit, float top, float scale) {
  using F = Rounded<float>;
  if (logit == top) return u64{1} << kWeightBits;
  const float x = fmaxf(__fmul_rn(__fsub_rn(logit, top), scale), kMinExponent);
  const float n = rintf(x);
  const float y = exp2_fraction(F{__fsub_rn(x, n)}, [](float constant) { return F{constant}; }).v;
  return static_cast<u64>(__fmul_rn(y, __int_as_float((static_cast<int>(n) + 127 + kWeightBits) << 23)));
}

struct CandidateList {
  u64 floor;
  int n;  // may exceed kListed, in which case the list is incomplete
  u64 candidates[kListed], sorted[kListed], weights[kListed];
};

struct SampleShared {
  Selection selection;
  CandidateList list;
  u64 best[AllowedIds::kMaxParts];  // of each part of the row
};
static_assert(sizeof(SampleShared) <= 48 << 10, "static shared memory is limited to 48 KiB");

template <class T, int V>
struct SampledRow {
  const T* logits;
  const AllowedIds& allowed;
  const u64* best;
  const SampleRow& options;
  float top;

  // By one warp.
  template <class Fn>
  __device__ void walk_part(int part, Fn fn) const {
    for_candidates<V>(logits, allowed, allowed.part_begin(part), allowed.part_end(part), lane_index(), kWarp, fn);
  }
  // By the whole block. Skips parts without a candidate from `lowest` on.
  template <class Fn>
  __device__ void walk(u64 lowest, Fn fn) const {
    for (int part = warp_index(); part < allowed.parts; part += warp_count())
      if (best[part] >= lowest) walk_part(part, fn);
  }
  __device__ u64 weigh(float logit) const { return weight(logit, top, options.scale); }
};

// The n-th largest of the parts' best candidates, so that at least n candidates are as large; 0 if fewer parts have one.
__device__ inline u64 nth_best(CandidateList& list, const u64* best, int parts, int n) {
  if (threadIdx.x == 0) list.floor = 0;
  __syncthreads();
  const u64 candidate = threadIdx.x < parts ? best[threadIdx.x] : 0;
  if (candidate > 0) {  // skipped by the warps beyond the parts
    int larger = 0;
    for (int j = 0; j < parts; j++) larger += best[j] > candidate;
    if (larger == n - 1) list.floor = candidate;
  }
  __syncthreads();
  return list.floor;
}

// Lists the candidates from `floor` on, in no particular order. Returns the total weight of the row if weigh_all.
template <class Row>
__device__ inline u64 list_candidates(CandidateList& list, const Row& row, u64 floor, bool weigh_all) {
  if (threadIdx.x == 0) list.n = 0;
  __syncthreads();
  const float min_logit = floor == 0 ? -INFINITY : logit_of(floor);  // a quick test, which few logits pass
  u64 thread_weight = 0, total = 0;
  row.walk(weigh_all ? 0 : floor, [&](float logit, long long id) {
    if (weigh_all) thread_weight += row.weigh(logit);
    if (!(logit >= min_logit) || candidate_of(logit, id) < floor) return;
    const int i = atomicAdd(&list.n, 1);
    if (i < kListed) list.candidates[i] = candidate_of(logit, id);
  });
  __syncthreads();
  if (weigh_all) block_exclusive_sum(thread_weight, total);
  return total;
}

// Draws among the listed candidates if they include all that topK and topP keep, and returns whether they do. `total` is
// the weight of which topP is a share, unless topK cuts first.
template <class Row>
__device__ inline bool draw_listed(CandidateList& list, const Row& row, u64 total, int* id) {
  const int thread = thread_index(), k = row.options.top_k;
  if (thread < list.n) {
    int larger = 0;
    for (int j = 0; j < list.n; j++) larger += list.candidates[j] > list.candidates[thread];
    list.sorted[larger] = list.candidates[thread];
  }
  __syncthreads();
  const int n = k > 0 ? min(k, list.n) : list.n;
  const u64 weight = thread < n ? row.weigh(logit_of(list.sorted[thread])) : 0;
  u64 sum, kept;
  const u64 above = block_exclusive_sum(weight, sum), target = top_p_weight(k > 0 ? sum : total, row.options.top_p);
  if (sum < target) return false;
  list.weights[thread] = above < target ? weight : 0;
  block_exclusive_sum(list.weights[thread], kept);
  const u64 drawn = __umul64hi(row.options.random, kept);
  if (list.weights[thread] == 0) return true;
  u64 before = 0;  // the weight of the kept candidates with lower ids
  for (int j = 0; j < n && list.weights[j] > 0; j++)
    if (id_of(list.sorted[j]) < id_of(list.sorted[thread])) before += list.weights[j];
  if (before <= drawn && drawn < before + list.weights[thread]) *id = id_of(list.sorted[thread]);
  return true;
}

// Draws among the row's candidates from `floor` on. Each warp weighs a range of parts; the warp whose range contains the
// draw walks along it again, part by part, and then along the part.
template <class Row>
__device__ inline void draw_row(const Row& row, u64 floor, int* id) {
  const int warp = warp_index(), lane = lane_index(), warps = warp_count(), parts = row.allowed.parts;
  auto weigh = [&](float logit, long long at) {
    return floor == 0 || candidate_of(logit, at) >= floor ? row.weigh(logit) : 0;
  };
  auto weigh_part = [&](int part) {  // returns the lane's share
    u64 sum = 0;
    if (row.best[part] >= floor) row.walk_part(part, [&](float logit, long long at) { sum += weigh(logit, at); });
    return sum;
  };
  int part = parts * warp / warps;
  u64 lane_weight = 0, total;
  for (int i = part; i < parts * (warp + 1) / warps; i++) lane_weight += weigh_part(i);
  const u64 range_weight = warp_sum(lane_weight);
  u64 before = __shfl_sync(kAllLanes, block_exclusive_sum(lane == 0 ? range_weight : 0, total), 0);
  const u64 drawn = __umul64hi(row.options.random, total);
  if (drawn < before || drawn >= before + range_weight) return;
  for (;; part++) {
    const u64 sum = warp_sum(weigh_part(part));
    if (drawn < before + sum) break;
    before += sum;
  }
  for (long long first = row.allowed.part_begin(part);; first += kWarp) {
    const long long i = first + lane;
    u64 weight = 0;
    if (row.allowed.contains(i)) weight = weigh(to_float(row.logits[i]), i);
    const u64 through = before + warp_inclusive_sum(weight);
    if (through - weight <= drawn && drawn < through) *id = static_cast<int>(i);
    before = __shfl_sync(kAllLanes, through, kWarp - 1);
    if (drawn < before) return;
  }
}

template <class T, int V>
__device__ inline void sample(SampleShared& shared, const SampledRow<T, V>& row, int* id) {
  const int k = row.options.top_k, parts = row.allowed.parts;
  const bool fits = row.allowed.last - row.allowed.first <= kListed;
  const int min_listed = k > 0 ? k : min(kLikely, parts);
  if ((k > 0 || row.options.top_p < 1) && (fits || min_listed <= parts)) {
    const u64 floor = fits ? 0 : nth_best(shared.list, row.best, parts, min_listed);
    const u64 total = list_candidates(shared.list, row, floor, k == 0);
    if (shared.list.n <= kListed && draw_listed(shared.list, row, total, id)) return;
  }
  u64 floor = 0;
  const int id_bits = 64 - __clzll(row.allowed.last);
#pragma unroll 1
  for (int cut = 0; cut < 2; cut++) {  // by topK, then by topP
    if (cut == 0 ? k == 0 : row.options.top_p >= 1) continue;
    floor = radix_cut(
        shared.selection, [&](u64 lowest, auto fn) { row.walk(lowest, fn); }, floor, id_bits,
        [&](float logit) { return cut == 0 ? 1 : row.weigh(logit); },
        [&](u64 total) { return cut == 0 ? k : top_p_weight(total, row.options.top_p); });
  }
  draw_row(row, floor, id);
}

template <class T>
__device__ inline void sample_row(const T* logits, const u64* best, const AllowedIds& allowed, const SampleRow& options,
                                  int* id, bool aligned) {
  __shared__ SampleShared shared;
  const int thread = thread_index(), parts = allowed.parts;
  if (thread < parts) shared.best[thread] = best[thread];
  __syncthreads();
  u64 first = 0;  // computed by every warp, which saves a barrier
  for (int i = lane_index(); i < parts; i += kWarp) first = max(first, shared.best[i]);
  first = warp_max(first);
  const float top = logit_of(first);
  if (options.top_k == 1 || top == -INFINITY) {
    if (thread == 0) *id = id_of(first);
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
