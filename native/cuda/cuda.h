#pragma once
// What a CUDA implementation is given: the stream, kernels, memory for the length of a call, and a place where kernels
// say that the data is wrong.
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "core/dtype.h"
#include "cuda/fault.h"
#include "cuda/kernel.h"
#include "cuda/modules.h"

namespace caracal {

struct Grid {
  unsigned x = 1, y = 1, z = 1;
};

struct Launch {
  Grid grid;
  unsigned threads;
  size_t shared_bytes = 0;   // dynamic shared memory
  bool cooperative = false;  // all blocks run at once, so that they may wait for each other
};

// One entry of a kernel.
template <class... Parameters>
struct Entry {
  std::string name;
};

inline std::string variant_name(DType dtype) { return dtype_name(dtype); }
inline std::string variant_name(std::string_view name) { return std::string(name); }
inline std::string variant_name(int64_t number) { return std::to_string(number); }

std::string entry_name(std::string_view kernel, std::initializer_list<std::string> variant);

// The entry for a variant: entry_of(kRouterLogits, "one", DType::f32, DType::bf16) is router_logits_one_f32_bf16.
template <class... Parameters, class... Variant>
Entry<Parameters...> entry_of(const Kernel<Parameters...>& kernel, const Variant&... variant) {
  return {entry_name(kernel.name, {variant_name(variant)...})};
}

class Cuda {
 public:
  Cuda(const Driver& driver, const GpuProperties& gpu, Allocator& allocator, Modules& modules)
      : gpu(gpu), driver_(driver), allocator_(allocator), modules_(modules) {}

  const GpuProperties& gpu;

  // Puts a kernel on the stream. Arguments become the declared parameters; a conversion that narrows does not compile.
  template <class... Parameters, class... Args>
    requires(sizeof...(Parameters) == sizeof...(Args))
  void launch(const Entry<Parameters...>& entry, const Launch& launch, const Args&... args) {
    std::tuple<Parameters...> values{Parameters{args}...};
    std::apply(
        [&](auto&... value) {
          void* parameters[] = {static_cast<void*>(&value)..., nullptr};
          launch_kernel(entry.name, launch, parameters);
        },
        values);
  }
  // How long the GPU takes for what `launch` puts on the stream. Waits for it, so no graph can hold this.
  double milliseconds(const std::function<void()>& launch);
  void clear(void* data, size_t bytes);
  void copy(void* to, const void* from, size_t bytes);  // on the GPU
  // What the host has computed. A copy of it is kept for good, since graphs read it whenever they are launched: this is
  // for tables, of which there are few.
  void copy_constant(void* to, const void* from, size_t bytes);

  // 256-byte aligned, not initialised.
  template <class T>
  class Temporary {
   public:
    Temporary(Cuda& cuda, size_t n) : allocator_(cuda.allocator_), bytes_(n * sizeof(T)) {
      if (bytes_ > 0) data_ = reinterpret_cast<T*>(allocator_.allocate(bytes_, cuda.lane_.pool));
    }
    ~Temporary() {
      if (data_) allocator_.release(reinterpret_cast<std::byte*>(data_), bytes_);
    }
    Temporary(const Temporary&) = delete;
    T* data() const { return data_; }

   private:
    Allocator& allocator_;
    size_t bytes_;
    T* data_ = nullptr;
  };

  // For kernels that check their data: the operation that runs gets a Fault, and `explain` is asked if it is raised.
  using Explain = std::function<Error(const Fault&)>;
  Fault* fault(Explain explain);

  // --- for the device ------------------------------------------------------------------------------------------------

  struct Check {
    Fault* fault;
    Explain explain;
  };
  std::optional<Check> take_check() { return std::exchange(check_, std::nullopt); }
  // Where the next operation goes: a stream, the memory of those on it, and the fault that it may raise.
  struct Lane {
    CUstream stream = nullptr;
    Allocator::Pool pool = 0;
  };
  void use(const Lane& lane, Fault* fault) {
    lane_ = lane;
    next_fault_ = fault;
  }

 private:
  void launch_kernel(const std::string& entry, const Launch& launch, void** parameters);

  const Driver& driver_;
  Allocator& allocator_;
  Modules& modules_;
  Lane lane_;
  Fault* next_fault_ = nullptr;
  std::optional<Check> check_;
  std::map<std::string, PinnedMemory, std::less<>> constants_;
};

}  // namespace caracal
