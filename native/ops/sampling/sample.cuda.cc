#include "ops/sampling/sample.h"

#include "ops/sampling/candidates.cuda.h"
#include "ops/sampling/sample.kernels.h"

namespace caracal::cuda {
namespace {

SampleRow options_of(const Sample& op, int64_t row, int64_t candidates) {
  const double temperature = op.at(op.temperature, row);
  if (temperature == 0) return {.scale = 0, .top_k = 1, .top_p = 1, .random = 0};
  const int64_t k = op.at(op.top_k, row);
  return {.scale = weight_scale(temperature),
          .top_k = k < candidates ? int(k) : 0,
          .top_p = op.at(op.top_p, row),
          .random = op.random(row)};
}

}  // namespace

void run(const Sample& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = op.logits.shape[0], columns = op.logits.shape[1];
  const int64_t allowed = count_ids(allowed_ranges(op.allowed, columns));
  const BestCandidates candidates(cuda, op.logits, op.allowed);
  for (int64_t first = 0; first < rows; first += SampleRows::kMaxRows) {
    const int64_t n = std::min<int64_t>(SampleRows::kMaxRows, rows - first);
    SampleRows options{};
    for (int64_t i = 0; i < n; i++) options.row[i] = options_of(op, first + i, allowed);
    cuda.launch(entry_of(kSample, op.logits.dtype), {{unsigned(n)}, kSampleThreads},
                op.logits.data<std::byte>() + first * columns * dtype_bytes(op.logits.dtype), columns,
                candidates.best.data() + first * candidates.ids.parts, candidates.ids, options,
                out[0].data<int>() + first, candidates.aligned);
  }
}

}  // namespace caracal::cuda
