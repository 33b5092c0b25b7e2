// The engine of the matrix product.
//
// A work item is a block of rows by a range of panels. Its rows are copied once, widened to f32, into a slab that stays
// in L2 (rows that can be read in place and form a single tile are not copied); the panels stream past it, a chunk of k
// at a time that stays in L1. Items share nothing, so any schedule gives the same bits (gemm_kernel.h).
#include "cpu/gemm.h"

#include "cpu/gemm_kernel.h"

namespace caracal::CARACAL_ISA {
namespace {

// --- blocking -------------------------------------------------------------------------------------------------------

constexpr int64_t kChunkBytes = 16384;  // of a panel: half of L1
constexpr int64_t kBlockRows = 192 / kTileRows * kTileRows;
constexpr int64_t kSlabFloats = 48 * 1024;  // rows x k kept in L2
constexpr int64_t kSumFloats = 128 * 1024;  // unfinished sums of an item

// How a product is cut into items. Item i covers row block i % row_blocks of panel range i / row_blocks.
struct Blocking {
  int64_t block_rows, row_blocks;
  int64_t range_panels, ranges;
  int64_t slab_k;   // k per slab
  int64_t chunk_k;  // k per panel chunk

  CARACAL_INLINE int64_t items() const { return row_blocks * ranges; }
};

CARACAL_INLINE int64_t chunk_k(DType dtype, bool single_tile, int64_t k) {
  if (dtype == DType::f8e4m3) return single_tile ? kScaleBlock : 2 * kScaleBlock;
  return single_tile ? larger(k, 1) : kChunkBytes / (kPanelColumns * static_cast<int64_t>(dtype_bytes(dtype)));
}

// Cost of a block of rows per weight, in units of one row's arithmetic; few rows wait for memory instead.
CARACAL_INLINE int64_t block_cost(int64_t rows) { return larger(rows, 6); }

// An item should cost about `target` multiply-adds.
CARACAL_INLINE Blocking plan_gemm(const Product& g, int64_t target) {
  const int64_t m = g.m;
  const Panels& w = g.w[0];
  const int groups = g.groups;
  Blocking b;
  b.row_blocks = divide_up(m, kBlockRows);
  b.block_rows = b.row_blocks > 0 ? divide_up(divide_up(m, b.row_blocks), kTileRows) * kTileRows : 0;
  const int64_t rows = smaller(m, b.block_rows);
  const bool single_tile = rows <= kTileRows;
  b.chunk_k = g.chain ? g.chain : chunk_k(w.dtype, single_tile, w.k);
  b.slab_k = larger(w.k, 1);
  if (!single_tile && rows * w.k > kSlabFloats) {
    b.slab_k = smaller(w.k, larger(kSlabFloats / rows / b.chunk_k, 1) * b.chunk_k);
  }
  int64_t range = larger(target / larger(block_cost(rows) * w.k * kPanelColumns * groups, 1), kMaxPanels);
  if (b.slab_k < w.k) range = smaller(larger(range, 8), kSumFloats / (rows * kPanelColumns * groups));
  b.ranges = divide_up(w.count(), larger(range, 1));
  b.range_panels = b.ranges > 0 ? divide_up(w.count(), b.ranges) : 0;
  return b;
}

// A worker's scratch: slab, sums, and decoded f8e4m3 chunks.
struct Scratch {
  float* slab;
  float* sums;
  float* decoded;
  int64_t& loaded;  // the row block whose whole rows the slab holds; the next item often wants the same
};

CARACAL_INLINE int64_t slab_stride(const Blocking& b) {
  return divide_up(b.slab_k, 16) * 16 + 16;  // off the powers of two that share cache sets
}

CARACAL_INLINE int64_t sum_floats(const Blocking& b, bool all_panels, int groups) {
  return b.block_rows * kPanelColumns * groups * (all_panels ? b.range_panels : kMaxPanels);
}

CARACAL_INLINE size_t scratch_floats(const Blocking& b, const Panels& w, int groups) {
  return static_cast<size_t>(b.block_rows * slab_stride(b) + sum_floats(b, b.slab_k < w.k, groups) +
                             kMaxPanels * b.chunk_k * kPanelColumns);
}

// --- one item -------------------------------------------------------------------------------------------------------

// The rows of an item cut into tiles of nearly equal height: the first `taller` have one row more.
struct Tiles {
  int64_t count, height, taller;

