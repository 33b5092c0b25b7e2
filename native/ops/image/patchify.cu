// Memory-bound: a frame's bytes are read once, and every f32 is written once: at 1344 x 1008 and two equal frames, 4 MB
// and 32.5 MB. Pixels pass through shared memory, since rows of patches have other neighbours than rows of frames.
#include "cuda/device/element.cuh"
#include "ops/image/patch_tiles.h"
#include "ops/image/stage_bytes.cuh"

namespace caracal {

// The block's place: which patches, rows of pixels in them and frame.
struct PatchPlace {
  int first, count, row, frame;  // of patches; of rows and frames, the first
  long long patch_row;

  __device__ explicit PatchPlace(const PatchTiles& p) {
    const int chunks = p.patch / p.rows;
    long long at = blockIdx.x;
    first = static_cast<int>(at % p.groups) * p.group;
    count = min(p.group, p.patches - first);
    at /= p.groups;
    row = static_cast<int>(at % chunks) * p.rows;
    patch_row = at / chunks;
    frame = static_cast<int>(blockIdx.y) * p.frames;
  }
};

// The row of y that holds patch `column` of the place's row of patches.
__device__ inline long long patch_number(const PatchTiles& p, const PatchPlace& place, int column) {
  const long long block = place.patch_row / p.merge * (p.patches / p.merge) + column / p.merge;
  return (block * p.merge + place.patch_row % p.merge) * p.merge + column % p.merge;
}

// V: elements that are stored at once.
template <int V>
__device__ inline void patchify(const uint8_t* frames, float* y, const PatchTiles& p) {
  extern __shared__ int4 shared[];
  uint8_t* const pixels = reinterpret_cast<uint8_t*>(shared);
  const PatchPlace place(p);
  const int threads = static_cast<int>(blockDim.x), me = static_cast<int>(threadIdx.x);
  const uint8_t* const corner = frames + place.frame * p.frame_bytes +
                                (place.patch_row * p.patch + place.row) * p.row_bytes +
                                place.first * static_cast<long long>(p.patch) * 3;
  const int skew = static_cast<int>(reinterpret_cast<uintptr_t>(corner) % 16);
  const int row_step = static_cast<int>(p.row_bytes % 16), frame_step = static_cast<int>(p.frame_bytes % 16);
  const int staged = p.frame_bytes == 0 ? 1 : p.frames;
  for (int i = me / kWarp; i < staged * p.rows; i += threads / kWarp)
    stage_bytes(pixels + i * p.pitch, corner + i / p.rows * p.frame_bytes + i % p.rows * p.row_bytes,
                static_cast<long long>(place.count) * p.patch * 3);
  __syncthreads();
  const int area = p.patch * p.patch, run = p.rows * p.patch / V;  // of a channel of a patch of a frame
  for (int i = me; i < place.count * 3 * p.frames * run; i += threads) {
    const int at = i % run * V, frame = i / run % p.frames, channel = i / run / p.frames % 3;
    const int patch = i / run / p.frames / 3, source = staged == 1 ? 0 : frame;
    const float scale = p.pixel.scale[channel], shift = p.pixel.shift[channel];
    int row = at / p.patch, column = at % p.patch;
    float v[V];
#pragma unroll
    for (int j = 0; j < V; j++) {
      const uint8_t* const begin = pixels + (source * p.rows + row) * p.pitch;
      const int skewed = (skew + source * frame_step + row * row_step) % 16;
      v[j] = fmaf(begin[skewed + (patch * p.patch + column) * 3 + channel], scale, shift);
      if (++column == p.patch) {
        column = 0;
        row++;
      }
    }
    const long long plane =
        (patch_number(p, place, place.first + patch) * 3 + channel) * p.temporal + place.frame + frame;
    store<V>(y + plane * area + place.row * p.patch + at, v);
  }
}

extern "C" __global__ void patchify(const uint8_t* frames, float* y, const __grid_constant__ PatchTiles tiles,
                                    bool aligned) {
  if (aligned)
    patchify<4>(frames, y, tiles);
  else
    patchify<1>(frames, y, tiles);
}

}  // namespace caracal
