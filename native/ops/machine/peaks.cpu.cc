#include "ops/machine/peaks.h"

#include <algorithm>
#include <chrono>

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Enough independent chains to fill two pipes of four cycles' latency, and no more than the registers hold.
constexpr int kChains = kParts == 1 ? 10 : kParts == 2 ? 6 : 3;

float multiply_add(int64_t steps, float start) {
  F32x16 sum[kChains];
#pragma GCC unroll 10
  for (int c = 0; c < kChains; c++) sum[c] = set1(start + static_cast<float>(c));
  const F32x16 a = set1(0.999f), b = set1(1e-3f);
  for (int64_t i = 0; i < steps; i++) {
#pragma GCC unroll 10
    for (int c = 0; c < kChains; c++) sum[c] = fma(sum[c], a, b);
  }
  F32x16 total = sum[0];
#pragma GCC unroll 10
  for (int c = 1; c < kChains; c++) total += sum[c];
  return hsum(total);
}

// Two streams per thread with software prefetch: what reads fastest on the machines we measured.
float read_streams(const float* p, int64_t n) {
  const float* q = p + n / 2;
  F32x16 a = zero(), b = zero();
  for (int64_t i = 0; i + 16 <= n / 2; i += 16) {
    __builtin_prefetch(p + i + 512);
    __builtin_prefetch(q + i + 512);
    a += load16(p + i);
    b += load16(q + i);
  }
  return hsum(a + b);
}

}  // namespace

void run(const MachinePeaks& op, std::span<Tensor> out, Cpu& cpu) {
  const int workers = cpu.workers();
  Cpu::Temporary<float> sink(cpu, static_cast<size_t>(workers));
  double flops = 0, bytes = 0;
  for (int repeat = 0; repeat < 8; repeat++) {
    constexpr int64_t steps = 4'000'000;
    double start = seconds();
    cpu.parallel_for(workers, [&](int64_t w, int) { sink[w] = multiply_add(steps, static_cast<float>(w)); });
    flops = std::max(flops, 2.0 * 16 * kChains * steps * workers / (seconds() - start));

    const int64_t share = op.buffer.shape.elements() / workers / 32 * 32;
    start = seconds();
    cpu.parallel_for(workers, [&](int64_t w, int) { sink[w] = read_streams(op.buffer.data<float>() + w * share, share); });
    bytes = std::max(bytes, 4.0 * static_cast<double>(share) * workers / (seconds() - start));
  }
  out[0].data<float>()[0] = static_cast<float>(flops / 1e9);
  out[0].data<float>()[1] = static_cast<float>(bytes / 1e9);
}

}  // namespace caracal::CARACAL_ISA
