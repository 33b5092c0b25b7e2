// PTX ISA, "Parallel Synchronization and Communication Instructions": membar, fence.
#include <atomic>

#include "check/monitor.h"
#include "instructions/list.h"
#include "machine/block.h"

namespace vgpu {
namespace {

constexpr uint8_t kProxies = 1;

void run_fence(Warp& w, const Op& op) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (op.flags & kProxies)
    if (Monitor* m = w.block.launch.monitor.get()) m->fence_proxies(w);
}

void membar(Decoding& i) {
  if (i.take("proxy"))
    i.one_of({"alias"});  // ptxas rejects .async here, although the ISA lists it
  else
    i.one_of({"cta", "gl", "sys"});
  i.expect(0);
  i.run(run_fence, OpClass::barrier);
}

// A release covers the block's own shared memory, an acquire that of the other blocks of the cluster.
void take_restricted(Decoding& i) {
  i.needs(90);
  const bool acquires = i.one_of({"acquire", "release"}) == 0;
  i.one_of({acquires ? "sync_restrict::shared::cluster" : "sync_restrict::shared::cta"});
  i.one_of({"cluster"});
}

// Orders the modification of a tensor map and its use. Here a copy takes a snapshot of the map when it is issued.
void fence_tensor_map(Decoding& i) {
  i.needs(90);
  const bool acquires = i.one_of({"acquire", "release"}) == 0;
  i.one_of({"cta", "cluster", "gpu", "sys"});
  i.expect(acquires ? 2 : 0);
  if (acquires) {
    i.address(0, Space::generic);
    i.immediate(1, 128, 128);
  }
  i.run(run_fence, OpClass::barrier);
}

void fence(Decoding& i) {
  if (i.take("proxy")) {
    const int proxy = i.one_of({"alias", "async", "async::generic", "tensormap::generic"});
    if (proxy == 3) return fence_tensor_map(i);
    if (proxy == 1) i.take_any({"global", "shared::cta", "shared::cluster"});
    if (proxy == 2) take_restricted(i);
    if (proxy != 0) {
      i.needs(90);
      i.op().flags = kProxies;
    }
  } else if (i.instruction().head.find(".sync_restrict") != std::string::npos) {
    take_restricted(i);
  } else if (i.take("mbarrier_init")) {
    i.one_of({"release"});
    i.one_of({"cluster"});
  } else {
    i.take_any({"sc", "acq_rel", "acquire", "release"});
    i.one_of({"cta", "cluster", "gpu", "sys"});
  }
  i.expect(0);
  i.run(run_fence, OpClass::barrier);
}

}  // namespace

std::span<const Opcode> fence_opcodes() {
  static const Opcode table[] = {{"fence", fence}, {"membar", membar}};
  return table;
}

}  // namespace vgpu
