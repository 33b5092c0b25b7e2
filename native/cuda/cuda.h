#pragma once
// The environment that a CUDA implementation runs in: it launches kernels on the device's stream, allocates temporary memory
// and lets kernels report invalid data.
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
  bool cooperative = false;  // all blocks run at the same time, so they may wait for each other
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

// The entry of a variant: entry_of(kRouterLogits, "one", DType::f32, DType::bf16) is router_logits_one_f32_bf16.
template <class... Parameters, class... Variant>
Entry<Parameters...> entry_of(const Kernel<Parameters...>& kernel, const Variant&... variant) {
  return {entry_name(kernel.name, {variant_name(variant)...})};
}

class Cuda {
 public:
  Cuda(const Driver& driver, const GpuProperties& gpu, Allocator& allocator, Modules& modules)
      : gpu(gpu), driver_(driver), allocator_(allocator), modules_(modules) {}

  const GpuProperties& gpu;

  // Puts a kernel on the stream. Arguments are converted to the declared parameters; narrowing does not compile
  // (test/cuda/launch.test.ts).
  template <class... Parameters, class... Args>
    requires(sizeof...(Parameters) == sizeof...(Args))
  void launch(const Entry<Parameters...>& entry, const Launch& launch, const Args&... args) {
    static_assert((std::is_convertible_v<const Args&, Parameters> && ...),
                  "an argument is not of the type that the kernel's declaration in .kernels.h gives its parameter");
    std::tuple<Parameters...> values{Parameters{args}...};
    std::apply(
        [&](auto&... value) {
          void* parameters[] = {static_cast<void*>(&value)..., nullptr};
          launch_kernel(entry.name, launch, parameters);
        },
        values);
  }
  // The GPU time of the work that `launch` puts on the stream. Waits for the GPU, so a graph cannot contain it.
  double milliseconds(const std::function<void()>& launch);
  void clear(void* data, size_t bytes);
  void copy(void* to, const void* from, size_t bytes);  // on the GPU
  // Copies host memory to the GPU. Keeps a host copy forever, since graphs read it at every launch: meant for a small
  // number of tables.
  void copy_constant(void* to, const void* from, size_t bytes);

  // Lets a Temporary be made from this object.
  operator MemoryPool() const { return {allocator_, lane_.pool}; }

  // For kernels that check their data: returns the Fault of the running operation. If it is raised, `explain` turns it
  // into the error, possibly after the operation's tensors have been freed.
  using Explain = std::function<Error(const Fault&)>;
  Fault* fault(Explain explain);

  // --- for CudaDevice ------------------------------------------------------------------------------------------------

  struct Check {
    Fault* fault;
    Explain explain;
  };
  std::optional<Check> take_check() { return std::exchange(check_, std::nullopt); }
  // The stream of the next operations, and the pool of the memory that they use.
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
