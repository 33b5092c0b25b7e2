#include "ops/sampling/argmax.h"

#include "ops/sampling/largest.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

template <class T>
int32_t argmax(const T* logits, const std::vector<int64_t>& ranges) {
  float best = -INFINITY;
  int64_t start = ranges[0], end = ranges[0];  // the first range with the best logit
  for (size_t r = 0; r < ranges.size(); r += 2) {
    const float top = largest(logits + ranges[r], ranges[r + 1] - ranges[r], best);
    if (!(top > best)) continue;
    best = top;
    start = ranges[r];
    end = ranges[r + 1];
  }
  for (int64_t i = start; i < end; i++)
    if (to_float(logits[i]) == best) return static_cast<int32_t>(i);
  return static_cast<int32_t>(ranges[0]);
}

}  // namespace

void run(const Argmax& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t ids = op.logits.shape[1];
  const std::vector<int64_t> ranges = allowed_ranges(op.allowed, ids);
  by_activation_type(op.logits.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, op.logits.shape[0], ids,
             [&](int64_t row) { out[0].data<int32_t>()[row] = argmax(op.logits.data<T>() + row * ids, ranges); });
  });
}

}  // namespace caracal::CARACAL_ISA
