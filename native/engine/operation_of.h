#pragma once
// Derives an Operation from a contract: its fields as data, and the choice of the backend that runs it.
#include "core/operation.h"
#include "cpu/cpu_device.h"
#include "cuda/cuda_device.h"
#include "engine/operations.h"

namespace caracal {

// The enum type of an argument that is an enum or an optional enum.
template <class T>
struct EnumOf {};
template <class T>
  requires std::is_enum_v<T>
struct EnumOf<T> {
  using type = T;
};
template <class T>
  requires std::is_enum_v<T>
struct EnumOf<std::optional<T>> {
  using type = T;
};

template <class Op>
class OperationOf final : public Operation {
 public:
  const char* name() const override { return Op::kName; }
  std::span<const FieldInfo> fields() const override { return kInfo; }
  Outputs check() const override { return op_.check(); }
  void run(Device& device, std::span<Tensor> out) const override;

 private:
  static constexpr size_t kCount = std::tuple_size_v<decltype(Op::kFields)>;

  template <size_t I>
  static FieldPointer locate(Operation& operation) {
    auto& member = static_cast<OperationOf&>(operation).op_.*(std::get<I>(Op::kFields).member);
    using Member = std::remove_reference_t<decltype(member)>;
    if constexpr (requires { typename EnumOf<Member>::type; }) {
      using Enum = typename EnumOf<Member>::type;
      if constexpr (!std::is_same_v<Enum, DType>)
        static_assert(one_name_each<Enum>(EnumNames<Enum>::names), "every enumerator needs a name for JavaScript");
      auto choose = [](void* m, size_t index) { *static_cast<Member*>(m) = static_cast<Enum>(index); };
      return Choice{EnumNames<Enum>::names, choose, &member};
    } else {
      return &member;
    }
  }
  template <size_t... I>
  static constexpr std::array<FieldInfo, kCount> info(std::index_sequence<I...>) {
    return {FieldInfo{std::get<I>(Op::kFields).name, std::get<I>(Op::kFields).access, std::get<I>(Op::kFields).layout,
                      std::get<I>(Op::kFields).required, &locate<I>}...};
  }
  static constexpr std::array<FieldInfo, kCount> kInfo = info(std::make_index_sequence<kCount>());

  Op op_;
};

// Declares the functions that an operation's .cpu.cc defines, which is compiled once per instruction set.
#if defined(__x86_64__)
#define CARACAL_DECLARE_CPU_RUNS(Op)                                               \
  namespace scalar {                                                               \
  void run(const Op&, std::span<Tensor>, Cpu&);                                    \
  }                                                                                \
  namespace avx2 {                                                                 \
  void run(const Op&, std::span<Tensor>, Cpu&);                                    \
  }                                                                                \
  namespace avx512 {                                                               \
  void run(const Op&, std::span<Tensor>, Cpu&);                                    \
  }                                                                                \
  inline void run_on_cpu(const Op& op, std::span<Tensor> out, CpuDevice& device) { \
    switch (device.isa()) {                                                        \
      case Isa::baseline: return scalar::run(op, out, device.cpu());               \
      case Isa::avx2: return avx2::run(op, out, device.cpu());                     \
      case Isa::avx512: return avx512::run(op, out, device.cpu());                 \
    }                                                                              \
  }
#else
#define CARACAL_DECLARE_CPU_RUNS(Op)            \
  namespace scalar {                            \
  void run(const Op&, std::span<Tensor>, Cpu&); \
  }                                             \
  inline void run_on_cpu(const Op& op, std::span<Tensor> out, CpuDevice& device) { scalar::run(op, out, device.cpu()); }
#endif

// Defines the Operation of a contract. Used in namespace caracal.
#define CARACAL_OPERATION(Op)                                                                         \
  CARACAL_DECLARE_CPU_RUNS(Op)                                                                        \
  namespace cuda {                                                                                    \
  void run(const Op&, std::span<Tensor>, Cuda&);                                                      \
  }                                                                                                   \
  template <>                                                                                         \
  void OperationOf<Op>::run(Device& device, std::span<Tensor> out) const {                            \
    if (device.backend() == Device::Backend::cpu)                                                     \
      run_on_cpu(op_, out, static_cast<CpuDevice&>(device));                                          \
    else                                                                                              \
      static_cast<CudaDevice&>(device).enqueue(*this, out, [&](Cuda& c) { cuda::run(op_, out, c); }); \
  }

template <class Op>
OperationType operation_type() {
  return {Op::kName, [] { return std::unique_ptr<Operation>(new OperationOf<Op>); }};
}

}  // namespace caracal
