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

// What a CPU implementation is given: threads and memory.
class Cpu {
 public:
  Cpu(Allocator& allocator, ThreadPool& pool) : allocator_(allocator), pool_(pool), scratch_(pool.threads()) {}

  int workers() const { return pool_.threads(); }

  // fn(item, worker) for every item in [0, items), shared out dynamically.
  template <class Fn>
  void parallel_for(int64_t items, Fn&& fn) {
    using F = std::remove_reference_t<Fn>;
    pool_.run(
        items, [](void* f, int64_t item, int worker) { (*static_cast<F*>(f))(item, worker); },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

  // A worker's own 64-byte aligned buffer, kept from call to call; asking again may move it. The GEMM kernels use it,
  // so an operation that calls them takes a Temporary instead. It is no part of the allocator's statistics: which
  // worker needs how much depends on how the items fell.
  float* scratch(int worker, size_t floats) {
    Scratch& s = scratch_[worker];
    if (s.floats < floats) {
      void* p = nullptr;
      s = {};
      if (posix_memalign(&p, 64, floats * sizeof(float)) != 0)
        throw Error(code::kOutOfMemory,
                    "out of memory: " + std::to_string(floats * sizeof(float)) + " bytes of scratch were asked for");
      s = {std::unique_ptr<float, Free>(static_cast<float*>(p)), floats};
    }
    return s.buffer.get();
  }

  // Memory for the length of a scope, 64-byte aligned, not initialised.
  template <class T>
  class Temporary {
   public:
    Temporary(Cpu& cpu, size_t n) : allocator_(cpu.allocator_), bytes_(n * sizeof(T)) {
      if (bytes_ > 0) data_ = reinterpret_cast<T*>(allocator_.allocate(bytes_));
    }
    ~Temporary() {
      if (data_) allocator_.release(reinterpret_cast<std::byte*>(data_), bytes_);
    }
    Temporary(const Temporary&) = delete;
    T* data() const { return data_; }
    T& operator[](size_t i) const { return data_[i]; }

   private:
    Allocator& allocator_;
    size_t bytes_;
    T* data_ = nullptr;
  };

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
