#pragma once
// Weights as panels: a packed weight is used in place, a plain one is packed for the duration of a call. The results have
// the same bits, so packing only affects speed.
#include <algorithm>

#include "cpu/gemm.h"
#include "cpu/gemm_pack.h"
#include "cpu/implement.h"
#include "cpu/packed_weight.h"

namespace caracal::CARACAL_ISA {

// Throws if the rows of a panel contain a NaN: the kernels would read its code as a number.
inline void refuse_nan(const char* op, const f8e4m3* w, int64_t panel, int64_t n, int64_t k) {
  const int64_t begin = panel * kPanelColumns * k, end = std::min((panel + 1) * kPanelColumns, n) * k;
  const int64_t at = begin + find_nan(w + begin, end - begin);
  if (at < end) throw nan_weight_error(op, at / k, at % k);
}

// Packs a row-major matrix [n, k] into panels, on all threads. `op` is named in the error for a NaN.
inline void pack_matrix(Cpu& cpu, const char* op, DType dtype, const void* w, int64_t n, int64_t k, std::byte* panels) {
  const int64_t count = divide_up(n, kPanelColumns);
  auto pack = [&](auto type) {
    using T = typename decltype(type)::type;
    cpu.parallel_for(count, [&](int64_t panel, int) {
      if constexpr (std::is_same_v<T, f8e4m3>) refuse_nan(op, static_cast<const f8e4m3*>(w), panel, n, k);
      pack_panel(static_cast<T*>(nullptr), static_cast<const std::byte*>(w), n, k, panel,
                 panels + static_cast<size_t>(panel) * panels_bytes(kPanelColumns, k, dtype));
    });
  };
  if (dtype == DType::bf16)
    pack(Type<bf16>{});
  else if (dtype == DType::f8e4m3)
    pack(Type<f8e4m3>{});
  else
    pack(Type<float>{});
}

// The panels of a weight [N, K] for the duration of a call.
class WeightPanels {
 public:
  WeightPanels(Cpu& cpu, const Tensor& w)
      : packed_(cpu, w.packed() ? 0 : panels_bytes(w.shape[0], w.shape[1], w.dtype)) {
    if (w.packed()) {
      panels_ = panels_of(w);
      return;
    }
    pack_matrix(cpu, "linear", w.dtype, w.data<std::byte>(), w.shape[0], w.shape[1], packed_.data());
    panels_ = {w.dtype, packed_.data(), w.shape[0], w.shape[1], nullptr};
  }
  operator const Panels&() const { return panels_; }

 private:
  Temporary<std::byte> packed_;
  Panels panels_;
};

inline ColumnVector column_vector(const std::optional<Tensor>& t) {
  return t ? ColumnVector{t->data<std::byte>(), t->dtype} : ColumnVector{};
}

// A tensor's rows: all dimensions but the last one are flattened.
template <class T>
Rows<T> rows_of(const Tensor& x, const int32_t* index = nullptr) {
  return {x.data<T>(), x.shape[-1], index};
}

}  // namespace caracal::CARACAL_ISA
