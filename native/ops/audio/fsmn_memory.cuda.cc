#include "ops/audio/fsmn_memory.h"

#include "cuda/streaming.h"
#include "ops/audio/depthwise_launch.h"

namespace caracal::cuda {
namespace {

// As the kernel's FsmnTaps.
struct FsmnTaps {
  int left_order, right_order, left_stride, right_stride, delay;
};

}  // namespace

void run(const FsmnMemory& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = out[0].shape[0], channels = op.z.shape[1], count = op.left_order + 1 + op.right_order;
  const DepthwiseLaunch launch =
      depthwise_launch(FsmnMemory::kName, rows, channels, count, 1, op.left_order * op.left_stride + op.delay(),
                       op.z.dtype, cuda.gpu.shared_bytes);
  const FsmnTaps taps{int(op.left_order), int(op.right_order), int(op.left_stride), int(op.right_stride),
                      op.state ? int(op.delay()) : 0};
  const TimeRows residual = op.residual ? time_rows(*op.residual, op.pending) : TimeRows{};
  cuda.launch({"audio", kernel_name("fsmn_memory", op.z.dtype, op.weight.dtype)}, launch.grid, launch.threads,
              launch.shared_bytes, time_rows(op.z, op.state), address(op.weight), residual, address(out[0]), taps,
              launch.block);
  if (op.state) advance(cuda, *op.state, op.z);
  if (op.pending) advance(cuda, *op.pending, *op.residual);
}

}  // namespace caracal::cuda
