#include "ops/image/patchify.h"

#include "cuda/implement.h"
#include "ops/image/patchify.cuda.h"

namespace caracal::cuda {

void run(const Patchify& op, std::span<Tensor> out, Cuda& cuda) {
  if (out[0].bytes() == 0) return;
  const int64_t patches = op.width() / op.patch;
  const PatchTile tile = patch_tile(op.patch, op.temporal, patches);
  const PatchParameters parameters{.pixel = op.pixel_scale(),
                                   .frame_bytes = op.frames.shape.rank() == 3 ? 0 : op.height() * op.width() * 3,
                                   .row_bytes = op.width() * 3,
                                   .patch = int(op.patch),
                                   .merge = int(op.merge_size),
                                   .temporal = int(op.temporal),
                                   .patches = int(patches),
                                   .tile = tile};
  const Grid grid{unsigned(op.height() / tile.rows * tile.groups), unsigned(op.temporal / tile.frames)};
  const bool aligned =
      vectorizable(tile.rows * op.patch, {address(out[0])}, 4) && vectorizable(op.patch * op.patch, {}, 4);
  cuda.launch(entry_of(kPatchify), {grid, PatchParameters::kThreads, parameters.shared_bytes()},
              op.frames.data<uint8_t>(), out[0].data<float>(), parameters, aligned);
}

}  // namespace caracal::cuda
