#include "ops/sampling/sample.h"

#include "ops/sampling/candidates.cuda.h"
#include "ops/sampling/sample.kernels.h"

namespace caracal::cuda {
namespace {

int64_t count(const std::vector<int64_t>& ranges) {
  int64_t n = 0;
  for (size_t r = 0; r < ranges.size(); r += 2) n += ranges[r + 1] - ranges[r];
  return n;
}

SampleRow options_of(const Sample& op, int64_t row, int64_t candidates) {
  const double temperature = op.at(op.temperature, row);
  if (temperature == 0) return {0, 1, 1, 0};
  const int64_t k = op.at(op.top_k, row);
  return {weight_scale(temperature), k < candidates ? static_cast<int>(k) : 0, op.at(op.top_p, row), op.random(row)};
}

}  // namespace

void run(const Sample& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = op.logits.shape[0], columns = op.logits.shape[1];
  const int64_t candidates = count(ranges_of(op.allowed, columns));
  const BestCandidates found(cuda, op.logits, op.allowed);
  for (int64_t first = 0; first < rows; first += SampleRows::kMost) {
    const int64_t n = std::min<int64_t>(SampleRows::kMost, rows - first);
    SampleRows some{};
    for (int64_t i = 0; i < n; i++) some.row[i] = options_of(op, first + i, candidates);
    cuda.launch(entry_of(kSample, op.logits.dtype), {{static_cast<unsigned>(n)}, kSampleThreads},
                op.logits.data<std::byte>() + first * columns * dtype_bytes(op.logits.dtype), columns,
                found.best.data() + first * found.ids.parts, found.ids, some, out[0].data<int>() + first,
                found.aligned);
  }
}

}  // namespace caracal::cuda
