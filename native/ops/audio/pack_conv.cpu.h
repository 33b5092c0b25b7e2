#pragma once
// Convolution weights as panels of matrix products. Packed weights are used in place, and plain ones are packed for the
// duration of a call; both give the same bits.
#include "cpu/weights.h"

namespace caracal::CARACAL_ISA {

// Packs `matrices` products of [n, k]; at(matrix, row, i) is the index of an element in w.
template <class At>
void pack_elements(Cpu& cpu, const Tensor& w, int64_t matrices, int64_t n, int64_t k, std::byte* panels, At&& at) {
  const int64_t count = divide_up(n, kPanelColumns);
  by_activation_type(w.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* source = w.data<T>();
    cpu.parallel_for(matrices * count, [&](int64_t item, int) {
      const int64_t matrix = item / count, panel = item % count;
      T* out = reinterpret_cast<T*>(panels + panels_bytes(n, k, w.dtype) * static_cast<size_t>(matrix));
      pack_panels(out, n, k, panel, panel + 1, [&](int64_t row, int64_t i) { return source[at(matrix, row, i)]; });
    });
  });
}

inline void pack_conv1d(Cpu& cpu, const Tensor& w, int64_t groups, std::byte* panels) {
  const int64_t n = w.shape[0] / groups, channels = w.shape[1], taps = w.shape[2];
  pack_elements(cpu, w, groups, n, channels * taps, panels, [=](int64_t group, int64_t row, int64_t i) {
    return ((group * n + row) * channels + i % channels) * taps + i / channels;
  });
}

// w [Cin, Cout, k]: column tap·Cout + o of the product.
inline void pack_conv_transpose1d(Cpu& cpu, const Tensor& w, std::byte* panels) {
  const int64_t channels = w.shape[0], outputs = w.shape[1], taps = w.shape[2];
  pack_elements(cpu, w, 1, outputs * taps, channels, panels,
                [=](int64_t, int64_t row, int64_t i) { return (i * outputs + row % outputs) * taps + row / outputs; });
}

// The panels of w, which take `bytes`. pack(pointer) makes them where w is plain.
class PackedConv {
 public:
  template <class Pack>
  PackedConv(Cpu& cpu, const Tensor& w, size_t bytes, Pack&& pack) : made_(cpu, w.packed() ? 0 : bytes) {
    if (!w.packed()) pack(made_.data());
    data_ = w.packed() ? w.data<std::byte>() : made_.data();
  }
  Panels matrix(DType dtype, int64_t n, int64_t k, int64_t index) const {
    return {dtype, data_ + panels_bytes(n, k, dtype) * static_cast<size_t>(index), n, k, nullptr};
  }

 private:
  Temporary<std::byte> made_;
  const std::byte* data_;
};

}  // namespace caracal::CARACAL_ISA
