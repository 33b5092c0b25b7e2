#include "ops/audio/fsmn_memory.h"

#include "cuda/streaming.h"

namespace caracal::cuda {
namespace {

constexpr int64_t kChannels = 64, kMostRows = 256;  // of a block
constexpr unsigned kThreads = 256;

// As the kernel's FsmnTaps.
struct Taps {
  int left_order, right_order, left_stride, right_stride, delay;
};

// Rows of a block, and its shared memory: weights as f32, then the rows that its taps reach.
struct Tile {
  int rows;
  size_t shared_bytes;
  bool stage;
};
Tile tile_of(int64_t rows, int64_t taps, int64_t span, size_t element_bytes, size_t most_shared) {
  const size_t weights = static_cast<size_t>(kChannels * (taps | 1)) * sizeof(float);
  const int64_t here = std::min(rows, kMostRows);
  const size_t staged = static_cast<size_t>((here + span - 1) * kChannels) * element_bytes;
  if (weights + staged <= most_shared) return {int(here), weights + staged, true};
  return {int(here), weights, false};
}

}  // namespace

void run(const FsmnMemory& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t total = out[0].shape[0], channels = op.z.shape[1], count = op.left_order + 1 + op.right_order;
  const int64_t span = op.left_order * op.left_stride + op.delay() + 1;
  const Tile tile = tile_of(total, count, span, dtype_bytes(op.z.dtype), cuda.gpu.shared_bytes);
  if (tile.shared_bytes > cuda.gpu.shared_bytes)
    throw Error(code::kUnsupported, "fsmnMemory: " + std::to_string(count) +
                                        " taps are more than a GPU's shared memory "
                                        "has room for; use a CPU device");
  const Taps taps{int(op.left_order), int(op.right_order), int(op.left_stride), int(op.right_stride),
                  op.state ? int(op.delay()) : 0};
  const TimeRows residual = op.residual ? time_rows(*op.residual, op.pending) : TimeRows{};
  if (total > 0 && channels > 0)
    cuda.launch({"audio", kernel_name("fsmn_memory", op.z.dtype, op.weight.dtype)},
                {unsigned((total + tile.rows - 1) / tile.rows), unsigned((channels + kChannels - 1) / kChannels)},
                kThreads, tile.shared_bytes, time_rows(op.z, op.state), address(op.weight), residual, address(out[0]),
                taps, tile.rows, static_cast<long long>(total), tile.stage);
  if (op.state) advance(cuda, *op.state, op.z);
  if (op.pending) advance(cuda, *op.pending, *op.residual);
}

}  // namespace caracal::cuda
