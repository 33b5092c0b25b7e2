// Memory-bound: each position reads Q + 1 ids and a row of C elements per id that is present, and writes one row: for
// C = 6144 in bf16 and Q = 4, up to 5 rows of 12 KiB and one. If there are media rows, a single block first numbers
// their pad ids, which reads and writes 4 bytes per position.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/embedding/prompt_embedding.kernels.h"

namespace caracal {

static_assert(kPromptMediaThreads % kWarp == 0 && kPromptMediaThreads <= kMaxBlockWarps * kWarp,
              "every warp has a counter, and ballots need whole warps");

// media_row[t] = the media row at position t, vision rows being numbered after the audio rows; -1 for none. The single
// block walks along the positions and carries the counts of both kinds.
CARACAL_KERNEL(kPromptMedia, prompt_media, __launch_bounds__(kPromptMediaThreads), const int* text, long long n,
               const __grid_constant__ PromptMediaRows media, int* media_row, Fault* fault) {
  __shared__ int warp_pads[kMediaKinds][kMaxBlockWarps];
  const int warp = warp_index(), lane = lane_index(), warps = warp_count();
  long long used[kMediaKinds] = {};
  for (long long first = 0; first < n; first += blockDim.x) {
    const long long t = first + threadIdx.x;
    int row = -1;
    bool is_pad[kMediaKinds];
    long long number[kMediaKinds];
#pragma unroll
    for (int kind = 0; kind < kMediaKinds; kind++) {
      is_pad[kind] = t < n && text[t] == media.pad_id[kind];
      const uint32_t pads = __ballot_sync(kAllLanes, is_pad[kind]);
      number[kind] = used[kind] + __popc(pads & ((1u << lane) - 1));
      if (lane == 0) warp_pads[kind][warp] = __popc(pads);
    }
    __syncthreads();
#pragma unroll
    for (int kind = 0; kind < kMediaKinds; kind++) {
      for (int w = 0; w < warps; w++) {
        if (w < warp) number[kind] += warp_pads[kind][w];
        used[kind] += warp_pads[kind][w];
      }
      if (is_pad[kind] && number[kind] < media.count[kind])
        row = static_cast<int>((kind == kVision ? media.count[kAudio] : 0) + number[kind]);
    }
    if (t < n) media_row[t] = row;
    __syncthreads();
  }
  for (int kind = 0; kind < kMediaKinds; kind++)
    if (threadIdx.x == 0 && used[kind] != media.count[kind])
      raise(fault, PromptTables::kMaxTables + kind, 0, used[kind]);
}

template <class Y, int V>
__device__ inline void copy_media_row(const PromptMediaRows& media, long long row, Y* y, int columns, int from,
                                      int step) {
  const int kind = row >= media.count[kAudio] ? kVision : kAudio;
  const long long first = (kind == kVision ? row - media.count[kAudio] : row) * columns;
  for (int i = from; i < columns; i += step) {
    float v[V];
    if (media.f32[kind])
      load<V>(static_cast<const f32*>(media.rows[kind]) + first + i, v);
    else
      load<V>(static_cast<const bf16*>(media.rows[kind]) + first + i, v);
    store<V>(y + i, v);
  }
}

// Finds the rows to add at position t: null for an id that is absent or invalid; the pad row if no id is present.
template <class W>
__device__ inline void find_rows(const int* text, const int* codec, const PromptTables& tables, long long t,
                                 int columns, const W** present, Fault* fault) {
  bool any = false;
  for (int k = thread_index(); k < tables.tables; k += thread_count()) {
    const int id = k == 0 ? text[t] : codec[t * (tables.tables - 1) + k - 1];
    const bool in_table = id >= 0 && id < tables.count[k];
    present[k] = nullptr;
    if (id == tables.pad_id) continue;
    any = true;
    if (in_table)
      present[k] = static_cast<const W*>(tables.rows[k]) + static_cast<long long>(id) * columns;
    else
      raise(fault, k, t, id);
  }
  if (__syncthreads_or(any)) return;
  if (threadIdx.x == 0 && tables.pad_id >= 0) {
    if (tables.pad_id < tables.count[0])
      present[0] = static_cast<const W*>(tables.rows[0]) + tables.pad_id * columns;
    else
      raise(fault, 0, t, tables.pad_id);
  }
  __syncthreads();
}

template <class W, class Y, int V>
__device__ inline void prompt_embedding(const int* text, const int* codec, const PromptTables& tables,
                                        const int* media_row, const PromptMediaRows& media, Y* y, int columns,
                                        Fault* fault) {
  __shared__ const W* present[PromptTables::kMaxTables];
  const long long t = blockIdx.x;
  const int from = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * V;
  const int step = static_cast<int>(gridDim.y * blockDim.x) * V;
  y += t * columns;
  if (media_row != nullptr && media_row[t] >= 0)
    return copy_media_row<Y, V>(media, media_row[t], y, columns, from, step);
  find_rows(text, codec, tables, t, columns, present, fault);
  for (int i = from; i < columns; i += step) {
    float sum[V] = {};
    for (int k = 0; k < tables.tables; k++) {
      if (present[k] == nullptr) continue;
      float v[V];
      load<V>(present[k] + i, v);
#pragma unroll
      for (int j = 0; j < V; j++) sum[j] += v[j];
    }
    store<V>(y + i, sum);
  }
}

#define CARACAL_PROMPT_EMBEDDING(W, Y)                                                                             \
  CARACAL_KERNEL(kPromptEmbedding, prompt_embedding_##W##_##Y, , const int* text, const int* codec,                \
                 const __grid_constant__ PromptTables tables, const int* media_row,                                \
                 const __grid_constant__ PromptMediaRows media, Y* y, int columns, Fault* fault, bool aligned) {   \
    if (aligned)                                                                                                   \
      prompt_embedding<W, Y, 16 / (sizeof(W) > sizeof(Y) ? sizeof(W) : sizeof(Y))>(text, codec, tables, media_row, \
                                                                                   media, y, columns, fault);      \
    else                                                                                                           \
      prompt_embedding<W, Y, 1>(text, codec, tables, media_row, media, y, columns, fault);                         \
  }
CARACAL_PROMPT_EMBEDDING(f32, f32)
CARACAL_PROMPT_EMBEDDING(f32, bf16)
CARACAL_PROMPT_EMBEDDING(bf16, f32)
CARACAL_PROMPT_EMBEDDING(bf16, bf16)
#undef CARACAL_PROMPT_EMBEDDING

}  // namespace caracal
