#pragma once
// Attention inside packed sequences whose keys and values have been packed (flash.h), one region per sequence and head.
#include "ops/attention/flash.cpu.h"
#include "ops/attention/sequences.h"

namespace caracal::CARACAL_ISA {

// Where sequences of packed rows lie once each is padded to whole groups of sixteen keys.
class PackedSequences {
 public:
  PackedSequences(Cpu& cpu, const Tensor& cu_seqlens)
      : count_(cu_seqlens.shape[0] - 1),
        cu_(cu_seqlens.data<int32_t>()),
        tables_(cpu, static_cast<size_t>(2 * count_ + 2)) {
    first_group()[0] = first_tile()[0] = 0;
    for (int64_t s = 0; s < count_; s++) {
      first_group()[s + 1] = first_group()[s] + up_to_16(rows(s)) / 16;
      first_tile()[s + 1] = first_tile()[s] + (rows(s) + kQueryRows - 1) / kQueryRows;
    }
  }

  int64_t begin(int64_t s) const { return cu_[s]; }
  int64_t rows(int64_t s) const { return cu_[s + 1] - cu_[s]; }
  int64_t groups() const { return first_group()[count_]; }  // of sixteen keys
  int64_t tiles() const { return first_tile()[count_]; }    // of kQueryRows queries
  int64_t groups_before(int64_t s) const { return first_group()[s]; }
  int64_t tiles_before(int64_t s) const { return first_tile()[s]; }
  int64_t of_group(int64_t group) const { return find(first_group(), group); }
  int64_t of_tile(int64_t tile) const { return find(first_tile(), tile); }

 private:
  int64_t* first_group() const { return tables_.data(); }
  int64_t* first_tile() const { return tables_.data() + count_ + 1; }
  int64_t find(const int64_t* first, int64_t i) const {  // the sequence with first[s] <= i < first[s + 1]
    int64_t low = 0, high = count_;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (first[middle] <= i ? low : high) = middle;
    }
    return low;
  }

  int64_t count_;
  const int32_t* cu_;
  Cpu::Temporary<int64_t> tables_;
};

// Packed keys and values of every sequence and head.
class PackedKeys {
 public:
  PackedKeys(Cpu& cpu, const PackedSequences& sequences, int64_t heads, int64_t dim)
      : sequences_(sequences),
        heads_(heads),
        dim_(dim),
        padded_(up_to_16(dim)),
        keys_(cpu, static_cast<size_t>(sequences.groups() * 16 * heads * dim)),
        values_(cpu, static_cast<size_t>(sequences.groups() * 16 * heads * padded_)) {}

  float* keys(int64_t s, int64_t head) const { return keys_.data() + region(s, head) * dim_; }
  float* values(int64_t s, int64_t head) const { return values_.data() + region(s, head) * padded_; }
  int64_t value_panel_stride(int64_t s) const { return up_to_16(sequences_.rows(s)) * 16; }
  int64_t dim() const { return dim_; }
  int64_t heads() const { return heads_; }

  // Packs a group of sixteen keys from f32 rows [16][heads][dim].
  void pack_keys_of(int64_t group, const float* rows) const {
    const int64_t s = sequences_.of_group(group), key = 16 * (group - sequences_.groups_before(s));
    for (int64_t h = 0; h < heads_; h++) pack_keys(rows + h * dim_, heads_ * dim_, dim_, keys(s, h) + key * dim_);
  }

  // Packs the values of row `row` of sequence `s`.
  template <class T>
  void pack_values_of(int64_t s, int64_t row, const T* values_of_row) const {
    for (int64_t h = 0; h < heads_; h++)
      pack_value(values_of_row + h * dim_, dim_, value_panel_stride(s), values(s, h) + row * 16);
  }

 private:
  int64_t region(int64_t s, int64_t head) const {
    return 16 * (sequences_.groups_before(s) * heads_ + head * (up_to_16(sequences_.rows(s)) / 16));
  }

  const PackedSequences& sequences_;
  int64_t heads_, dim_, padded_;
  Cpu::Temporary<float> keys_, values_;
};

// out [T, heads * dim]. load_queries(row, rows, head, q) fills q [rows][dim], multiplied by scale * log2(e).
template <class T, class LoadQueries>
void attend_packed(Cpu& cpu, const PackedSequences& sequences, const PackedKeys& packed, bool causal, T* out,
                   LoadQueries&& load_queries) {
  const int64_t dim = packed.dim(), heads = packed.heads(), value_panels = up_to_16(dim) / 16;
  const int64_t own = query_state_floats(value_panels) + kQueryRows * dim;
  Cpu::Temporary<FlashScratch> scratch(cpu, static_cast<size_t>(cpu.workers()));
  Cpu::Temporary<float> states(cpu, static_cast<size_t>(own * cpu.workers()));
  cpu.parallel_for(sequences.tiles() * heads, [&](int64_t item, int worker) {
    const int64_t s = sequences.of_tile(item / heads);
    const int64_t tiles = sequences.tiles_before(s + 1) - sequences.tiles_before(s);
    const int64_t head = (item - sequences.tiles_before(s) * heads) / tiles;
    const int64_t first = (item - sequences.tiles_before(s) * heads) % tiles * kQueryRows;
    const int64_t n = sequences.rows(s), rows = n - first < kQueryRows ? n - first : kQueryRows;
    float* state = states.data() + own * worker;
    float* q = state + query_state_floats(value_panels);
    load_queries(sequences.begin(s) + first, rows, head, q);
    const QueryTile tile = query_tile(rows, dim, value_panels, q, state);
    start(tile);
    for (int64_t key = 0; key < n; key += kKeyBlock) {
      const int64_t count = n - key < kKeyBlock ? n - key : kKeyBlock;
      attend(tile,
             {.count = count,
              .k = packed.keys(s, head) + key * dim,
              .v = packed.values(s, head) + key * 16,
              .value_panel_stride = packed.value_panel_stride(s),
              .visible = causal ? first + 1 - key : count,
              .step = causal},
             scratch[static_cast<size_t>(worker)]);
    }
    finish(tile, dim, out + (sequences.begin(s) + first) * heads * dim + head * dim, heads * dim);
  });
}

}  // namespace caracal::CARACAL_ISA
