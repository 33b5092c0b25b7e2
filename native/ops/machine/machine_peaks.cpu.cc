#include "ops/machine/machine_peaks.h"

#include <algorithm>
#include <chrono>
#include <type_traits>

#include "cpu/implement.h"
#include "cpu/reduce.h"

namespace caracal::CARACAL_ISA {
namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Enough independent chains to fill two FMA pipes of four cycles' latency, and no more than fit in registers.
constexpr int kChains = kParts == 1 ? 10 : kParts == 2 ? 6 : 3;

// Every lane starts with a value of its own, since the compiler would merge equal chains.
float multiply_add(int64_t steps, const float* start) {
  F32x16 sum[kChains];
#pragma GCC unroll 10
  for (int c = 0; c < kChains; c++) sum[c] = load16(start + 16 * c);
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

// Several streams with software prefetch use more memory bandwidth than one; the best number depends on the CPU.
template <int Streams>
float read_streams(const float* p, int64_t n) {
  const int64_t length = n / Streams / 16 * 16;
  F32x16 sum[Streams];
#pragma GCC unroll 8
  for (int s = 0; s < Streams; s++) sum[s] = zero();
  for (int64_t i = 0; i < length; i += 16) {
#pragma GCC unroll 8
    for (int s = 0; s < Streams; s++) {
      __builtin_prefetch(p + s * length + i + 512);
      sum[s] += load16(p + s * length + i);
    }
  }
  F32x16 total = sum[0];
#pragma GCC unroll 8
  for (int s = 1; s < Streams; s++) total += sum[s];
  return hsum(total);
}

}  // namespace

void run(const MachinePeaks& op, std::span<Tensor> out, Cpu& cpu) {
  const int workers = cpu.workers();
  Temporary<float> sink(cpu, static_cast<size_t>(workers));
  // The seconds of one round of all workers.
  auto timed = [&](auto&& work) {
    const double start = seconds();
    cpu.parallel_for(workers, [&](int64_t w, int) { sink[w] = work(w); });
    return seconds() - start;
  };
  float start[16 * kChains];
  for (int i = 0; i < 16 * kChains; i++) start[i] = static_cast<float>(i);
  const float* buffer = op.buffer.data<float>();
  double flops = 0, bytes = 0;
  // Pieces take about a millisecond, since on a machine with other work all cores are seldom free for longer. The whole
  // takes long enough for the start of many threads not to count.
  for (const int pieces : {8, 1}) {
    const int64_t steps = 4'000'000 / pieces;
    const int64_t share = op.buffer.shape.elements() / pieces / workers / 128 * 128;
    // A piece has left the caches by the time it is read again: all others were read in between.
    auto read = [&](auto streams) {
      for (int piece = 0; piece < pieces; piece++) {
        const float* p = buffer + piece * workers * share;
        const double time = timed([&](int64_t w) { return read_streams<streams()>(p + w * share, share); });
        bytes = std::max(bytes, 4.0 * static_cast<double>(share) * workers / time);
      }
    };
    for (int repeat = 0; repeat < 3; repeat++) {
      for (int piece = 0; piece < pieces; piece++) {
        const double time = timed([&](int64_t) { return multiply_add(steps, start); });
        flops = std::max(flops, 2.0 * 16 * kChains * static_cast<double>(steps) * workers / time);
      }
      read(std::integral_constant<int, 2>{});
      read(std::integral_constant<int, 4>{});
      read(std::integral_constant<int, 8>{});
    }
  }
  const double peaks[] = {flops, flops, bytes};
  for (int i = 0; i < 3; i++) out[0].data<float>()[i] = static_cast<float>(peaks[i] / 1e9);
}

}  // namespace caracal::CARACAL_ISA
