#include "ops/moe/router.h"

#include "cpu/math.h"
#include "cpu/reduce.h"
#include "cpu/weights.h"

namespace caracal::CARACAL_ISA {
namespace {

// In place, with a fixed order of summation. A single NaN or +inf makes every score NaN.
void softmax(float* s, int64_t n) {
  float largest = -__builtin_inff();
  bool valid = true;
  for (int64_t i = 0; i < n; i++) {
    valid = valid && s[i] < __builtin_inff();
    if (s[i] > largest) largest = s[i];
  }
  const F32x16 shift = set1(valid ? largest : __builtin_nanf(""));
  F32x16 sum = zero();
  for_columns(n, [&](int64_t i, int count) {
    store(s + i, exp(load(s + i, count) - shift), count);
    sum += load(s + i, count);  // reads zero in the lanes past the end
  });
  const F32x16 total = set1(hsum(sum));
  for_columns(n, [&](int64_t i, int count) { store(s + i, load(s + i, count) / total, count); });
}

// The largest score not yet taken. Tie rule: ids are visited in ascending order and only a greater score replaces the
// best, so the lowest id wins. NaN ranks below all numbers.
int64_t next_pick(const float* biased, const uint8_t* taken, int64_t n) {
  int64_t best = -1;
  for (int64_t i = 0; i < n; i++) {
    if (taken[i]) continue;
    if (best < 0 || biased[i] > biased[best] || (biased[best] != biased[best] && biased[i] == biased[i])) best = i;
  }
  return best;
}

// `biased` and `taken` are scratch memory with an element per expert.
void pick_experts(const Router& op, const float* scores, float* biased, uint8_t* taken, int32_t* ids, float* weights,
                  float* zero_weight) {
  const int64_t all = op.all_experts();
  const float* bias = op.correction_bias ? op.correction_bias->data<float>() : nullptr;
  for (int64_t i = 0; i < all; i++) {
    biased[i] = bias ? scores[i] + bias[i] : scores[i];
    taken[i] = 0;
  }
  float sum = 0;
  for (int64_t k = 0; k < op.top_k; k++) {
    const int64_t pick = next_pick(biased, taken, all);
    taken[pick] = 1;
    ids[k] = int32_t(pick);
    weights[k] = scores[pick];
    sum += scores[pick];
  }
  float zero_sum = 0;
  for (int64_t k = 0; k < op.top_k; k++) {
    if (op.renormalize) weights[k] /= sum;
    const bool is_zero_expert = ids[k] >= op.experts;
    if (!is_zero_expert || op.scale_zero_experts) weights[k] *= float(op.scale);
    if (is_zero_expert) zero_sum += weights[k];
  }
  *zero_weight = zero_sum;
}

}  // namespace

void run(const Router& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t tokens = op.x.shape[0], all = op.all_experts();
  Temporary<float> scores(cpu, size_t(tokens * all));
  {
    const WeightPanels classifier(cpu, op.classifier);
    by_activation_type(op.x.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      run_gemm(cpu, make_gemm(tokens, rows_of<T>(op.x), classifier,
                              LinearEpilogue<float>{.out = scores.data(), .stride = all}));
    });
  }
  Temporary<float> biased(cpu, size_t(all) * size_t(cpu.workers()));
  Temporary<uint8_t> taken(cpu, size_t(all) * size_t(cpu.workers()));
  cpu.parallel_for(tokens, [&](int64_t t, int worker) {
    float* s = scores.data() + t * all;
    softmax(s, all);
    pick_experts(op, s, biased.data() + worker * all, taken.data() + worker * all,
                 out[0].data<int32_t>() + t * op.top_k, out[1].data<float>() + t * op.top_k, out[2].data<float>() + t);
  });
}

}  // namespace caracal::CARACAL_ISA
