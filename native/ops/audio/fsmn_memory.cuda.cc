#include "ops/audio/fsmn_memory.h"

#include "cuda/gemm/launch.h"
#include "ops/audio/depthwise.cuda.h"
#include "ops/audio/fsmn_memory.cuda.h"
#include "ops/audio/streaming.cuda.h"
#include "ops/norm/layer_norm.cuda.h"

namespace caracal::cuda {
namespace {

FsmnTaps taps_of(const FsmnMemory& op) {
  return {int(op.left_order), int(op.right_order), int(op.left_stride), int(op.right_stride),
          op.state ? int(op.delay()) : 0};
}

TimeRows<void> residual_of(const FsmnMemory& op) {
  return op.residual ? time_rows(*op.residual, op.pending) : TimeRows<void>{};
}

// Also advances the state.
void run_plain(Cuda& cuda, const FsmnMemory& op, const std::byte* z, const Tensor& out) {
  const std::optional<DepthwisePlan> plan =
      depthwise_plan(out.shape[0], op.x.shape[1], op.taps(), 1, op.span(), op.x.dtype, cuda.gpu.shared_bytes);
  if (!plan) throw too_many_taps(FsmnMemory::kName, op.taps());
  TimeRows<void> rows = time_rows(op.x, op.state);
  rows.x = z;
  cuda.launch(entry_of(kFsmnMemory, op.x.dtype, op.weight.dtype),
              {{plan->blocks_x, plan->blocks_y}, kDepthwiseThreads, plan->shared_bytes}, rows, address(op.weight),
              residual_of(op), address(out), taps_of(op), plan->block);
  if (op.state) advance(cuda, *op.state, z, op.x.shape[0]);
}

// Also advances the state.
void run_norm(Cuda& cuda, const FsmnMemory& op, const Tensor& out) {
  const int64_t rows = out.shape[0], channels = op.x.shape[1];
  const std::optional<FsmnTile> tile = fsmn_tile(rows, channels, op.taps(), op.span(), op.state.has_value(), op.x.dtype,
                                                 cuda.gpu.sms, cuda.gpu.shared_bytes);
  if (!tile) {  // rows are too wide for shared memory, or the taps reach too many
    Temporary<std::byte> z(cuda, op.x.bytes());
    launch_layer_norm(cuda, op.norm(), z.data());
    return run_plain(cuda, op, z.data(), out);
  }
  const Grid grid{unsigned(divide_up(rows, tile->rows)), unsigned(divide_up(channels, tile->columns))};
  const bool in_place = grid.x <= 1;  // otherwise a block would overwrite rows of the state that another one reads
  Temporary<std::byte> advanced(cuda, op.state && !in_place ? op.state->bytes() : 0);
  void* const next = in_place ? address(op.state) : advanced.data();
  const RowBlocks blocks =
      row_blocks(op.x.dtype, channels, {address(op.x), address(op.norm_weight), address(op.norm_bias)});
  const FsmnNorm norm{column_vector(op.norm_weight), column_vector(op.norm_bias), float(op.eps), int(blocks.threads)};
  const FsmnBlock block{int(tile->rows), int(tile->columns), rows};
  cuda.launch(entry_of(kFsmnMemoryNorm, op.x.dtype, op.weight.dtype), {grid, kFsmnThreads, tile->shared_bytes},
              time_rows(op.x, op.state), norm, address(op.weight), residual_of(op), address(out), next, taps_of(op),
              block, blocks.aligned);
  if (op.state && !in_place) cuda.copy(address(op.state), next, op.state->bytes());
}

}  // namespace

void run(const FsmnMemory& op, std::span<Tensor> out, Cuda& cuda) {
  if (op.norm_weight)
    run_norm(cuda, op, out[0]);
  else
    run_plain(cuda, op, op.x.data<std::byte>(), out[0]);
  if (op.pending) advance(cuda, *op.pending, *op.residual);
}

}  // namespace caracal::cuda
