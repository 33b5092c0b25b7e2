#include "ops/audio/fsmn_memory.h"

#include "ops/audio/depthwise.cpu.h"
#include "ops/norm/layer_norm.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

Taps taps_of(const FsmnMemory& op) {
  Taps taps;
  const int64_t shift = op.state ? op.delay() : 0;
  for (int64_t k = op.left_order; k > 0; k--) taps.offsets.push_back(-k * op.left_stride - shift);
  for (int64_t k = 0; k <= op.right_order; k++) taps.offsets.push_back(k * op.right_stride - shift);
  return taps;
}

template <class T>
struct MemoryEpilogue {
  T* y;
  TimeRows<T> residual;
  int64_t delay, channels;

  CARACAL_INLINE void operator()(F32x16 acc, int64_t row, int64_t channel, int count) const {
    if (const T* r = residual.at(row - delay)) acc += load(r + channel, count);
    store(y + row * channels + channel, acc, count);
  }
};

}  // namespace

void run(const FsmnMemory& op, std::span<Tensor> out, Cpu& cpu) {
  Temporary<std::byte> normalised(cpu, op.norm_weight ? op.x.bytes() : 0);
  if (op.norm_weight) normalise_rows(cpu, op.norm(), normalised.data());
  const std::byte* z = op.norm_weight ? normalised.data() : op.x.data<std::byte>();
  by_activation_type(op.x.dtype, [&](auto x_type) {
    by_activation_type(op.weight.dtype, [&](auto w_type) {
      using T = typename decltype(x_type)::type;
      using W = typename decltype(w_type)::type;
      TimeRows<T> rows = time_rows<T>(op.x, op.state);
      rows.x = reinterpret_cast<const T*>(z);
      const MemoryEpilogue<T> epilogue{.y = out[0].data<T>(),
                                       .residual = op.residual ? time_rows<T>(*op.residual, op.pending) : TimeRows<T>{},
                                       .delay = op.state ? op.delay() : 0,
                                       .channels = op.x.shape[1]};
      depthwise(cpu, rows, op.weight.data<W>(), taps_of(op), out[0].shape[0], epilogue);
    });
  });
  if (op.state) advance(*op.state, z, op.x.shape[0]);
  if (op.pending) advance(*op.pending, *op.residual);
}

}  // namespace caracal::CARACAL_ISA
