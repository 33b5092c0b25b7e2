#pragma once
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "core/allocator.h"
#include "core/error.h"
#include "cpu/thread_pool.h"

namespace caracal {

// The environment that a CPU implementation runs in: it runs loops on the device's threads and allocates temporary memory.
class Cpu {
 public:
  Cpu(Allocator& allocator, ThreadPool& pool) : allocator_(allocator), pool_(pool), scratch_(pool.threads()) {}

  int workers() const { return pool_.threads(); }

  // Calls fn(item, worker) for every item in [0, items); workers take items as they become free.
  template <class Fn>
  void parallel_for(int64_t items, Fn&& fn) {
    using F = std::remove_reference_t<Fn>;
    pool_.run(
        items, [](void* f, int64_t item, int worker) { (*static_cast<F*>(f))(item, worker); },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

  // A worker's 64-byte aligned buffer, kept between calls; a later call may move it. The GEMM kernels use it, so
  // operations that call them use a Temporary instead. The allocator's statistics do not include it: how much a worker
  // needs depends on which items it got.
  float* scratch(int worker, size_t floats) {
    Scratch& s = scratch_[worker];
    if (s.floats < floats) {
      void* p = nullptr;
      s = {};
      if (posix_memalign(&p, 64, floats * sizeof(float)) != 0)
        throw Error(code::kOutOfMemory,
                    "out of memory: " + std::to_string(floats * sizeof(float)) + " bytes of scratch were requested",
                    {{"bytes", static_cast<double>(floats * sizeof(float))}});
      s = {std::unique_ptr<float, Free>(static_cast<float*>(p)), floats};
    }
    return s.buffer.get();
  }

  // Lets a Temporary be made from this object.
  operator MemoryPool() const { return {allocator_}; }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  struct Scratch {
    std::unique_ptr<float, Free> buffer;
    size_t floats = 0;
  };
  Allocator& allocator_;
  ThreadPool& pool_;
  std::vector<Scratch> scratch_;
};

}  // namespace caracal
