#include "ops/audio/fbank.h"

#include <cstring>

#include "cuda/implement.h"
#include "ops/audio/fbank.kernels.h"
#include "ops/audio/fbank_tables.h"

namespace caracal::cuda {
namespace {

static_assert(sizeof(FbankFilter) == sizeof(FbankTables::Filter));

// The tables as one run of words, and where each begins.
std::vector<float> table_words(const FbankTables& tables, FbankShape& shape) {
  std::vector<float> words;
  auto append = [&](const void* from, size_t count) {
    const auto at = static_cast<int>(words.size());
    words.resize(words.size() + count);
    if (count > 0) memcpy(words.data() + at, from, count * sizeof(float));
    return at;
  };
  auto append_apart = [&](const std::vector<float>& values) {
    const std::vector<float> run(static_cast<size_t>(shape.run));
    const int at = append(run.data(), run.size());
    for (int k = 0; k < shape.half; k++)
      words[static_cast<size_t>(at + k / 2 + k % 2 * (shape.half / 2 + kFbankShift))] = values[static_cast<size_t>(k)];
    return at;
  };
  append(tables.window.data(), tables.window.size());
  shape.cosine = append_apart(tables.cosine);
  shape.sine = append_apart(tables.sine);
  shape.filters = append(tables.filters.data(), tables.filters.size() * sizeof(FbankFilter) / sizeof(float));
  shape.weights = append(tables.weights.data(), tables.weights.size());
  shape.words = static_cast<int>(words.size());
  return words;
}

FbankShape shape_of(const Fbank& op, int64_t frames) {
  FbankShape shape{};
  shape.frames = frames;
  shape.frame_shift = op.frame_shift;
  shape.frame_length = int(op.frame_length);
  shape.half = int(op.fft_size / 2);
  shape.run = shape.half + 2 * kFbankShift;
  shape.mel_bins = int(op.mel_bins);
  shape.preemphasis = static_cast<float>(op.preemphasis);
  shape.inverse_length = 1.0f / static_cast<float>(op.frame_length);
  shape.remove_dc = op.remove_dc;
  return shape;
}

}  // namespace

void run(const Fbank& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t frames = out[0].shape[0];
  if (frames == 0) return;
  FbankShape shape = shape_of(op, frames);
  const std::vector<float> words = table_words(*fbank_tables(op), shape);
  const size_t values = 4 * static_cast<size_t>(shape.run) * sizeof(float);
  if (values > cuda.gpu.shared_bytes)
    throw Error(code::kUnsupported, "fbank: a GPU's shared memory has no room for a transform of " +
                                        std::to_string(op.fft_size) + "; use a CPU device");
  const size_t tables = words.size() * sizeof(float);
  shape.staged = values + tables <= cuda.gpu.shared_bytes;
  Cuda::Temporary<float> on_gpu(cuda, words.size());
  cuda.copy_constant(on_gpu.data(), words.data(), tables);
  constexpr int64_t kBlocksPerSm = 8;
  const auto threads = static_cast<unsigned>(std::clamp(shape.half / 2, 32, 256));
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(frames, kBlocksPerSm * cuda.gpu.sms));
  cuda.launch(entry_of(kFbank), {{blocks}, threads, values + (shape.staged ? tables : 0)}, op.wave.data<float>(),
              on_gpu.data(), out[0].data<float>(), shape);
}

}  // namespace caracal::cuda
