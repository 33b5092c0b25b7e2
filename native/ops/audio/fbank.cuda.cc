#include "ops/audio/fbank.h"

#include <cstring>

#include "cuda/implement.h"
#include "ops/audio/fbank.cuda.h"
#include "ops/audio/fbank_tables.h"

namespace caracal::cuda {
namespace {

// The tables as one run of words. Sets where each begins in `shape`.
std::vector<float> table_words(const FbankTables& tables, FbankShape& shape) {
  std::vector<float> words;
  auto append = [&](const void* from, size_t count) {
    const int begin = int(words.size());
    words.resize(words.size() + count);
    if (count > 0) memcpy(words.data() + begin, from, count * sizeof(float));
    return begin;
  };
  auto append_twiddles = [&](const std::vector<float>& values) {
    std::vector<float> array(size_t(shape.array_words));
    const int odd = fbank_odd_twiddles(shape.half);
    for (int k = 0; k < shape.half; k++) array[size_t(k / 2 + k % 2 * odd)] = values[size_t(k)];
    return append(array.data(), array.size());
  };
  append(tables.window.data(), tables.window.size());
  shape.cosine = append_twiddles(tables.cosine);
  shape.sine = append_twiddles(tables.sine);
  static_assert(sizeof(FbankFilter) % sizeof(float) == 0, "filters are stored as whole words");
  shape.filters = append(tables.filters.data(), tables.filters.size() * sizeof(FbankFilter) / sizeof(float));
  shape.weights = append(tables.weights.data(), tables.weights.size());
  shape.words = int(words.size());
  return words;
}

FbankShape shape_of(const Fbank& op, int64_t frames) {
  FbankShape shape{};
  shape.frames = frames;
  shape.frame_shift = op.frame_shift;
  shape.frame_length = int(op.frame_length);
  shape.half = int(op.fft_size / 2);
  shape.array_words = int(fbank_array_words(shape.half));
  shape.mel_bins = int(op.mel_bins);
  shape.preemphasis = float(op.preemphasis);
  shape.inverse_length = 1.0f / float(op.frame_length);
  shape.remove_dc = op.remove_dc;
  return shape;
}

}  // namespace

void run(const Fbank& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t frames = out[0].shape[0];
  if (frames == 0) return;
  FbankShape shape = shape_of(op, frames);
  const std::vector<float> words = table_words(*fbank_tables(op), shape);
  const size_t table_bytes = words.size() * sizeof(float);
  const std::optional<FbankPlan> plan =
      fbank_plan(frames, shape.half, table_bytes, cuda.gpu.sms, cuda.gpu.shared_bytes);
  if (!plan)
    throw Error(code::kUnsupported, "fbank: a transform of " + std::to_string(op.fft_size) +
                                        " samples does not fit into a GPU's shared memory; use a CPU device");
  shape.staged = plan->staged;
  Temporary<float> on_gpu(cuda, words.size());
  cuda.copy_constant(on_gpu.data(), words.data(), table_bytes);
  cuda.launch(entry_of(kFbank), {{plan->blocks}, plan->threads, plan->shared_bytes}, op.wave.data<float>(),
              on_gpu.data(), out[0].data<float>(), shape);
}

}  // namespace caracal::cuda
