#pragma once
// The cut of `sample` if it may fall anywhere in a row: a radix selection, which walks along the row once per digit of
// the key and never sorts. Sums are of integers, so their order does not matter.
#include "ops/sampling/candidates.cuh"

namespace caracal {

constexpr int kDigitBits = 11, kBins = 1 << kDigitBits;

// A histogram of 64-bit masses, kept as two 32-bit halves because shared memory adds 32 bits atomically.
struct Histogram {
  uint32_t low[kBins], high[kBins];

  __device__ void add(int bin, u64 mass) {
    const uint32_t low_mass = static_cast<uint32_t>(mass);
    const uint32_t before = atomicAdd(&low[bin], low_mass);
    const uint32_t high_mass = static_cast<uint32_t>(mass >> 32) + (before + low_mass < before);  // with the carry
    if (high_mass != 0) atomicAdd(&high[bin], high_mass);
  }
  __device__ u64 at(int bin) const { return u64{high[bin]} << 32 | low[bin]; }
  __device__ void clear() {  // by the whole block
    for (int i = thread_index(); i < kBins; i += thread_count()) low[i] = high[i] = 0;
  }
};

// The bin in which the masses, summed from the last bin down, reach a target.
struct Crossing {
  int bin;
  u64 above, mass;  // of the bins after it, and of itself
};

struct Selection {
  Histogram histogram;
  Crossing crossing;
};

// A thread owns kBins / thread_count() bins, from last_bin down, the first thread the last bins. thread_mass is the mass
// of its bins, `before` that of the bins above them, and `above` that of all candidates above the histogram. `target` is
// at most the sum of all. Every thread calls it.
__device__ inline Crossing find_crossing(Selection& s, u64 above, u64 thread_mass, u64 before, u64 target) {
  const int bins_per_thread = kBins / thread_count();
  int bin = kBins - 1 - thread_index() * bins_per_thread;
  before += above;
  if (before < target && target <= before + thread_mass) {
    for (; before + s.histogram.at(bin) < target; bin--) before += s.histogram.at(bin);
    s.crossing = {bin, before, s.histogram.at(bin)};
  }
  __syncthreads();
  return s.crossing;
}

// The lowest of the fewest largest candidates whose masses reach target_of(total mass). Only candidates from `floor` on
// count, and ids have id_bits bits. walk(lowest, fn) calls fn(logit, id) for every candidate of the row from `lowest`
// on, and possibly for others.
template <class Walk, class Mass, class Target>
__device__ inline u64 radix_cut(Selection& s, Walk walk, u64 floor, int id_bits, Mass mass_of, Target target_of) {
  const int bins_per_thread = kBins / thread_count(), last_bin = kBins - 1 - thread_index() * bins_per_thread;
  u64 prefix = 0, above = 0, target = 0;
  for (int upper = 64; upper > 0;) {
    const int shift = upper > 32 ? max(upper - kDigitBits, 32) : max(upper - kDigitBits, 0);  // logits, then ids
    __syncthreads();
    s.histogram.clear();
    __syncthreads();
    walk(max(floor, prefix), [&](float logit, long long id) {
      const u64 candidate = candidate_of(logit, id);
      if (candidate >= floor && (upper == 64 || (candidate ^ prefix) >> upper == 0))
        s.histogram.add(static_cast<int>((candidate - prefix) >> shift), mass_of(logit));
    });
    __syncthreads();
    u64 thread_mass = 0, total;
    for (int i = 0; i < bins_per_thread; i++) thread_mass += s.histogram.at(last_bin - i);
    const u64 before = block_exclusive_sum(thread_mass, total);
    if (upper == 64) target = target_of(total);
    const Crossing crossing = find_crossing(s, above, thread_mass, before, target);
    prefix |= static_cast<u64>(crossing.bin) << shift;
    above = crossing.above;
    upper = shift;
    if (shift == 32) {
      // If every one of the equal logits is kept, their ids do not matter.
      if (crossing.mass - (target - above) < mass_of(logit_of(prefix))) break;
      upper = id_bits;
      prefix |= 0xffffffffu >> id_bits << id_bits;  // a candidate holds its id inverted
    }
  }
  return prefix;
}

}  // namespace caracal
