#include "ops/audio/fsmn_memory.h"

#include "ops/audio/depthwise.h"

namespace caracal::CARACAL_ISA {
namespace {

Taps taps_of(const FsmnMemory& op) {
  Taps taps;
  const int64_t shift = op.state ? op.delay() : 0;
  for (int64_t k = op.left_order; k > 0; k--) taps.offsets.push_back(-k * op.left_stride - shift);
  for (int64_t k = 0; k <= op.right_order; k++) taps.offsets.push_back(k * op.right_stride - shift);
  return taps;
}

}  // namespace

void run(const FsmnMemory& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t channels = op.z.shape[1];
  by_activation_type(op.z.dtype, [&](auto z_type) {
    by_activation_type(op.weight.dtype, [&](auto w_type) {
      using T = typename decltype(z_type)::type;
      using W = typename decltype(w_type)::type;
      const TimeRows<T> residual = op.residual ? time_rows<T>(*op.residual, op.pending) : TimeRows<T>{};
      const int64_t delay = op.state ? op.delay() : 0;
      T* y = out[0].data<T>();
      depthwise(cpu, time_rows<T>(op.z, op.state), op.weight.data<W>(), taps_of(op), out[0].shape[0],
                [&](int64_t row, int64_t channel, int lanes, F32x16 acc) {
                  const T* r = residual.at(row - delay);
                  T* p = y + row * channels + channel;
                  if (lanes == 16)
                    store16(p, r ? load16(r + channel) + acc : acc);
                  else
                    store_partial(p, r ? load_partial(r + channel, lanes) + acc : acc, lanes);
                });
    });
  });
  if (op.state) advance(*op.state, op.z);
  if (op.pending) advance(*op.pending, *op.residual);
}

}  // namespace caracal::CARACAL_ISA
