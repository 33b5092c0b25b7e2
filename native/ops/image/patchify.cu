// Memory-bound: the bytes of a frame are read once and every f32 is written once, for two equal frames of 1344 x 1008
// 4 MB and 32.5 MB. Neighbours in a frame are not neighbours in y, so the bytes are transposed in shared memory: each
// warp stages a stretch of a row of pixels and puts every byte at its position in y's order, then reads in that order.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/image/patchify.kernels.h"
#include "ops/image/stage_bytes.cuh"

namespace caracal {

constexpr int kLanePixels = PatchParameters::kStretch / kWarp;  // of a stretch, per lane
static_assert(kLanePixels == 4,
              "a lane reads three whole words, 3 being odd, so that lanes of a warp meet no bank conflicts");
static_assert(PatchParameters::kStageBytes % 16 == 0, "stages and the tile after them are aligned to 16 bytes");

// The part of the output that a block computes.
struct PatchBlock {
  int first, count;  // patches
  int patch_row;     // the row of patches
  int row, frame;    // the first row of pixels within a patch, and the first frame

  __device__ explicit PatchBlock(const PatchParameters& p) {
    const int chunks = p.patch / p.tile.rows;
    int at = block_x();
    first = at % p.tile.groups * p.tile.group;
    count = min(p.tile.group, p.patches - first);
    at /= p.tile.groups;
    row = at % chunks * p.tile.rows;
    patch_row = at / chunks;
    frame = block_y() * p.tile.frames;
  }
};

// The row of y that holds patch `column` of a row of patches.
__device__ inline long long patch_number(const PatchParameters& p, int patch_row, int column) {
  const long long block = patch_row / p.merge * static_cast<long long>(p.patches / p.merge) + column / p.merge;
  return (block * p.merge + patch_row % p.merge) * p.merge + column % p.merge;
}

// Scatters n staged pixels, V at a time, to their positions in the tile: x is the column of the first in the block's
// patches, `to` the position of the first channel in the first patch. Channels are plane_bytes apart, the `copies` equal
// frames frame_bytes.
template <int V>
__device__ inline void scatter_pixels(const PatchParameters& p, const uint8_t* pixels, int n, int x, int frame_bytes,
                                      int plane_bytes, int copies, uint8_t* to) {
  const int first = lane_index() * kLanePixels;
  int patch = (x + first) / p.patch, column = (x + first) % p.patch;
  Vector<uint8_t, V> v[kLanePixels / V][3];
  uint8_t* at[kLanePixels / V];
#pragma unroll
  for (int i = 0; i < kLanePixels / V; i++) {
    if (first + i * V < n) {
#pragma unroll
      for (int j = 0; j < 3 * V; j++) v[i][j % 3].v[j / 3] = pixels[(first + i * V) * 3 + j];
    }
    at[i] = to + patch * p.tile.pitch + column;
    column += V;
    if (column == p.patch) {
      column = 0;
      patch++;
    }
  }
#pragma unroll 1
  for (; copies > 0; copies--) {
#pragma unroll
    for (int i = 0; i < kLanePixels / V; i++) {
      if (first + i * V < n) {
#pragma unroll
        for (int c = 0; c < 3; c++) *reinterpret_cast<Vector<uint8_t, V>*>(at[i] + c * plane_bytes) = v[i][c];
      }
      at[i] += frame_bytes;
    }
  }
}

// Stores V elements at a time.
template <int V>
__device__ inline void cut_patches(const uint8_t* frames, float* y, const PatchParameters& p) {
  extern __shared__ int4 shared[];
  constexpr int kWarps = PatchParameters::kWarps, kStretch = PatchParameters::kStretch;
  const int warp = warp_index(), lane = lane_index();
  uint8_t* const stage = reinterpret_cast<uint8_t*>(shared) + warp * PatchParameters::kStageBytes;
  uint8_t* const tile = reinterpret_cast<uint8_t*>(shared) + kWarps * PatchParameters::kStageBytes;
  const PatchBlock block(p);
  // The bytes of one channel of a patch in the tile: in one frame, and in all.
  const int frame_bytes = p.tile.rows * p.patch, plane_bytes = p.tile.frames * frame_bytes;
  const int width = block.count * p.patch, stretches = (width + kStretch - 1) / kStretch;
  const int copies = p.frame_bytes == 0 ? p.tile.frames : 1;
  const uint8_t* const corner = frames + block.frame * p.frame_bytes +
                                (block.patch_row * p.patch + block.row) * p.row_bytes +
                                block.first * static_cast<long long>(p.patch) * 3;
  for (int i = warp; i < p.tile.frames / copies * p.tile.rows * stretches; i += kWarps) {
    const int x = i % stretches * kStretch, row = i / stretches % p.tile.rows, frame = i / stretches / p.tile.rows;
    const int n = min(kStretch, width - x);
    __syncwarp();  // wait until all lanes have read the previous stretch
    const uint8_t* const pixels = stage_bytes(stage, corner + frame * p.frame_bytes + row * p.row_bytes + x * 3, n * 3);
    __syncwarp();
    scatter_pixels<V == 1 ? 1 : 2>(p, pixels, n, x, frame_bytes, plane_bytes, copies,
                                   tile + frame * frame_bytes + row * p.patch);
  }
  __syncthreads();
  for (int i = warp; i < block.count * 3; i += kWarps) {
    const int patch = i / 3, channel = i % 3;
    const uint8_t* from = tile + patch * p.tile.pitch + channel * plane_bytes + lane * V;
    const uint8_t* const end = from - lane * V + plane_bytes;
    float* to = y + block.row * p.patch + lane * V +
                ((patch_number(p, block.patch_row, block.first + patch) * 3 + channel) * p.temporal + block.frame) *
                    p.patch * p.patch;
    const float scale = p.pixel.scale[channel], shift = p.pixel.shift[channel];
#pragma unroll 2
    for (; from < end; from += kWarp * V, to += kWarp * V) {
      const auto bytes = *reinterpret_cast<const Vector<uint8_t, V>*>(from);
      float v[V];
#pragma unroll
      for (int j = 0; j < V; j++) v[j] = fmaf(bytes.v[j], scale, shift);
      store<V>(to, v);
    }
  }
}

CARACAL_KERNEL(kPatchify, patchify, __launch_bounds__(PatchParameters::kThreads, 3), const uint8_t* frames, float* y,
               const __grid_constant__ PatchParameters parameters, bool aligned) {
  if (aligned)
    cut_patches<4>(frames, y, parameters);
  else
    cut_patches<1>(frames, y, parameters);
}

}  // namespace caracal
