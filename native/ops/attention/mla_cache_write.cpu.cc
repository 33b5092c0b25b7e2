#include "ops/attention/mla_cache_write.h"

#include "cpu/reduce.h"
#include "ops/attention/rotation.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

void check_slots(const MlaCacheWrite& op) {
  const int64_t rows = op.cache.shape[0] * op.cache.shape[1];
  const int32_t* slots = op.slots.data<int32_t>();
  for (int64_t t = 0; t < op.slots.shape[0]; t++)
    if (slots[t] < 0 || slots[t] >= rows) throw slot_error(t, slots[t], rows);
}

template <class T, class W, class C>
void write_latent(const T* a, const W* weight, int64_t n, float eps, float scale, C* out) {
  F32x16 sum = zero();
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 v = n - i < 16 ? load_partial(a + i, static_cast<int>(n - i)) : load16(a + i);
    sum = fma(v, v, sum);
  }
  const float factor = scale / __builtin_sqrtf(hsum(sum) / static_cast<float>(n) + eps);
  for (int64_t i = 0; i < n; i++) out[i] = from_float<C>(to_float(a[i]) * factor * to_float(weight[i]));
}

template <class T, class W, class C>
void write_rows(const MlaCacheWrite& op, Cpu& cpu) {
  const int64_t latent = op.norm_weight.shape[0], width = op.kv.shape[1], rotated = width - latent;
  const int64_t room = round_up(rotated / 2, 16);
  Temporary<double> frequencies(cpu, static_cast<size_t>(rotated / 2));
  rotary_frequencies(op.theta, rotated, frequencies.data());
  Temporary<float> angles(cpu, static_cast<size_t>(2 * room * cpu.workers()));
  cpu.parallel_for(op.kv.shape[0], [&](int64_t t, int worker) {
    const T* kv = op.kv.data<T>() + t * width;
    C* row = op.cache.data<C>() + op.slots.data<int32_t>()[t] * width;
    write_latent(kv, op.norm_weight.data<W>(), latent, static_cast<float>(op.eps), static_cast<float>(op.scale), row);
    float* cosine = angles.data() + 2 * room * worker;
    rotation(op.positions.data<int32_t>()[t], frequencies.data(), rotated / 2, cosine, cosine + room);
    rotate_pairs(kv + latent, rotated / 2, cosine, cosine + room, row + latent);
  });
}

}  // namespace

void run(const MlaCacheWrite& op, std::span<Tensor>, Cpu& cpu) {
  check_slots(op);
  by_activation_type(op.kv.dtype, [&](auto kv) {
    by_activation_type(op.norm_weight.dtype, [&](auto weight) {
      by_activation_type(op.cache.dtype, [&](auto cache) {
        write_rows<typename decltype(kv)::type, typename decltype(weight)::type, typename decltype(cache)::type>(op,
                                                                                                                 cpu);
      });
    });
  });
}

}  // namespace caracal::CARACAL_ISA
