#include "ops/image/patchify.h"

#include "cuda/implement.h"
#include "ops/image/patch_tiles.h"

namespace caracal::cuda {
namespace {

// A patch's rows all at once where they have room, and as many patches as have it then.
PatchTiles patch_tiles(const Patchify& op) {
  constexpr int64_t kRoom = 16 << 10, kMostBytes = 1024;
  const int64_t p = op.patch, patches = op.width() / p;
  int64_t rows = p;
  while (rows > 1 && (p % rows != 0 || rows * p * 3 > kRoom)) rows--;
  const int64_t group = std::clamp<int64_t>(std::min(kRoom / rows, kMostBytes) / (p * 3), 1, patches);
  // A row may begin anywhere in its first 16 bytes. As far as banks go rows lie close together, as a channel's run does.
  const int64_t close = (p * 3 + 15) / 16 * 16, pitch = close + (group * p * 3 + 15 - close + 127) / 128 * 128;
  const bool equal = op.frames.shape.rank() == 3;
  const int64_t frames = equal || (rows == p && op.temporal * rows * pitch <= 2 * kRoom) ? op.temporal : 1;
  return {op.pixel_scale(),
          equal ? 0 : op.height() * op.width() * 3,
          op.width() * 3,
          static_cast<int>(p),
          static_cast<int>(op.merge_size),
          static_cast<int>(op.temporal),
          static_cast<int>(patches),
          static_cast<int>(group),
          static_cast<int>((patches + group - 1) / group),
          static_cast<int>(rows),
          static_cast<int>(frames),
          static_cast<int>(pitch)};
}

}  // namespace

void run(const Patchify& op, std::span<Tensor> out, Cuda& cuda) {
  if (out[0].bytes() == 0) return;
  const PatchTiles tiles = patch_tiles(op);
  const int64_t blocks = op.height() / tiles.rows * tiles.groups, staged = tiles.frame_bytes == 0 ? 1 : tiles.frames;
  const bool aligned = vectors(tiles.rows * op.patch, {address(out[0])}, 4) && vectors(op.patch * op.patch, {}, 4);
  cuda.launch({"image", "patchify"}, {static_cast<unsigned>(blocks), static_cast<unsigned>(op.temporal / tiles.frames)},
              256, static_cast<size_t>(staged) * tiles.rows * tiles.pitch, address(op.frames), address(out[0]), tiles,
              aligned);
}

}  // namespace caracal::cuda
