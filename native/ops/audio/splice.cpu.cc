#include "ops/audio/splice.h"

#include <algorithm>

#include "ops/audio/streaming.cpu.h"

namespace caracal::CARACAL_ISA {

void run(const Splice& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t width = op.left + 1 + op.right;
  const int64_t first = op.state ? op.first : 0, oldest = op.state ? -op.known : 0, newest = op.x.shape[0] - 1;
  if (out[0].shape.elements() > 0)
    by_activation_type(op.x.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const TimeRows<T> x = time_rows<T>(op.x, op.state);
      const size_t bytes = static_cast<size_t>(x.channels) * sizeof(T);
      for_rows(cpu, out[0].shape[0], width * x.channels, [&](int64_t row) {
        T* y = out[0].data<T>() + row * width * x.channels;
        const int64_t begin = first + row * op.stride - op.left;
        for (int64_t i = 0; i < width; i++)
          memcpy(y + i * x.channels, x.at(std::clamp(begin + i, oldest, newest)), bytes);
      });
    });
  if (op.state) advance(*op.state, op.x);
}

}  // namespace caracal::CARACAL_ISA
