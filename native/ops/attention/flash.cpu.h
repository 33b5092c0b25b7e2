#pragma once
// FlashAttention on the CPU over packed sequences. Keys and values are packed into panels first (flash_tile.cpu.h), in
// a region for each sequence and head.
#include "ops/attention/cu_seqlens.h"
#include "ops/attention/flash_tile.cpu.h"

namespace caracal::CARACAL_ISA {

// The sequences of cuSeqlens, cut into groups of sixteen keys and into tiles of kQueryRows queries. Neither crosses the
// end of a sequence.
class PackedSequences {
 public:
  PackedSequences(Cpu& cpu, const Tensor& cu_seqlens)
      : count_(cu_seqlens.shape[0] - 1),
        cu_seqlens_(cu_seqlens.data<int32_t>()),
        tables_(cpu, static_cast<size_t>(2 * count_ + 2)) {
    first_group()[0] = first_tile()[0] = 0;
    for (int64_t s = 0; s < count_; s++) {
      first_group()[s + 1] = first_group()[s] + divide_up(rows(s), 16);
      first_tile()[s + 1] = first_tile()[s] + divide_up(rows(s), kQueryRows);
    }
  }

  int64_t first_row(int64_t s) const { return cu_seqlens_[s]; }
  int64_t rows(int64_t s) const { return cu_seqlens_[s + 1] - cu_seqlens_[s]; }
  int64_t groups() const { return first_group()[count_]; }
  int64_t tiles() const { return first_tile()[count_]; }
  int64_t first_group_of(int64_t s) const { return first_group()[s]; }
  int64_t first_tile_of(int64_t s) const { return first_tile()[s]; }
  int64_t sequence_of_group(int64_t group) const { return find(first_group(), group); }
  int64_t sequence_of_tile(int64_t tile) const { return find(first_tile(), tile); }

 private:
  int64_t* first_group() const { return tables_.data(); }
  int64_t* first_tile() const { return tables_.data() + count_ + 1; }
  // The sequence with first[s] <= i < first[s + 1].
  int64_t find(const int64_t* first, int64_t i) const {
    int64_t low = 0, high = count_;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (first[middle] <= i ? low : high) = middle;
    }
    return low;
  }

  int64_t count_;
  const int32_t* cu_seqlens_;
  Temporary<int64_t> tables_;
};

// The panels of keys and values of every sequence and head.
class KeyValuePanels {
 public:
  KeyValuePanels(Cpu& cpu, const PackedSequences& sequences, int64_t heads, int64_t dim)
      : sequences_(sequences),
        heads_(heads),
        dim_(dim),
        padded_dim_(round_up(dim, 16)),
        keys_(cpu, static_cast<size_t>(sequences.groups() * 16 * heads * dim)),
        values_(cpu, static_cast<size_t>(sequences.groups() * 16 * heads * padded_dim_)) {}

  float* keys(int64_t s, int64_t head) const { return keys_.data() + first_row(s, head) * dim_; }
  float* values(int64_t s, int64_t head) const { return values_.data() + first_row(s, head) * padded_dim_; }
  int64_t value_panel_stride(int64_t s) const { return round_up(sequences_.rows(s), 16) * 16; }
  int64_t dim() const { return dim_; }
  int64_t heads() const { return heads_; }

  // Packs a group of sixteen keys from f32 rows [16][heads][dim].
  void pack_key_group(int64_t group, const float* rows) const {
    const int64_t s = sequences_.sequence_of_group(group), key = 16 * (group - sequences_.first_group_of(s));
    for (int64_t h = 0; h < heads_; h++) pack_keys(rows + h * dim_, heads_ * dim_, dim_, keys(s, h) + key * dim_);
  }

  // Packs the values [heads][dim] of row `row` of sequence s.
  template <class T>
  void pack_value_row(int64_t s, int64_t row, const T* v) const {
    for (int64_t h = 0; h < heads_; h++) pack_value(v + h * dim_, dim_, value_panel_stride(s), values(s, h) + row * 16);
  }

 private:
  // Rows of panels that come before the region of a sequence and head.
  int64_t first_row(int64_t s, int64_t head) const {
    return 16 * (sequences_.first_group_of(s) * heads_ + head * divide_up(sequences_.rows(s), 16));
  }

  const PackedSequences& sequences_;
  int64_t heads_, dim_, padded_dim_;
  Temporary<float> keys_, values_;
};

// out [T, heads * dim]. load_queries(row, rows, head, q) fills q [rows][dim], multiplied by score_scale().
template <class T, class LoadQueries>
void flash_attention(Cpu& cpu, const PackedSequences& sequences, const KeyValuePanels& panels, bool causal, T* out,
                     LoadQueries&& load_queries) {
  const int64_t dim = panels.dim(), heads = panels.heads(), value_panels = divide_up(dim, 16);
  const int64_t worker_floats = query_state_floats(value_panels) + kQueryRows * dim;
  Temporary<FlashScratch> scratch(cpu, static_cast<size_t>(cpu.workers()));
  Temporary<float> states(cpu, static_cast<size_t>(worker_floats * cpu.workers()));
  cpu.parallel_for(sequences.tiles() * heads, [&](int64_t item, int worker) {
    const int64_t s = sequences.sequence_of_tile(item / heads), first_tile = sequences.first_tile_of(s);
    const int64_t tiles = sequences.first_tile_of(s + 1) - first_tile, index = item - first_tile * heads;
    const int64_t head = index / tiles, first = index % tiles * kQueryRows;
    const int64_t n = sequences.rows(s), rows = n - first < kQueryRows ? n - first : kQueryRows;
    float* state = states.data() + worker_floats * worker;
    float* q = state + query_state_floats(value_panels);
    load_queries(sequences.first_row(s) + first, rows, head, q);
    const QueryTile tile = query_tile(rows, dim, value_panels, q, state);
    start(tile);
    for (int64_t key = 0; key < n; key += kKeyBlock) {
      const int64_t count = n - key < kKeyBlock ? n - key : kKeyBlock;
      attend(tile,
             {.count = count,
              .k = panels.keys(s, head) + key * dim,
              .v = panels.values(s, head) + key * 16,
              .value_panel_stride = panels.value_panel_stride(s),
              .visible = causal ? first + 1 - key : count,
              .step = causal},
             scratch[static_cast<size_t>(worker)]);
    }
    finish(tile, dim, out + (sequences.first_row(s) + first) * heads * dim + head * dim, heads * dim);
  });
}

}  // namespace caracal::CARACAL_ISA
