// The engine of the matrix product.
//
// A work item is a block of rows by a range of panels. Its rows are widened to f32 and copied once into a slab that stays
// in L2 (a single tile of rows that can be read in place is not copied). The panels stream past the slab in chunks of k
// that stay in L1. Items share nothing, so the schedule does not affect the bits (gemm_kernel.h).
#include "cpu/gemm.h"

#include <algorithm>

#include "cpu/gemm_kernel.h"

namespace caracal::CARACAL_ISA {
namespace {

// --- blocking -------------------------------------------------------------------------------------------------------

constexpr int64_t kChunkBytes = 16384;  // of a panel: half of L1
static_assert(kChunkBytes / (kPanelColumns * 4) % kShortChain == 0, "a chain of f32 products ends with its chunk");
constexpr int64_t kBlockRows = 192 / kTileRows * kTileRows;
constexpr int64_t kSlabFloats = 48 * 1024;  // rows x k that stay in L2
constexpr int64_t kSumFloats = 128 * 1024;  // unfinished sums of an item

// How a product is divided into items. Item i covers row block i % row_blocks of panel range i / row_blocks.
struct Blocking {
  int64_t block_rows, row_blocks;
  int64_t range_panels, ranges;
  int64_t slab_k;   // k per slab
  int64_t chunk_k;  // k per panel chunk

  CARACAL_INLINE int64_t items() const { return row_blocks * ranges; }
};

CARACAL_INLINE int64_t chunk_k(DType dtype, bool single_tile, int64_t k) {
  if (dtype == DType::f8e4m3) return single_tile ? kScaleBlock : 2 * kScaleBlock;
  return single_tile ? std::max<int64_t>(k, 1)
                     : kChunkBytes / (kPanelColumns * static_cast<int64_t>(dtype_bytes(dtype)));
}

// The cost of a block of rows per weight element, in units of one row's arithmetic. Few rows are bound by memory instead.
CARACAL_INLINE int64_t block_cost(int64_t rows) { return std::max<int64_t>(rows, 6); }

// `target` is the desired cost of an item in multiply-adds.
CARACAL_INLINE Blocking plan_gemm(const Product& g, int64_t target) {
  const int64_t m = g.m;
  const Panels& w = g.w[0];
  const int groups = g.groups;
  Blocking b;
  b.row_blocks = divide_up(m, kBlockRows);
  b.block_rows = b.row_blocks > 0 ? round_up(divide_up(m, b.row_blocks), kTileRows) : 0;
  const int64_t rows = std::min(m, b.block_rows);
  const bool single_tile = rows <= kTileRows;
  b.chunk_k = chunk_k(w.dtype, single_tile, w.k);
  b.slab_k = std::max<int64_t>(w.k, 1);
  if (!single_tile && rows * w.k > kSlabFloats)
    b.slab_k = std::min(w.k, std::max<int64_t>(kSlabFloats / rows / b.chunk_k, 1) * b.chunk_k);
  const int64_t panel_cost = std::max<int64_t>(block_cost(rows) * w.k * kPanelColumns * groups, 1);
  int64_t range = std::max<int64_t>(target / panel_cost, kMaxPanels);
  if (b.slab_k < w.k) range = std::min(std::max<int64_t>(range, 8), kSumFloats / (rows * kPanelColumns * groups));
  b.ranges = divide_up(w.count(), std::max<int64_t>(range, 1));
  b.range_panels = b.ranges > 0 ? divide_up(w.count(), b.ranges) : 0;
  return b;
}

// A worker's scratch: slab, sums, and decoded f8e4m3 chunks.
struct Scratch {
  float* slab;
  float* sums;
  float* decoded;
  int64_t& loaded;  // the row block whose whole rows the slab holds; the next item often needs the same
};

CARACAL_INLINE int64_t slab_stride(const Blocking& b) {
  return round_up(b.slab_k, 16) + 16;  // avoids powers of two, whose rows share cache sets
}

CARACAL_INLINE int64_t sum_floats(const Blocking& b, bool all_panels, int groups) {
  return b.block_rows * kPanelColumns * groups * (all_panels ? b.range_panels : kMaxPanels);
}

CARACAL_INLINE size_t scratch_floats(const Blocking& b, const Panels& w, int groups) {
  return static_cast<size_t>(b.block_rows * slab_stride(b) + sum_floats(b, b.slab_k < w.k, groups) +
                             kMaxPanels * b.chunk_k * kPanelColumns);
}

// --- one item -------------------------------------------------------------------------------------------------------

// The rows of an item, divided into tiles of nearly equal height: the first `taller` tiles have one row more.
struct Tiles {
  int64_t count, height, taller;

