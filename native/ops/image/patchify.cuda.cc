#include "ops/image/patchify.h"

#include "cuda/implement.h"
#include "ops/image/patchify.kernels.h"

namespace caracal::cuda {
namespace {

// As many patches as a warp takes of a row at once, and all of their rows and frames where they have room.
PatchTiles patch_tiles(const Patchify& op) {
  constexpr int64_t kRoom = 32 << 10, kBanks = 32;
  const int64_t p = op.patch, patches = op.width() / p, row_words = (p + 3) / 4;
  const int64_t group = std::clamp<int64_t>(kBanks / row_words, 1, patches);
  int64_t rows = p;
  while (rows > 1 && (p % rows != 0 || group * rows * p * 3 > kRoom)) rows--;
  const int64_t frames = rows == p && op.temporal * group * rows * p * 3 <= kRoom ? op.temporal : 1;
  // Rows of neighbouring patches are in neighbouring banks.
  const int64_t words = (frames * rows * p * 3 + 3) / 4, gap = (row_words - words % kBanks + kBanks) % kBanks;
  return {op.pixel_scale(),
          op.frames.shape.rank() == 3 ? 0 : op.height() * op.width() * 3,
          op.width() * 3,
          static_cast<int>(p),
          static_cast<int>(op.merge_size),
          static_cast<int>(op.temporal),
          static_cast<int>(patches),
          static_cast<int>(group),
          static_cast<int>((patches + group - 1) / group),
          static_cast<int>(rows),
          static_cast<int>(frames),
          static_cast<int>((words + gap) * 4)};
}

}  // namespace

void run(const Patchify& op, std::span<Tensor> out, Cuda& cuda) {
  if (out[0].bytes() == 0) return;
  const PatchTiles tiles = patch_tiles(op);
  const int64_t blocks = op.height() / tiles.rows * tiles.groups;
  const bool aligned = vectors(tiles.rows * op.patch, {address(out[0])}, 4) && vectors(op.patch * op.patch, {}, 4);
  const size_t shared_bytes = PatchTiles::kThreads / 32 * PatchTiles::kWarpBytes + tiles.group * tiles.pitch;
  cuda.launch(entry_of(kPatchify),
              {{static_cast<unsigned>(blocks), static_cast<unsigned>(op.temporal / tiles.frames)},
               PatchTiles::kThreads,
               shared_bytes},
              op.frames.data<uint8_t>(), out[0].data<float>(), tiles, aligned);
}

}  // namespace caracal::cuda
