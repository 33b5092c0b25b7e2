// Memory-bound: a frame's bytes are read once, and every f32 is written once: at 1344 x 1008 and two equal frames, 4 MB
// and 32.5 MB. Rows of patches have other neighbours than rows of frames: bytes change places in shared memory, twice.
// A warp takes a stretch of a row of pixels and puts each byte where y has its f32; then it takes bytes in y's order.
#include "cuda/device/element.cuh"
#include "ops/image/patchify.kernels.h"
#include "ops/image/stage_bytes.cuh"

namespace caracal {

// The block's place: which patches, rows of pixels in them and frame.
struct PatchPlace {
  int first, count, patch_row, row, frame;  // of patches, and their row; of rows and frames, the first

  __device__ explicit PatchPlace(const PatchTiles& p) {
    const int chunks = p.patch / p.rows;
    int at = static_cast<int>(blockIdx.x);
    first = at % p.groups * p.group;
    count = min(p.group, p.patches - first);
    at /= p.groups;
    row = at % chunks * p.rows;
    patch_row = at / chunks;
    frame = static_cast<int>(blockIdx.y) * p.frames;
  }
};

// The row of y that holds patch `column` of the place's row of patches.
__device__ inline long long patch_number(const PatchTiles& p, const PatchPlace& place, int column) {
  const long long block = place.patch_row / p.merge * static_cast<long long>(p.patches / p.merge) + column / p.merge;
  return (block * p.merge + place.patch_row % p.merge) * p.merge + column % p.merge;
}

// Puts n pixels, which begin at column `x` of the block's, where a row of each patch has them: at `to`, a channel after
// `plane` bytes, and `copies` times, a frame after `run`. V pixels at once.
template <int V>
__device__ inline void part_pixels(const PatchTiles& p, const uint8_t* pixels, int n, int x, int run, int plane,
                                   int copies, uint8_t* to) {
  constexpr int kEach = 4;  // neighbouring lanes read from neighbouring banks
  const int first = static_cast<int>(threadIdx.x) % kWarp * kEach;
  int patch = (x + first) / p.patch, column = (x + first) % p.patch;
  Vector<uint8_t, V> v[kEach / V][3];
  uint8_t* at[kEach / V];
#pragma unroll
  for (int i = 0; i < kEach / V; i++) {
    if (first + i * V < n) {
#pragma unroll
      for (int j = 0; j < 3 * V; j++) v[i][j % 3].v[j / 3] = pixels[(first + i * V) * 3 + j];
    }
    at[i] = to + patch * p.pitch + column;
    column += V;
    if (column == p.patch) {
      column = 0;
      patch++;
    }
  }
#pragma unroll 1
  for (; copies > 0; copies--) {
#pragma unroll
    for (int i = 0; i < kEach / V; i++) {
      if (first + i * V < n) {
#pragma unroll
        for (int c = 0; c < 3; c++) *reinterpret_cast<Vector<uint8_t, V>*>(at[i] + c * plane) = v[i][c];
      }
      at[i] += run;
    }
  }
}

// V: elements that are stored at once.
template <int V>
__device__ inline void cut_patches(const uint8_t* frames, float* y, const PatchTiles& p) {
  extern __shared__ int4 shared[];
  constexpr int kWarps = PatchTiles::kThreads / kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  uint8_t* const room = reinterpret_cast<uint8_t*>(shared) + warp * PatchTiles::kWarpBytes;
  uint8_t* const tile = reinterpret_cast<uint8_t*>(shared) + kWarps * PatchTiles::kWarpBytes;
  const PatchPlace place(p);
  const int run = p.rows * p.patch, plane = p.frames * run;  // of a channel of a patch: of a frame, and of all
  const int width = place.count * p.patch, stretches = (width + PatchTiles::kStretch - 1) / PatchTiles::kStretch;
  const int copies = p.frame_bytes == 0 ? p.frames : 1;
  const uint8_t* const corner = frames + place.frame * p.frame_bytes +
                                (place.patch_row * p.patch + place.row) * p.row_bytes +
                                place.first * static_cast<long long>(p.patch) * 3;
  for (int i = warp; i < p.frames / copies * p.rows * stretches; i += kWarps) {
    const int x = i % stretches * PatchTiles::kStretch, row = i / stretches % p.rows, frame = i / stretches / p.rows;
    const int n = min(PatchTiles::kStretch, width - x);
    __syncwarp();  // whoever reads the stretch before
    const uint8_t* const pixels = stage_bytes(room, corner + frame * p.frame_bytes + row * p.row_bytes + x * 3, n * 3);
    __syncwarp();
    part_pixels<V == 1 ? 1 : 2>(p, pixels, n, x, run, plane, copies, tile + frame * run + row * p.patch);
  }
  __syncthreads();
  for (int i = warp; i < place.count * 3; i += kWarps) {
    const int patch = i / 3, channel = i % 3;
    const uint8_t* from = tile + patch * p.pitch + channel * plane + lane * V;
    const uint8_t* const end = from - lane * V + plane;
    float* to =
        y + place.row * p.patch + lane * V +
        ((patch_number(p, place, place.first + patch) * 3 + channel) * p.temporal + place.frame) * p.patch * p.patch;
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

CARACAL_KERNEL(kPatchify, patchify, __launch_bounds__(PatchTiles::kThreads, 3), const uint8_t* frames, float* y,
               const __grid_constant__ PatchTiles tiles, bool aligned) {
  if (aligned)
    cut_patches<4>(frames, y, tiles);
  else
    cut_patches<1>(frames, y, tiles);
}

}  // namespace caracal
