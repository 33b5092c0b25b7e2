// The engine of the matrix product.
//
// A work item is a block of rows by a range of panels. Its rows are widened to f32 and copied once into a slab that stays
// in L2 (a single tile of rows that can be read in place is not copied). The panels stream past the slab in chunks of k
// that stay in L1. Items share nothing, so the schedule does not affect the bits (gemm_kernel.h).
#include "cpu/gemm.h"

#include <algorithm>

#include "cpu/gemm_blocking.h"
#include "cpu/gemm_code.h"
#include "cpu/prepare_row.h"

namespace caracal::CARACAL_ISA {
namespace {

// A worker's scratch: the slab, what is known of its rows for scaled weights, and sums.
struct Scratch {
  float* slab;
  float* terms;
  float* sums;
  float* wide;      // the chunk of each panel of a pass, if codes are widened
  float* row;       // before it is rounded
  int64_t& loaded;  // the row block whose whole rows the slab holds; the next item often needs the same
};

// --- one item -------------------------------------------------------------------------------------------------------

// The rows of an item, divided into tiles of nearly equal height: the first `taller` tiles have one row more.
struct Tiles {
  int64_t count, height, taller;

  CARACAL_INLINE Tiles(int64_t rows, int64_t most)
      : count(divide_up(rows, most)), height(rows / count), taller(rows % count) {}
  CARACAL_INLINE int rows(int64_t i) const { return static_cast<int>(height + (i < taller)); }
  CARACAL_INLINE int tallest() const { return rows(0); }
};

struct PanelPass {  // up to kMaxPanels panels that run past the tiles together
  const std::byte* w[kMaxPanels];
  const float* scales[kMaxPanels];
  const std::byte* next[kMaxPanels];  // the panels of the next pass
  int count = 0;
};

// The panels of a product's weights alternate: number v is panel v / groups of weight v % groups.
CARACAL_INLINE const std::byte* panel_data(const Product& g, int64_t v) {
  const Panels& w = g.w[v % g.groups];
  return w.data + static_cast<size_t>(v / g.groups) * w.panel_bytes();
}

// The pass over panels [v, v + count) of those up to `last`.
CARACAL_INLINE PanelPass make_pass(const Product& g, int64_t v, int count, int64_t last) {
  PanelPass pass;
  pass.count = count;
  for (int p = 0; p < count; p++) {
    const int64_t panel = (v + p) / g.groups;
    const float* scales = g.w[(v + p) % g.groups].scales;
    pass.w[p] = panel_data(g, v + p);
    pass.scales[p] = scales ? scales + panel * kPanelColumns / kScaleBlock * divide_up(g.w[0].k, kScaleBlock) : nullptr;
    pass.next[p] = panel_data(g, std::min(v + p + count, last - 1));
  }
  return pass;
}

// The elements [begin, end) of an item's rows, and for scaled weights the terms of their chains.
struct Slab {
  int64_t begin, end;
  const float* a;  // element `begin` of the first row
  int64_t stride;
  const float* terms;  // chain `begin` of the first row
  int64_t terms_stride;
  bool int8_rows;  // whether the rows are bytes
};

// The part [k, k + count) of a pass, and its operands.
struct Chunk {
  int64_t k, count;
  const std::byte* const* next;  // the panels of the following chunk, which starts at next_k
  int64_t next_k;
  float* sums;
  int64_t panel_stride;
};

constexpr int64_t kPrefetchBytes = 2048;

// Where the scales of a panel's chains lie, from the chunk's first on.
struct ChainScales {
  int64_t chain;   // of k
  int64_t stride;  // bytes
  const std::byte* of[kMaxPanels];
};

CARACAL_INLINE int64_t bytes_before(const Panels& w, int64_t k) {
  return static_cast<int64_t>(panels_bytes(kPanelColumns, k, w.dtype, w.groups));
}

CARACAL_INLINE ChainScales chain_scales(const Panels& w, const PanelPass& pass, int64_t k) {
  ChainScales s{scale_chain(w), sizeof(float), {}};
  if (s.chain == 0) return s;
  const int64_t codes = static_cast<int64_t>(code_bytes(s.chain, w.dtype)) * kPanelColumns;
  if (is_affine(w.dtype)) s.stride = bytes_before(w, s.chain);
  for (int p = 0; p < pass.count; p++)
    s.of[p] = is_affine(w.dtype) ? pass.w[p] + bytes_before(w, k) + codes
                                 : reinterpret_cast<const std::byte*>(pass.scales[p] + k / s.chain);
  return s;
}

// Runs a tile whose rows begin at tile.a, from their element k on.
template <class W>
CARACAL_INLINE void run_rows(Tile& tile, bool int8_rows, int64_t k, int rows, int panels) {
  if constexpr (kInt8Rows && (std::is_same_v<W, q8> || std::is_same_v<W, q4>)) {
    if (int8_rows) {
      tile.a = reinterpret_cast<const float*>(reinterpret_cast<const std::byte*>(tile.a) + k);
      return run_int8_tile<W>(tile, rows, panels);
    }
  }
  tile.a += k;
  run_tile<W>(tile, rows, panels);
}

// Adds x[., k .. k + count) . W to the sums of every tile. panels[p] holds the chunk as values of type Read. To overlap memory
// and arithmetic, the tiles prefetch the panels' next chunk, each an equal share; a single tile streams the panels and
// prefetches a fixed distance ahead.
template <class Read>
CARACAL_INLINE void run_tiles(const Product& g, const PanelPass& pass, const Tiles& tiles, const Slab& slab,
                              const Chunk& chunk, const std::byte* const (&panels)[kMaxPanels]) {
  const Panels& w = g.w[0];
  const bool streams = tiles.count == 1;
  const ChainScales scales = chain_scales(w, pass, chunk.k);
  Tile tile{};
  tile.a_stride = slab.stride;
  tile.k = chunk.count;
  tile.c_panel_stride = chunk.panel_stride;
  tile.chain = scales.chain > 0 ? scales.chain : g.chain;
  tile.resume = chunk.k > 0 && tile.chain == 0;
  tile.add = chunk.k > 0 && tile.chain > 0;
  tile.row_terms_stride = slab.terms_stride;
  tile.scales_stride = scales.stride;
  tile.scale_dtype = w.groups.dtype;
  const int64_t share = divide_up(bytes_before(w, chunk.count), tiles.count);
  const int64_t lines = std::max<int64_t>(chunk.count * Code<Read>::kBytes / Code<Read>::kStep / 64, 1);
  tile.ahead_step = streams ? 64 : divide_up(share, lines);
  for (int p = 0; p < pass.count; p++) {
    tile.w[p] = panels[p];
    tile.scales[p] = scales.of[p];
  }
  const int64_t terms = slab.int8_rows ? 2 : 1;  // per chain
  int64_t row = 0;
  for (int64_t i = 0; i < tiles.count; i++) {
    for (int p = 0; p < pass.count; p++)
      tile.ahead[p] = reinterpret_cast<const char*>(
          streams ? tile.w[p] + kPrefetchBytes : chunk.next[p] + bytes_before(w, chunk.next_k) + i * share);
    const int64_t k = chunk.k - slab.begin;
    tile.a = slab.a + row * slab.stride;
    tile.c = chunk.sums + row * kPanelColumns;
    if (scales.chain > 0) tile.row_terms = slab.terms + k / scales.chain * terms + row * slab.terms_stride;
    run_rows<Read>(tile, slab.int8_rows, k, tiles.rows(i), pass.count);
    row += tiles.rows(i);
  }
}

// The same for panels of W.
template <class W>
CARACAL_INLINE void run_chunk(const Product& g, const PanelPass& pass, const Tiles& tiles, const Slab& slab,
                              const Chunk& chunk, float* wide) {
  const std::byte* panels[kMaxPanels] = {};
  for (int p = 0; p < pass.count; p++) panels[p] = pass.w[p] + bytes_before(g.w[0], chunk.k);
  if constexpr (Code<W>::kBiased) {
    if (wide) {
      for (int p = 0; p < pass.count; p++) {
        auto* out = reinterpret_cast<std::byte*>(wide + p * kWideChunk * kPanelColumns);
        widen_codes<W>(panels[p], g.w[0].groups, chunk.count, out);
        panels[p] = out;
      }
      return run_tiles<WideCodes>(g, pass, tiles, slab, chunk, panels);
    }
  }
  run_tiles<W>(g, pass, tiles, slab, chunk, panels);
}

// Rows [row0, row0 + rows) by panels [first_panel, last_panel) of every weight.
struct Item {
  int64_t row0, rows, first_panel, last_panel;
  int64_t row_block;  // unique among all products

