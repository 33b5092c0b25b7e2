#pragma once
// How the engine of the matrix product (gemm.cpu.cc) divides a product into work items, and the scratch that they need.
#include <algorithm>

#include "cpu/gemm.h"
#include "cpu/gemm_kernel.h"

namespace caracal::CARACAL_ISA {

constexpr int64_t kChunkBytes = 16384;  // of a panel: half of L1
constexpr int64_t kCodeChunk = 512;     // of k, for codes of a byte or less: the rows need L1 too
constexpr int64_t kWideChunk = kChunkBytes / (kPanelColumns * 4);  // the same if codes are widened to f32
constexpr int64_t kDirectTiles = 3;  // with more tiles of rows, codes with biases are widened once for all
static_assert(kWideChunk % kShortChain == 0, "a chain of f32 products ends with its chunk");
static_assert(kCodeChunk % kScaleBlock == 0 && kWideChunk % kScaleBlock == 0,
              "a chain of scaled products ends with its chunk");
constexpr int64_t kBlockRows = 192 / kTileRows * kTileRows;
constexpr int64_t kSlabFloats = 48 * 1024;  // rows x k that stay in L2
constexpr int64_t kSlabBytes = 512 * 1024;  // the same for rows of 8-bit integers, which take longer to prepare
constexpr int64_t kSumFloats = 128 * 1024;  // unfinished sums of an item

// The elements of k that share a scale, or 0 if the weights have no scales.
CARACAL_INLINE int64_t scale_chain(const Panels& w) {
  return w.dtype == DType::f8e4m3 ? kScaleBlock : is_affine(w.dtype) ? w.groups.group : 0;
}

// How a product is divided into items. Item i covers row block i % row_blocks of panel range i / row_blocks.
struct Blocking {
  int64_t block_rows, row_blocks;
  int64_t range_panels, ranges;
  int64_t slab_k;     // k per slab
  int64_t chunk_k;    // k per panel chunk
  int64_t tile_rows;  // at most
  bool int8_rows;     // whether rows are rounded to 8-bit integers
  bool widens;        // whether a chunk of codes is widened once for all tiles

  CARACAL_INLINE int64_t items() const { return row_blocks * ranges; }
};

CARACAL_INLINE int64_t chunk_k(const Panels& w, bool single_tile, bool widens) {
  if (single_tile) return std::max<int64_t>(w.k, 1);
  if (widens) return kWideChunk;
  return scale_chain(w) > 0 ? kCodeChunk : kChunkBytes / (kPanelColumns * static_cast<int64_t>(dtype_bytes(w.dtype)));
}

// The cost of a block of rows per weight element, in units of one row's arithmetic. Few rows are bound by memory instead.
CARACAL_INLINE int64_t block_cost(int64_t rows) { return std::max<int64_t>(rows, 6); }

// `target` is the desired cost of an item in multiply-adds.
CARACAL_INLINE Blocking plan_gemm(const Product& g, int64_t target) {
  const int64_t m = g.m;
  const Panels& w = g.w[0];
  const int groups = g.groups;
  Blocking b;
  b.int8_rows = kInt8Rows && g.int8_rows && is_affine(w.dtype);
  b.tile_rows = b.int8_rows ? kInt8TileRows : kTileRows;
  b.row_blocks = divide_up(m, kBlockRows);
  b.block_rows = b.row_blocks > 0 ? round_up(divide_up(m, b.row_blocks), b.tile_rows) : 0;
  const int64_t rows = std::min(m, b.block_rows);
  const bool single_tile = rows <= b.tile_rows;
  b.widens = is_affine(w.dtype) && !b.int8_rows && rows > kDirectTiles * b.tile_rows;
  b.chunk_k = chunk_k(w, single_tile, b.widens);
  b.slab_k = std::max<int64_t>(w.k, 1);
  const int64_t slab = b.int8_rows ? kSlabBytes : kSlabFloats;
  if (!single_tile && rows * w.k > slab)
    b.slab_k = std::min(w.k, std::max<int64_t>(slab / rows / b.chunk_k, 1) * b.chunk_k);
  const int64_t panel_cost = std::max<int64_t>(block_cost(rows) * w.k * kPanelColumns * groups, 1);
  int64_t range = std::max<int64_t>(target / panel_cost, kMaxPanels);
  if (b.slab_k < w.k) range = std::min(std::max<int64_t>(range, 8), kSumFloats / (rows * kPanelColumns * groups));
  b.ranges = divide_up(w.count(), std::max<int64_t>(range, 1));
  b.range_panels = b.ranges > 0 ? divide_up(w.count(), b.ranges) : 0;
  return b;
}

// In floats.
CARACAL_INLINE int64_t slab_stride(const Blocking& b) {
  const int64_t floats = b.int8_rows ? divide_up(b.slab_k, static_cast<int64_t>(sizeof(float))) : b.slab_k;
  return round_up(floats, 16) + 16;  // avoids powers of two, whose rows share cache sets
}

CARACAL_INLINE int64_t terms_per_chain(const Blocking& b) { return b.int8_rows ? 2 : 1; }

CARACAL_INLINE int64_t terms_stride(const Blocking& b, const Panels& w) {
  const int64_t chain = scale_chain(w);
  return chain > 0 ? divide_up(b.slab_k, chain) * terms_per_chain(b) : 0;
}

CARACAL_INLINE int64_t wide_floats(const Blocking& b) { return b.widens ? kMaxPanels * kWideChunk * kPanelColumns : 0; }

CARACAL_INLINE int64_t sum_floats(const Blocking& b, bool all_panels, int groups) {
  return b.block_rows * kPanelColumns * groups * (all_panels ? b.range_panels : kMaxPanels);
}

CARACAL_INLINE size_t scratch_floats(const Blocking& b, const Panels& w, int groups) {
  return static_cast<size_t>(b.block_rows * (slab_stride(b) + round_up(terms_stride(b, w), 16)) +
                             sum_floats(b, b.slab_k < w.k, groups) + (b.int8_rows ? round_up(b.slab_k, 16) : 0) +
                             wide_floats(b));
}

}  // namespace caracal::CARACAL_ISA
