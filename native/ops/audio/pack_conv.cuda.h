#pragma once
// A packed convolution weight on the GPU is the rows of its product, one after the other, without padding. (Its storage
// is as large as on the CPU, where panels pad the rows to 16.) A plain weight is packed for the duration of a call.
#include "cuda/implement.h"
#include "ops/audio/pack_conv.kernels.h"

namespace caracal::cuda {

// Column o · taps + tap of each matrix [channels, columns] of w becomes row tap · (columns / taps) + o.
inline void pack_conv(Cuda& cuda, const Tensor& w, int64_t matrices, int64_t channels, int64_t columns, void* to) {
  if (w.shape.elements() == 0) return;
  const int64_t width = std::min<int64_t>(columns, kPackTile);
  const int64_t blocks = matrices * divide_up(channels, kPackTile) * divide_up(columns, width);
  cuda.launch(entry_of(kPackConv, w.dtype), {{unsigned(blocks)}, kPackThreads}, address(w), to, channels, columns,
              int(w.shape[2]), int(width));
}

// w [Cout, Cin/groups, k] as [Cout, k · Cin/groups]
inline void pack_conv1d(Cuda& cuda, const Tensor& w, void* to) {
  if (w.shape[2] == 1)
    cuda.copy(to, address(w), w.bytes());
  else
    pack_conv(cuda, w, w.shape[0], w.shape[1], w.shape[2], to);
}

// w [Cin, Cout, k] as [k · Cout, Cin]
inline void pack_conv_transpose1d(Cuda& cuda, const Tensor& w, void* to) {
  pack_conv(cuda, w, 1, w.shape[0], w.shape[1] * w.shape[2], to);
}

class PackedConv {
 public:
  PackedConv(Cuda& cuda, const Tensor& w, void (*pack)(Cuda&, const Tensor&, void*))
      : made_(cuda, w.packed() ? 0 : w.bytes()) {
    if (!w.packed()) pack(cuda, w, made_.data());
    data_ = w.packed() ? w.data<std::byte>() : made_.data();
  }
  const std::byte* data() const { return data_; }

 private:
  Temporary<std::byte> made_;
  const std::byte* data_;
};

}  // namespace caracal::cuda