  CARACAL_INLINE int64_t panel_stride() const { return rows * kPanelColumns; }  // of the sums
};

// The rows in place, if they form a single tile at equal distances; otherwise a slab without rows.
Slab rows_in_place(const Product& g, const Item& item, int64_t begin, int64_t end) {
  const float* first = item.rows <= kTileRows ? g.direct(g.rows, item.row0) : nullptr;
  if (!first) return {};
  const int64_t step = item.rows > 1 ? g.direct(g.rows, item.row0 + 1) - first : 0;
  for (int64_t r = 2; r < item.rows; r++)
    if (g.direct(g.rows, item.row0 + r) - first != r * step) return {};
  return {begin, end, first + begin, step, nullptr, 0, false};
}

// Copies a row's elements [begin, end) into the slab and prepares them for the codes of w.
void load_row(const Product& g, int64_t row, int64_t begin, int64_t end, float* a, float* terms) {
  const Panels& w = g.w[0];
  const int64_t count = end - begin;
  g.copy(g.rows, row, begin, count, a);
  if (w.dtype == DType::f8e4m3) prepare_row<f8e4m3>(a, count, kScaleBlock, terms);
  if (w.dtype == DType::q8) prepare_row<q8>(a, count, w.groups.group, terms);
  if (w.dtype == DType::q4) prepare_row<q4>(a, count, w.groups.group, terms);
}

// The same for rows of 8-bit integers.
void load_int8_row([[maybe_unused]] const Product& g, [[maybe_unused]] int64_t row, [[maybe_unused]] int64_t begin,
                   [[maybe_unused]] int64_t end, [[maybe_unused]] float* a, [[maybe_unused]] float* terms,
                   [[maybe_unused]] float* unrounded) {
#if defined(__AVX2__)
  g.copy(g.rows, row, begin, end - begin, unrounded);
  prepare_int8_row(unrounded, end - begin, g.w[0].groups.group, reinterpret_cast<int8_t*>(a), terms);
#endif
}

Slab load_slab(const Product& g, const Blocking& b, const Item& item, int64_t begin, int64_t end,
               const Scratch& scratch) {
  const bool is_scaled = scale_chain(g.w[0]) > 0;
  if (!is_scaled)
    if (const Slab in_place = rows_in_place(g, item, begin, end); in_place.a) return in_place;
  const Slab slab{begin, end, scratch.slab, slab_stride(b), scratch.terms, terms_stride(b, g.w[0]), b.int8_rows};
  const bool whole_rows = b.slab_k >= g.w[0].k;
  if (whole_rows && scratch.loaded == item.row_block) return slab;
  for (int64_t r = 0; r < item.rows; r++) {
    float *a = scratch.slab + r * slab.stride, *terms = scratch.terms + r * slab.terms_stride;
    if (b.int8_rows)
      load_int8_row(g, item.row0 + r, begin, end, a, terms, scratch.row);
    else
      load_row(g, item.row0 + r, begin, end, a, terms);
  }
  scratch.loaded = whole_rows ? item.row_block : -1;
  return slab;
}

// Adds the products of a slab and the panels of a pass to `sums`, chunk by chunk.
template <class W>
void run_pass(const Product& g, const Blocking& b, const Item& item, const Tiles& tiles, const Slab& slab,
              const PanelPass& pass, float* sums, float* wide) {
  int64_t k = slab.begin;
  do {  // at least once: if K = 0, the sums become zero
    const int64_t count = std::min(b.chunk_k, slab.end - k);
    const bool is_last = k + count == slab.end;
    run_chunk<W>(g, pass, tiles, slab,
                 {k, count, is_last ? pass.next : pass.w, is_last ? slab.begin : k + count, sums, item.panel_stride()},
                 wide);
    k += count;
  } while (k < slab.end);
}

// Runs every panel of an item past a slab. After the last slab the sums are finished.
template <class W>
void run_slab(const Product& g, const Blocking& b, const Item& item, const Tiles& tiles, const Slab& slab,
              const Scratch& scratch) {
  const int G = g.groups,
            width = b.int8_rows ? int8_panels_per_pass(tiles.tallest()) : panels_per_pass(tiles.tallest());
  const int64_t depth = g.w[0].k, panel_stride = item.panel_stride();
  const bool keeps_sums = b.slab_k < depth;     // all panels' sums wait for the next slab
  const int64_t unit = std::max(width / G, 1);  // panels of every weight that are finished together
  for (int64_t panel = item.first_panel; panel < item.last_panel; panel += unit) {
    const int64_t end = std::min(panel + unit, item.last_panel);
    float* sums = scratch.sums + (keeps_sums ? (panel - item.first_panel) * G * panel_stride : 0);
    for (int64_t v = panel * G; v < end * G; v += width) {
      const int count = static_cast<int>(std::min<int64_t>(width, end * G - v));
      run_pass<W>(g, b, item, tiles, slab, make_pass(g, v, count, item.last_panel * G),
                  sums + (v - panel * G) * panel_stride, scratch.wide);
    }
    if (slab.end < depth) continue;
    for (int64_t p = panel; p < end; p++)
      g.finish(g.epilogue, g.w[0].n, item.row0, item.rows, p, sums + (p - panel) * G * panel_stride, panel_stride);
  }
}

template <class W>
void run_item(const Product& g, const Blocking& b, const Item& item, const Scratch& scratch) {
  const Tiles tiles(item.rows, b.tile_rows);
  const int64_t depth = g.w[0].k;
  int64_t begin = 0;
  do {  // at least once: if K = 0, the sums become zero
    const int64_t end = std::min(begin + b.slab_k, depth);
    run_slab<W>(g, b, item, tiles, load_slab(g, b, item, begin, end, scratch), scratch);
    begin = end;
  } while (begin < depth);
}

// Runs item `index` of a product whose items start at `first_item` among those of all products.
void run_item(const Product& g, const Blocking& b, int64_t index, int64_t first_item, float* scratch, int64_t& loaded) {
  const int64_t row0 = index % b.row_blocks * b.block_rows, first_panel = index / b.row_blocks * b.range_panels;
  const Item item{row0, std::min(b.block_rows, g.m - row0), first_panel,
                  std::min(first_panel + b.range_panels, g.w[0].count()), first_item + index % b.row_blocks};
  float* terms = scratch + b.block_rows * slab_stride(b);
  float* sums = terms + b.block_rows * round_up(terms_stride(b, g.w[0]), 16);
  float* wide = sums + sum_floats(b, b.slab_k < g.w[0].k, g.groups);
  const Scratch s{scratch, terms, sums, b.widens ? wide : nullptr, wide + wide_floats(b), loaded};
  switch (g.w[0].dtype) {
    case DType::bf16: return run_item<bf16>(g, b, item, s);
    case DType::f8e4m3: return run_item<f8e4m3>(g, b, item, s);
    case DType::q8: return run_item<q8>(g, b, item, s);
    case DType::q4: return run_item<q4>(g, b, item, s);
    default: return run_item<float>(g, b, item, s);
  }
}

// --- whole products -------------------------------------------------------------------------------------------------

constexpr int64_t kItemsPerWorker = 6;
constexpr int64_t kMinItemCost = 1 << 18;  // in multiply-adds: outweighs the cost of scheduling an item

}  // namespace

void run_products(Cpu& cpu, const Product* products, int64_t count) {
  const Temporary<Blocking> blockings(cpu, static_cast<size_t>(count));
  const Temporary<int64_t> starts(cpu, static_cast<size_t>(count) + 1);
  int64_t cost = 0;
  for (int64_t i = 0; i < count; i++) {
    const Product& g = products[i];
    if (g.m > 0) cost += block_cost(g.m) * g.w[0].k * g.w[0].n * g.groups;
  }
  const int64_t target = std::max(cost / (cpu.workers() * kItemsPerWorker), kMinItemCost);
  size_t scratch = 0;
  starts[0] = 0;
  for (int64_t i = 0; i < count; i++) {
    const Product& g = products[i];
    blockings[i] = plan_gemm(g, target);
    starts[i + 1] = starts[i] + blockings[i].items();
    scratch = std::max(scratch, scratch_floats(blockings[i], g.w[0], g.groups));
  }
  const Temporary<int64_t> loaded(cpu, static_cast<size_t>(cpu.workers()));
  for (int i = 0; i < cpu.workers(); i++) loaded[i] = -1;
  cpu.parallel_for(starts[count], [&](int64_t item, int worker) {
    int64_t low = 0, high = count;  // binary search for the item's product
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (starts[middle] <= item ? low : high) = middle;
    }
    run_item(products[low], blockings[low], item - starts[low], starts[low], cpu.scratch(worker, scratch),
             loaded[worker]);
  });
}

}  // namespace caracal::CARACAL_ISA