  CARACAL_INLINE explicit Tiles(int64_t rows)
      : count(divide_up(rows, kTileRows)), height(rows / count), taller(rows % count) {}
  CARACAL_INLINE int rows(int64_t i) const { return static_cast<int>(height + (i < taller)); }
  CARACAL_INLINE int tallest() const { return rows(0); }
};

template <class W>
struct PanelPass {  // up to kMaxPanels panels that run past the tiles together
  const W* w[kMaxPanels];
  const float* scales[kMaxPanels];
  const W* next[kMaxPanels];  // the panels of the next pass
  int count = 0;
};

// The panels of a product's weights alternate: number v is panel v / groups of weight v % groups.
template <class W>
CARACAL_INLINE const W* panel_data(const Product& g, int64_t v) {
  const Panels& w = g.w[v % g.groups];
  return static_cast<const W*>(w.data) + v / g.groups * w.k * kPanelColumns;
}

// The pass over panels [v, v + count) of those up to `last`.
template <class W>
CARACAL_INLINE PanelPass<W> make_pass(const Product& g, int64_t v, int count, int64_t last) {
  PanelPass<W> pass;
  pass.count = count;
  for (int p = 0; p < count; p++) {
    const int64_t panel = (v + p) / g.groups;
    const float* scales = g.w[(v + p) % g.groups].scales;
    pass.w[p] = panel_data<W>(g, v + p);
    pass.scales[p] = scales ? scales + panel * kPanelColumns / kScaleBlock * divide_up(g.w[0].k, kScaleBlock) : nullptr;
    pass.next[p] = panel_data<W>(g, std::min(v + p + count, last - 1));
  }
  return pass;
}

// Decoding f8e4m3 costs more than multiplying: with several tiles, a chunk is decoded once, into L1.
CARACAL_INLINE bool decode_first(const PanelPass<f8e4m3>& pass, const Tiles& tiles, int64_t k) {
  bool direct = tiles.count == 1;
  for (int p = 0; p < pass.count; p++) direct = direct && pass.scales[p][k / kScaleBlock] < kDirectScale;
  return !direct;
}

// Decodes [k, k + count) of a panel; k is a multiple of kScaleBlock. Out of line, so that the loop's variables stay in
// registers.
[[gnu::noinline]] void decode_chunk(const f8e4m3* w, const float* scales, int64_t k, int64_t count, float* out) {
  for (int64_t block = 0; block < count; block += kScaleBlock) {
    const F32x16 scale = set1(scales[(k + block) / kScaleBlock]);
    for (int64_t i = block; i < std::min(block + kScaleBlock, count); i++)
      store16(out + i * kPanelColumns, decode(w + (k + i) * kPanelColumns, 1.f) * scale);
  }
}

// The part [k, k + count) of a pass, and its operands.
template <class W>
struct Chunk {
  int64_t k, count;
  const W* const* next;  // the panels of the following chunk, which starts at next_k
  int64_t next_k;
  const float* a;  // element k of the first row
  int64_t a_stride;
  float* sums;
  int64_t panel_stride;
  int64_t chain;  // k per chain, 0: all
};

constexpr int64_t kPrefetchBytes = 2048;

// Runs the tiles over a chunk. To overlap memory and arithmetic, they prefetch the panels' next chunk, each an equal share;
// a single tile streams the panels and prefetches a fixed distance ahead.
template <class W, class Stored>
CARACAL_INLINE void run_tiles(Tile<W>& tile, const PanelPass<Stored>& pass, const Tiles& tiles,
                              const Chunk<Stored>& chunk) {
  const bool streams = tiles.count == 1;
  tile.a_stride = chunk.a_stride;
  tile.k = chunk.count;
  tile.c_panel_stride = chunk.panel_stride;
  tile.resume = chunk.k > 0 && chunk.chain == 0;
  tile.add = chunk.k > 0 && chunk.chain > 0;
  tile.chain = chunk.chain;
  tile.ahead_step = streams ? 64 : divide_up(64 * sizeof(Stored) / sizeof(W), tiles.count);
  const int64_t share = chunk.count / 4 * sizeof(W) * tile.ahead_step;
  int64_t row = 0;
  for (int64_t i = 0; i < tiles.count; i++) {
    for (int p = 0; p < pass.count; p++) {
      const Stored* from = streams ? pass.w[p] + chunk.k * kPanelColumns : chunk.next[p] + chunk.next_k * kPanelColumns;
      tile.ahead[p] = reinterpret_cast<const char*>(from) + (streams ? kPrefetchBytes : i * share);
    }
    tile.a = chunk.a + row * chunk.a_stride;
    tile.c = chunk.sums + row * kPanelColumns;
    run_tile(tile, tiles.rows(i), pass.count);
    row += tiles.rows(i);
  }
}

// Adds x[., k .. k + count) . W to the sums of every tile.
template <class W>
CARACAL_INLINE void run_chunk(const PanelPass<W>& pass, const Tiles& tiles, const Chunk<W>& chunk, float* decoded) {
  if constexpr (sizeof(W) == 1) {
    if (decode_first(pass, tiles, chunk.k)) {
      Tile<float> tile{};
      for (int p = 0; p < pass.count; p++) {
        float* out = decoded + p * chunk.count * kPanelColumns;
        decode_chunk(pass.w[p], pass.scales[p], chunk.k, chunk.count, out);
        tile.w[p] = out;
      }
      return run_tiles(tile, pass, tiles, chunk);
    }
  }
  Tile<W> tile{};
  for (int p = 0; p < pass.count; p++) {
    tile.w[p] = pass.w[p] + chunk.k * kPanelColumns;
    if constexpr (sizeof(W) == 1) tile.scale[p] = pass.scales[p][chunk.k / kScaleBlock];
  }
  run_tiles(tile, pass, tiles, chunk);
}

// Rows [row0, row0 + rows) by panels [first_panel, last_panel) of every weight.
struct Item {
  int64_t row0, rows, first_panel, last_panel;
  int64_t row_block;  // unique among all products

