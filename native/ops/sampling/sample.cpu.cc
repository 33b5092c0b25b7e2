#include "ops/sampling/sample.h"

#include "cpu/math.h"
#include "ops/sampling/largest.cpu.h"
#include "ops/sampling/sample_weight.h"

namespace caracal::CARACAL_ISA {
namespace {

// Maps floats to unsigned integers of the same order.
CARACAL_INLINE uint32_t ordered(float v) {
  const uint32_t bits = float_bits(v);
  return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}

// Keeps the fewest largest values whose masses reach `target`, preferring the first of equals, and drops the others.
// This is a radix selection from the top byte down; each pass refines the bucket that contains the cut.
template <class Mass, class Drop>
void keep_largest(const float* values, int64_t n, uint64_t target, Mass mass, Drop drop) {
  uint32_t prefix = 0;
  uint64_t above = 0;  // the mass of the larger values, which are kept
  for (int shift = 24; shift >= 0; shift -= 8) {
    uint64_t bucket[256] = {};
    const uint64_t wanted = uint64_t{prefix} >> (shift + 8);
    for (int64_t i = 0; i < n; i++) {
      const uint32_t key = ordered(values[i]);
      if (uint64_t{key} >> (shift + 8) == wanted) bucket[key >> shift & 255u] += mass(i);
    }
    uint32_t b = 255;
    for (; b > 0 && above + bucket[b] < target; b--) above += bucket[b];
    prefix |= b << shift;
  }
  for (int64_t i = 0; i < n; i++) {
    const uint32_t key = ordered(values[i]);
    if (key > prefix) continue;
    if (key == prefix && above < target)
      above += mass(i);
    else
      drop(i);
  }
}

// Gathers the allowed logits of a row, with NaN as -infinity and -0 as 0.
template <class T>
void collect(const T* logits, const std::vector<int64_t>& ranges, float* values) {
  for (size_t r = 0; r < ranges.size(); r += 2) {
    const int64_t n = ranges[r + 1] - ranges[r];
    for_columns(n, [&](int64_t i, int count) {
      const F32x16 v = load(logits + ranges[r] + i, count);
      store(values + i, select(v == v, v + zero(), set1(-INFINITY)), count);
    });
    values += n;
  }
}

// The weights of sample_weight.h before they are rounded down.
void weigh(const float* values, int64_t n, float top, float scale, float* weights) {
  const F32x16 best = set1(top);
  for_columns(n, [&](int64_t i, int count) {
    const F32x16 v = load(values + i, count);
    const F32x16 x = max((v - best) * set1(scale), set1(kMinExponent));
    const F32x16 shifted = x + set1(kRoundMagic);
    U32x16 power = bits_of(shifted);  // 2^round(x), times kMaxWeight
    CARACAL_EACH_PART power.v[part] = (power.v[part] - (kRoundMagicBits - 127 - kWeightBits)) << 23;
    const F32x16 weight = exp2_fraction(x - (shifted - set1(kRoundMagic)), set1) * from_bits(power);
    store(weights + i, select(v == best, set1(kMaxWeight), weight), count);
  });
}

int64_t first_equal(const float* values, float wanted) {
  int64_t i = 0;
  while (values[i] != wanted) i++;
  return i;
}

// Draws the index of one of n candidates. Overwrites `values`, and `weights` of n elements.
int64_t draw(float* values, float* weights, int64_t n, double temperature, int64_t top_k, double top_p,
             uint64_t random) {
  const float top = largest(values, n, -INFINITY);
  if (top == -INFINITY) return 0;
  if (temperature == 0 || top_k == 1) return first_equal(values, top);
  if (top_k > 0 && top_k < n)
    keep_largest(
        values, n, static_cast<uint64_t>(top_k), [](int64_t) { return 1; }, [&](int64_t i) { values[i] = -INFINITY; });
  weigh(values, n, top, weight_scale(temperature), weights);
  const auto weight = [&](int64_t i) { return static_cast<uint64_t>(static_cast<int64_t>(weights[i])); };
  auto total = [&] {
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += weight(i);
    return sum;
  };
  if (top_p < 1) keep_largest(values, n, top_p_weight(total(), top_p), weight, [&](int64_t i) { weights[i] = 0; });
  uint64_t drawn = static_cast<uint64_t>(static_cast<unsigned __int128>(random) * total() >> 64);
  int64_t i = 0;
  for (; drawn >= weight(i); i++) drawn -= weight(i);
  return i;
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
  const std::vector<int64_t> ranges = allowed_ranges(op.allowed, ids);
  const int64_t candidates = count_ids(ranges);
  by_activation_type(op.logits.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, op.logits.shape[0], ids, [&](int64_t row) {
      const Temporary<float> values(cpu, candidates), weights(cpu, candidates);
      collect(op.logits.data<T>() + row * ids, ranges, values.data());
      const int64_t candidate = draw(values.data(), weights.data(), candidates, op.at(op.temperature, row),
                                     op.at(op.top_k, row), op.at(op.top_p, row), op.random(row));
      out[0].data<int32_t>()[row] = id_of(candidate, ranges);
    });
  });
}

}  // namespace caracal::CARACAL_ISA