  CARACAL_INLINE explicit Tiles(int64_t rows)
      : count(divide_up(rows, kTileRows)), height(rows / count), taller(rows % count) {}
  CARACAL_INLINE int rows(int64_t i) const { return static_cast<int>(height + (i < taller)); }
  CARACAL_INLINE int tallest() const { return rows(0); }
};

template <class W>
struct PanelPass {  // up to kMaxPanels panels that run through the tiles together
  const W* w[kMaxPanels];
  const float* scales[kMaxPanels];
  const W* after[kMaxPanels];  // the panels of the next pass
  int count = 0;
};

// The panels of a product's weights take turns: number v is panel v / groups of weight v % groups.
template <class W>
CARACAL_INLINE const W* panel_data(const Product& g, int64_t v) {
  const Panels& w = g.w[v % g.groups];
  return static_cast<const W*>(w.data) + v / g.groups * w.k * kPanelColumns;
}

// Panels [v, v + count), with more of them up to `last`.
template <class W>
CARACAL_INLINE PanelPass<W> make_pass(const Product& g, int64_t v, int count, int64_t last) {
  PanelPass<W> pass;
  pass.count = count;
  for (int p = 0; p < count; p++) {
    const int64_t panel = (v + p) / g.groups;
    const float* scales = g.w[(v + p) % g.groups].scales;
    pass.w[p] = panel_data<W>(g, v + p);
    pass.scales[p] = scales ? scales + panel * kPanelColumns / kScaleBlock * divide_up(g.w[0].k, kScaleBlock) : nullptr;
    pass.after[p] = panel_data<W>(g, smaller(v + p + count, last - 1));
  }
  return pass;
}

// f8e4m3 costs more to decode than to multiply: with several tiles a chunk is decoded once, into L1.
CARACAL_INLINE bool decode_first(const PanelPass<f8e4m3>& pass, const Tiles& tiles, int64_t k) {
  bool direct = tiles.count == 1;
  for (int p = 0; p < pass.count; p++) direct = direct && pass.scales[p][k / kScaleBlock] < kDirectScale;
  return !direct;
}

CARACAL_INLINE void decode_chunk(const f8e4m3* w, const float* scales, int64_t k, int64_t count, float* out) {
  for (int64_t i = 0; i < count; i++) {
    const F32x16 scale = set1(scales[(k + i) / kScaleBlock]);
    store16(out + i * kPanelColumns, decode(w + (k + i) * kPanelColumns, 1.f) * scale);
  }
}

// A stretch of k that a pass works through, and what it works on.
template <class W>
struct Chunk {
  int64_t k, count;
  const W* const* next;  // panels of the chunk that follows, which begins at next_k
  int64_t next_k;
  const float* a;  // the rows' element k
  int64_t a_stride;
  float* sums;
  int64_t panel_stride;
  bool chain;  // the chunk is a chain of its own
};

constexpr int64_t kPrefetchBytes = 2048;

// Runs the tiles over a chunk. Together they prefetch the panels' next chunk, each an equal share, so that memory and
// arithmetic overlap; a lone tile, which streams, prefetches a fixed distance ahead.
template <class W, class Stored>
CARACAL_INLINE void run_tiles(Tile<W>& tile, const PanelPass<Stored>& pass, const Tiles& tiles,
                              const Chunk<Stored>& chunk) {
  const bool streams = tiles.count == 1;
  tile.a_stride = chunk.a_stride;
  tile.k = chunk.count;
  tile.c_panel_stride = chunk.panel_stride;
  tile.resume = chunk.k > 0 && !chunk.chain;
  tile.add = chunk.k > 0 && chunk.chain;
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

// The rows' elements [k, k + count): in place where a single tile can, else copied into the slab. `block` names whole
// rows and is negative for a part of them.
const float* load_rows(const Product& g, int64_t row0, int64_t rows, int64_t k, int64_t count, int64_t block,
                       const Scratch& scratch, int64_t& stride) {
  const float* first = rows <= kTileRows ? g.direct(g.rows, row0) : nullptr;
  if (first) {
    const int64_t step = rows > 1 ? g.direct(g.rows, row0 + 1) - first : 0;
    bool even = true;
    for (int64_t r = 2; r < rows; r++) even = even && g.direct(g.rows, row0 + r) - first == r * step;
    if (even) {
      stride = step;
      return first + k;
    }
  }
  if (block >= 0 && scratch.loaded == block) return scratch.slab;
  for (int64_t r = 0; r < rows; r++) g.copy(g.rows, row0 + r, k, count, scratch.slab + r * stride);
  scratch.loaded = block;
  return scratch.slab;
}

template <class W>
void run_item(const Product& g, const Blocking& b, int64_t item, int64_t block, const Scratch& scratch) {
  const int G = g.groups;
  const int64_t row0 = item % b.row_blocks * b.block_rows;
  const int64_t rows = smaller(b.block_rows, g.m - row0);
  const int64_t first = item / b.row_blocks * b.range_panels;
  const int64_t last = smaller(first + b.range_panels, g.w[0].count());
  const int64_t depth = g.w[0].k;
  const Tiles tiles(rows);
  const int width = panels_per_pass(tiles.tallest());
  const int64_t panel_stride = rows * kPanelColumns;
  const bool keep = b.slab_k < depth;  // sums wait for the next slab
  int64_t k0 = 0;
  do {  // at least once: with K = 0 the sums are zero
    const int64_t slab_k = smaller(b.slab_k, depth - k0);
    int64_t stride = slab_stride(b);
    const float* a = load_rows(g, row0, rows, k0, slab_k, keep ? -1 : block, scratch, stride);
    const int64_t unit = larger(width / G, 1);
    for (int64_t panel = first; panel < last; panel += unit) {
      const int64_t end = smaller(panel + unit, last);
      float* sums = scratch.sums + (keep ? (panel - first) * G * panel_stride : 0);
      for (int64_t v = panel * G; v < end * G; v += width) {
        const auto pass = make_pass<W>(g, v, static_cast<int>(smaller(width, end * G - v)), last * G);
        float* pass_sums = sums + (v - panel * G) * panel_stride;
        int64_t k = k0;
        do {
          const int64_t count = smaller(b.chunk_k, k0 + slab_k - k);
          const bool more = k + count < k0 + slab_k;
          run_chunk(pass, tiles,
                    {k, count, more ? pass.w : pass.after, more ? k + count : k0, a + (k - k0), stride, pass_sums,
                     panel_stride, g.chain > 0},
                    scratch.decoded);
          k += count;
        } while (k < k0 + slab_k);
      }
      if (k0 + slab_k < depth) continue;
      for (int64_t p = panel; p < end; p++) {
        g.finish(g.epilogue, g.w[0].n, row0, rows, p, sums + (p - panel) * G * panel_stride, panel_stride);
      }
    }
    k0 += slab_k;
  } while (k0 < depth);
}

// `first_item` is the product's first among all items, so first_item + row block names the block.
void run_item(const Product& g, const Blocking& b, int64_t item, int64_t first_item, float* scratch, int64_t& loaded) {
  float* sums = scratch + b.block_rows * slab_stride(b);
  const Scratch s{scratch, sums, sums + sum_floats(b, b.slab_k < g.w[0].k, g.groups), loaded};
  const int64_t block = first_item + item % b.row_blocks;
  switch (g.w[0].dtype) {
    case DType::bf16: return run_item<bf16>(g, b, item, block, s);
    case DType::f8e4m3: return run_item<f8e4m3>(g, b, item, block, s);
    default: return run_item<float>(g, b, item, block, s);
  }
}

// --- whole products -------------------------------------------------------------------------------------------------

constexpr int64_t kItemsPerWorker = 6;
constexpr int64_t kLeastItem = 1 << 18;  // multiply-adds that outweigh handing an item out

}  // namespace

void run_products(Cpu& cpu, const Product* products, int64_t count) {
  Cpu::Temporary<Blocking> blockings(cpu, static_cast<size_t>(count));
  Cpu::Temporary<int64_t> starts(cpu, static_cast<size_t>(count) + 1);
  int64_t cost = 0;
  for (int64_t i = 0; i < count; i++) {
    const Product& g = products[i];
    if (g.m > 0) cost += block_cost(g.m) * g.w[0].k * g.w[0].n * g.groups;
  }
  const int64_t target = larger(cost / (cpu.workers() * kItemsPerWorker), kLeastItem);
  size_t scratch = 0;
  starts[0] = 0;
  for (int64_t i = 0; i < count; i++) {
    const Product& g = products[i];
    blockings[i] = plan_gemm(g, target);
    starts[i + 1] = starts[i] + blockings[i].items();
    const size_t floats = scratch_floats(blockings[i], g.w[0], g.groups);
    if (scratch < floats) scratch = floats;
  }
  Cpu::Temporary<int64_t> loaded(cpu, static_cast<size_t>(cpu.workers()));
  for (int i = 0; i < cpu.workers(); i++) loaded[i] = -1;
  cpu.parallel_for(starts[count], [&](int64_t item, int worker) {
    int64_t low = 0, high = count;  // the product whose items include this one
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (starts[middle] <= item ? low : high) = middle;
    }
    run_item(products[low], blockings[low], item - starts[low], starts[low], cpu.scratch(worker, scratch),
             loaded[worker]);
  });
}

}  // namespace caracal::CARACAL_ISA
