#pragma once
// A ring of stages in shared memory, filled by cp.async while earlier ones are used.
#include <cstdint>

#include "cuda/ptx/async.cuh"

namespace caracal {

// start(slot, stage) starts the copies of a stage; use(slot, stage) is called for one stage after the other by all threads
// of the block. All have left the ring when this returns.
template <int Slots, int SlotBytes, class Start, class Use>
__device__ inline void through_ring(uint8_t* ring, int stages, Start start, Use use) {
  static_assert(Slots >= 2, "a ring with one slot would be filled while it is used");
  auto start_stage = [&](int stage) {
    if (stage < stages) start(ring + stage % Slots * SlotBytes, stage);
    ptx::cp_async_commit();  // empty groups too, so that waiting can count them
  };
  for (int i = 0; i < Slots - 1; i++) start_stage(i);
#pragma unroll 1
  for (int stage = 0; stage < stages; stage++) {
    ptx::cp_async_wait<Slots - 2>();
    __syncthreads();  // all copies of this stage have arrived, and the slot that is filled next has been used
    start_stage(stage + Slots - 1);
    use(ring + stage % Slots * SlotBytes, stage);
  }
  ptx::cp_async_wait<0>();
  __syncthreads();
}

}  // namespace caracal