  CARACAL_INLINE int64_t panel_stride() const { return rows * kPanelColumns; }  // of the sums
};

// The elements [begin, end) of an item's rows.
struct Slab {
  int64_t begin, end;
  const float* a;  // element `begin` of the first row
  int64_t stride;
};

// The rows in place, if they form a single tile at equal distances; otherwise a slab without rows.
Slab rows_in_place(const Product& g, const Item& item, int64_t begin, int64_t end) {
  const float* first = item.rows <= kTileRows ? g.direct(g.rows, item.row0) : nullptr;
  if (!first) return {};
  const int64_t step = item.rows > 1 ? g.direct(g.rows, item.row0 + 1) - first : 0;
  for (int64_t r = 2; r < item.rows; r++)
    if (g.direct(g.rows, item.row0 + r) - first != r * step) return {};
  return {begin, end, first + begin, step};
}

Slab load_slab(const Product& g, const Blocking& b, const Item& item, int64_t begin, int64_t end,
               const Scratch& scratch) {
  if (const Slab in_place = rows_in_place(g, item, begin, end); in_place.a) return in_place;
  const Slab slab{begin, end, scratch.slab, slab_stride(b)};
  const bool whole_rows = b.slab_k >= g.w[0].k;
  if (whole_rows && scratch.loaded == item.row_block) return slab;
  for (int64_t r = 0; r < item.rows; r++)
    g.copy(g.rows, item.row0 + r, begin, end - begin, scratch.slab + r * slab.stride);
  scratch.loaded = whole_rows ? item.row_block : -1;
  return slab;
}

// Adds the products of a slab and the panels of a pass to `sums`, chunk by chunk.
template <class W>
void run_pass(const Product& g, const Blocking& b, const Item& item, const Tiles& tiles, const Slab& slab,
              const PanelPass<W>& pass, float* sums, float* decoded) {
  int64_t k = slab.begin;
  do {  // at least once: if K = 0, the sums become zero
    const int64_t count = std::min(b.chunk_k, slab.end - k);
    const bool is_last = k + count == slab.end;
    run_chunk(pass, tiles,
              {k, count, is_last ? pass.next : pass.w, is_last ? slab.begin : k + count, slab.a + (k - slab.begin),
               slab.stride, sums, item.panel_stride(), g.chain},
              decoded);
    k += count;
  } while (k < slab.end);
}

// Runs every panel of an item past a slab. After the last slab the sums are finished.
template <class W>
void run_slab(const Product& g, const Blocking& b, const Item& item, const Tiles& tiles, const Slab& slab,
              const Scratch& scratch) {
  const int G = g.groups, width = panels_per_pass(tiles.tallest());
  const int64_t depth = g.w[0].k, panel_stride = item.panel_stride();
  const bool keeps_sums = b.slab_k < depth;     // all panels' sums wait for the next slab
  const int64_t unit = std::max(width / G, 1);  // panels of every weight that are finished together
  for (int64_t panel = item.first_panel; panel < item.last_panel; panel += unit) {
    const int64_t end = std::min(panel + unit, item.last_panel);
    float* sums = scratch.sums + (keeps_sums ? (panel - item.first_panel) * G * panel_stride : 0);
    for (int64_t v = panel * G; v < end * G; v += width) {
      const int count = static_cast<int>(std::min<int64_t>(width, end * G - v));
      run_pass(g, b, item, tiles, slab, make_pass<W>(g, v, count, item.last_panel * G),
               sums + (v - panel * G) * panel_stride, scratch.decoded);
    }
    if (slab.end < depth) continue;
    for (int64_t p = panel; p < end; p++)
      g.finish(g.epilogue, g.w[0].n, item.row0, item.rows, p, sums + (p - panel) * G * panel_stride, panel_stride);
  }
}

template <class W>
void run_item(const Product& g, const Blocking& b, const Item& item, const Scratch& scratch) {
  const Tiles tiles(item.rows);
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
  float* sums = scratch + b.block_rows * slab_stride(b);
  const Scratch s{scratch, sums, sums + sum_floats(b, b.slab_k < g.w[0].k, g.groups), loaded};
  switch (g.w[0].dtype) {
    case DType::bf16: return run_item<bf16>(g, b, item, s);
    case DType::f8e4m3: return run_item<f8e4m3>(g, b, item, s);
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
