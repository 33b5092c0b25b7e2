#include "ops/attention/rope.h"

#include <string.h>

#include "ops/attention/rotation.cpu.h"

namespace caracal::CARACAL_ISA {

void run(const Rope& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t tokens = op.x.shape[0], heads = op.x.shape[1], dim = op.x.shape[2];
  const int64_t pairs = op.rotated() / 2, copied = dim - op.rotated(), room = round_up(pairs, 16);
  Temporary<double> frequencies(cpu, static_cast<size_t>(pairs));
  rotary_frequencies(op.theta, op.rotated(), frequencies.data());
  Temporary<float> angles(cpu, static_cast<size_t>(2 * room * cpu.workers()));
  const int32_t* positions = op.positions.data<int32_t>();
  by_activation_type(op.x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = op.x.data<T>();
    T* y = out[0].data<T>();
    cpu.parallel_for(tokens, [&](int64_t t, int worker) {
      float* cosine = angles.data() + 2 * room * worker;
      float* sine = cosine + room;
      rotation(positions[t], frequencies.data(), pairs, cosine, sine);
      for (int64_t i = t * heads * dim; i < (t + 1) * heads * dim; i += dim) {
        memcpy(y + i, x + i, static_cast<size_t>(copied) * sizeof(T));
        rotate_pairs(x + i + copied, pairs, cosine, sine, y + i + copied);
      }
    });
  });
}

}  // namespace caracal::CARACAL_ISA
