#pragma once
// The cut of sample where it may fall anywhere in a row: a radix selection, which walks along the row once for each
// digit and never sorts it. Sums are of integers, so their order does not matter.
#include "ops/sampling/candidates.cuh"

namespace caracal {

constexpr int kDigitBits = 11, kBins = 1 << kDigitBits;

// A histogram of 64-bit masses in halves: 32-bit additions are what shared memory does by itself.
struct Bins {
  uint32_t low[kBins], high[kBins];

  __device__ void add(int bin, u64 mass) {
    const uint32_t part = static_cast<uint32_t>(mass);
    const uint32_t before = atomicAdd(&low[bin], part);
    const uint32_t rest = static_cast<uint32_t>(mass >> 32) + (before + part < before);  // with the carry
    if (rest != 0) atomicAdd(&high[bin], rest);
  }
  __device__ u64 at(int bin) const { return u64{high[bin]} << 32 | low[bin]; }
  __device__ void clear() {  // by the whole block
    for (int i = static_cast<int>(threadIdx.x); i < kBins; i += static_cast<int>(blockDim.x)) low[i] = high[i] = 0;
  }
};

// Where the masses from the last bin down reach a target.
struct Reached {
  int bin;
  u64 above, mass;  // of the bins after it; of itself
};

struct Selection {
  Bins bins;
  Reached reached;
};

// Every thread calls it; the block's threads divide kBins. `target` is not above the sum of all.
__device__ inline Reached reach(Selection& s, u64 above, u64 mine, u64 before, u64 target) {
  const int each = kBins / static_cast<int>(blockDim.x);
  int bin = kBins - 1 - static_cast<int>(threadIdx.x) * each;
  before += above;
  if (before < target && target <= before + mine) {
    for (; before + s.bins.at(bin) < target; bin--) before += s.bins.at(bin);
    s.reached = {bin, before, s.bins.at(bin)};
  }
  __syncthreads();
  return s.reached;
}

// The least of the fewest largest candidates whose masses reach target_of(the mass of all). Only those from `floor` on
// count; ids have id_bits bits. `walk(least, fn)` calls fn(logit, id) for every candidate of the row from `least` on, and may for others.
template <class Walk, class Mass, class Target>
__device__ inline u64 least_kept(Selection& s, Walk walk, u64 floor, int id_bits, Mass mass_of, Target target_of) {
  const int each = kBins / static_cast<int>(blockDim.x), last = kBins - 1 - static_cast<int>(threadIdx.x) * each;
  u64 prefix = 0, above = 0, target = 0;
  for (int upper = 64; upper > 0;) {
    const int shift = upper > 32 ? max(upper - kDigitBits, 32) : max(upper - kDigitBits, 0);  // logits, then ids
    __syncthreads();
    s.bins.clear();
    __syncthreads();
    walk(max(floor, prefix), [&](float logit, long long id) {
      const u64 c = candidate_of(logit, id);
      if (c >= floor && (upper == 64 || (c ^ prefix) >> upper == 0))
        s.bins.add(static_cast<int>((c - prefix) >> shift), mass_of(logit));
    });
    __syncthreads();
    u64 mine = 0, total;  // of this thread's bins, the last bins being the first thread's
    for (int i = 0; i < each; i++) mine += s.bins.at(last - i);
    const u64 before = block_sum_before(mine, total);
    if (upper == 64) target = target_of(total);
    const Reached r = reach(s, above, mine, before, target);
    prefix |= u64(r.bin) << shift;
    above = r.above;
    upper = shift;
    if (shift == 32) {
      // All of equal logits may be needed: then their ids do not matter.
      if (r.mass - (target - above) < mass_of(logit_of(prefix))) break;
      upper = id_bits;
      prefix |= 0xffffffffu >> id_bits << id_bits;  // of a candidate: its id is inverted
    }
  }
  return prefix;
}

}  // namespace caracal
