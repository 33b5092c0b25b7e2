#include "ops/sampling/sample.h"

#include "cpu/math.h"
#include "ops/sampling/largest.h"
#include "ops/sampling/philox.h"

namespace caracal::CARACAL_ISA {
namespace {

// Order of floats as order of unsigned integers.
CARACAL_INLINE uint32_t ordered(float v) {
  const uint32_t bits = float_bits(v);
  return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}

// Keeps the fewest largest values whose masses reach `target`, the first of equals first; the rest become `dropped`.
// A radix selection from the top byte down, each pass over the bucket that the cut falls into: the values are never
// sorted.
template <class Mass>
void keep_largest(float* values, int64_t n, double target, float dropped, Mass mass) {
  uint32_t prefix = 0;
  double above = 0;  // mass of what is surely kept
  for (int shift = 24; shift >= 0; shift -= 8) {
    double bucket[256] = {};
    const uint64_t wanted = uint64_t{prefix} >> (shift + 8);
    for (int64_t i = 0; i < n; i++) {
      const uint32_t key = ordered(values[i]);
      if (uint64_t{key} >> (shift + 8) == wanted) bucket[key >> shift & 255u] += mass(values[i]);
    }
    uint32_t b = 255;
    for (; b > 0 && above + bucket[b] < target; b--) above += bucket[b];
    prefix |= b << shift;
  }
  for (int64_t i = 0; i < n; i++) {
    const uint32_t key = ordered(values[i]);
    if (key > prefix) continue;
    if (key == prefix && above < target)
      above += mass(values[i]);
    else
      values[i] = dropped;
  }
}

// The allowed logits of a row, one range after another, NaN as -infinity.
template <class T>
void collect(const T* logits, const std::vector<int64_t>& ranges, float* values) {
  for (size_t r = 0; r < ranges.size(); r += 2) {
    const int64_t n = ranges[r + 1] - ranges[r];
    for_columns(n, [&](int64_t i, int count) {
      const F32x16 v = load(logits + ranges[r] + i, count);
      store(values + i, select(v == v, v, set1(-INFINITY)), count);
    });
    values += n;
  }
}

// Logits to unnormalised probabilities, in place.
void exponentiate(float* values, int64_t n, float top, float temperature) {
  const F32x16 best = set1(top), lowest = set1(-INFINITY);
  for_columns(n, [&](int64_t i, int count) {
    const F32x16 v = load(values + i, count);
    const F32x16 weight = top == INFINITY ? set1(1.f) : exp((v - best) / set1(temperature));
    const Mask16 counts = top == INFINITY ? v == best : v > lowest;
    store(values + i, select(counts, weight, zero()), count);
  });
}

int64_t first_equal(const float* values, float wanted) {
  int64_t i = 0;
  while (values[i] != wanted) i++;
  return i;
}

// Index among the n candidates; `values` is used up.
int64_t draw(float* values, int64_t n, float temperature, int64_t top_k, double top_p, double random) {
  const float top = largest(values, n, -INFINITY);
  if (top == -INFINITY) return 0;
  if (temperature == 0 || top_k == 1) return first_equal(values, top);
  if (top_k > 0 && top_k < n) keep_largest(values, n, static_cast<double>(top_k), -INFINITY, [](float) { return 1.0; });
  exponentiate(values, n, top, temperature);
  auto total = [&] {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += values[i];
    return sum;
  };
  if (top_p < 1) keep_largest(values, n, top_p * total(), 0, [](float v) { return static_cast<double>(v); });
  const double target = random * total();
  double sum = 0;
  int64_t last = 0;
  for (int64_t i = 0; i < n; i++) {
    if (values[i] == 0) continue;
    last = i;
    sum += values[i];
    if (sum > target) break;
  }
  return last;
}

int32_t id_of(int64_t candidate, const std::vector<int64_t>& ranges) {
  for (size_t r = 0;; r += 2) {
    const int64_t n = ranges[r + 1] - ranges[r];
    if (candidate < n) return static_cast<int32_t>(ranges[r] + candidate);
    candidate -= n;
  }
}

}  // namespace

void run(const Sample& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t ids = op.logits.shape[1];
  const std::vector<int64_t> ranges = ranges_of(op.allowed, ids);
  int64_t candidates = 0;
  for (size_t r = 0; r < ranges.size(); r += 2) candidates += ranges[r + 1] - ranges[r];
  by_activation_type(op.logits.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, op.logits.shape[0], ids, [&](int64_t row) {
      const Cpu::Temporary<float> values(cpu, candidates);
      collect(op.logits.data<T>() + row * ids, ranges, values.data());
      const uint32_t stream = op.seed.size() == 1 ? static_cast<uint32_t>(row) : 0;
      const double random = uniform(op.at(op.seed, row), op.at(op.step, row), stream);
      const int64_t candidate = draw(values.data(), candidates, static_cast<float>(op.at(op.temperature, row)),
                                     op.at(op.top_k, row), op.at(op.top_p, row), random);
      out[0].data<int32_t>()[row] = id_of(candidate, ranges);
    });
  });
}

}  // namespace caracal::CARACAL_ISA
