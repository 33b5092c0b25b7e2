#include "ops/attention/mla_prefill.h"

#include <algorithm>

#include "cpu/weights.h"
#include "ops/attention/flash_tile.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

// The keys and values of all heads for one block of keys, in the panels of flash_tile.cpu.h.
struct ExpandedBlock {
  MlaSizes d;
  float* k;
  float* v;

  int64_t key_floats() const { return kKeyBlock * d.qk_dim(); }
  int64_t value_floats() const { return kKeyBlock * round_up(d.value, 16); }
  float* key(int64_t head, int64_t token, int64_t i) const {
    return k + head * key_floats() + (token / 16 * d.qk_dim() + i) * 16 + token % 16;
  }
  float* value(int64_t head, int64_t token, int64_t i) const {
    return v + head * value_floats() + (i / 16 * kKeyBlock + token) * 16 + i % 16;
  }
};

// The epilogue of the product W_kvb c: stores sixteen elements of one token.
struct StoreExpanded {
  ExpandedBlock to;

  CARACAL_INLINE void operator()(F32x16 sum, int64_t token, int64_t n, int count) const {
    const MlaSizes& d = to.d;
    const int64_t head = n / d.head_rows(), i = n % d.head_rows();
    if (i >= d.nope && (i - d.nope) % 16 == 0 && i + 16 <= d.head_rows())
      return store16(to.value(head, token, i - d.nope), sum);
    float lane[16];
    store16(lane, sum);
    if (i + 16 <= d.nope) {
      float* out = to.key(head, token, i);
      for (int j = 0; j < 16; j++) out[j * 16] = lane[j];
      return;
    }
    for (int j = 0; j < count; j++) {  // the sixteen elements cross a boundary between keys, values or heads
      const int64_t h = (n + j) / d.head_rows(), c = (n + j) % d.head_rows();
      *(c < d.nope ? to.key(h, token, c) : to.value(h, token, c - d.nope)) = lane[j];
    }
  }
};

// Copies the rotated part of sixteen keys, which all heads share, to the end of each head's panel.
template <class C>
void store_rotated(const ExpandedBlock& to, const C* cache, const int32_t* slots, int64_t group, int64_t tokens) {
  const MlaSizes& d = to.d;
  for (int64_t t = 16 * group; t < 16 * group + 16 && t < tokens; t++) {
    const C* row = cache + slots[t] * d.cache_width() + d.latent;
    for (int64_t i = 0; i < d.rope; i++) *to.key(0, t, d.nope + i) = to_float(row[i]);
  }
  const float* first = to.key(0, 16 * group, d.nope);
  for (int64_t h = 1; h < d.heads; h++)
    memcpy(to.key(h, 16 * group, d.nope), first, static_cast<size_t>(16 * d.rope) * sizeof(float));
}

// The queries of one sequence for all heads, and the state of their online softmax.
template <class T>
class Queries {
 public:
  Queries(Cpu& cpu, const MlaPrefill& op, int64_t begin, int64_t rows)
      : d_(mla_sizes(op)),
        q_(op.q.data<T>() + begin * d_.heads * d_.qk_dim()),
        rows_(rows),
        tiles_(divide_up(rows, kQueryRows)),
        state_floats_(query_state_floats(divide_up(d_.value, 16))),
        scale_(score_scale(op.scale, d_.qk_dim())),
        states_(cpu, static_cast<size_t>(items() * state_floats_)) {
    cpu.parallel_for(items(), [&](int64_t item, int) { start(tile(item, nullptr)); });
  }

  int64_t items() const { return tiles_ * d_.heads; }
  int64_t head(int64_t item) const { return item / tiles_; }
  int64_t first_row(int64_t item) const { return item % tiles_ * kQueryRows; }
  QueryTile tile(int64_t item, const float* q) const {
    return query_tile(std::min(kQueryRows, rows_ - first_row(item)), d_.qk_dim(), divide_up(d_.value, 16), q,
                      states_.data() + item * state_floats_);
  }
  void load(int64_t item, float* q) const {
    for (int64_t r = first_row(item); r < std::min(first_row(item) + kQueryRows, rows_); r++, q += d_.qk_dim())
      widen_scaled(q_ + (r * d_.heads + head(item)) * d_.qk_dim(), d_.qk_dim(), scale_, q);
  }
  void write(Cpu& cpu, T* out) const {
    cpu.parallel_for(items(), [&](int64_t item, int) {
      const int64_t stride = d_.heads * d_.value;
      finish(tile(item, nullptr), d_.value, out + first_row(item) * stride + head(item) * d_.value, stride);
    });
  }

 private:
  MlaSizes d_;
  const T* q_;
  int64_t rows_, tiles_, state_floats_;
  float scale_;
  Temporary<float> states_;
};

template <class T, class C>
class Prefill {
 public:
  Prefill(Cpu& cpu, const MlaPrefill& op)
      : cpu_(cpu),
        op_(op),
        d_(mla_sizes(op)),
        w_(cpu, op.w_kv_b),
        keys_(cpu, static_cast<size_t>(d_.heads * kKeyBlock * d_.qk_dim())),
        values_(cpu, static_cast<size_t>(d_.heads * kKeyBlock * round_up(d_.value, 16))),
        q_(cpu, static_cast<size_t>(kQueryRows * d_.qk_dim() * cpu.workers())),
        scratch_(cpu, static_cast<size_t>(cpu.workers())) {}

  // Rows [begin, begin + n) of q are the queries of the last n keys of sequence s.
  void run_sequence(const PagedSequences& paged, int64_t s, int64_t begin, int64_t n, T* out) {
    const Queries<T> queries(cpu_, op_, begin, n);
    for (int64_t key = 0; key < paged.length(s); key += kKeyBlock) {
      const int64_t count = std::min(kKeyBlock, paged.length(s) - key);
      for (int64_t i = 0; i < count; i++) slots_[i] = static_cast<int32_t>(paged.slot(s, key + i));
      expand(count);
      attend_block(queries, count, paged.length(s) - n + 1 - key);
    }
    queries.write(cpu_, out + begin * d_.heads * d_.value);
  }

 private:
  ExpandedBlock block() const { return {d_, keys_.data(), values_.data()}; }

  void expand(int64_t count) {
    const C* cache = op_.cache.data<C>();
    cpu_.parallel_for(divide_up(count, 16),
                      [&](int64_t group, int) { store_rotated(block(), cache, slots_, group, count); });
    run_gemm(cpu_, make_gemm(count, Rows<C>{cache, d_.cache_width(), slots_}, w_, StoreExpanded{block()}));
  }

  void attend_block(const Queries<T>& queries, int64_t count, int64_t visible) {
    cpu_.parallel_for(queries.items(), [&](int64_t item, int worker) {
      const int64_t head = queries.head(item);
      const KeyBlock keys{.count = count,
                          .k = block().key(head, 0, 0),
                          .v = block().value(head, 0, 0),
                          .value_panel_stride = kKeyBlock * 16,
                          .visible = visible + queries.first_row(item),
                          .step = 1};
      float* q = q_.data() + kQueryRows * d_.qk_dim() * worker;
      const QueryTile tile = queries.tile(item, q);
      if (keys.visible_to(tile.rows - 1) == 0) return;
      queries.load(item, q);
      attend(tile, keys, scratch_[static_cast<size_t>(worker)]);
    });
  }

  Cpu& cpu_;
  const MlaPrefill& op_;
  MlaSizes d_;
  WeightPanels w_;
  Temporary<float> keys_, values_, q_;
  Temporary<FlashScratch> scratch_;
  int32_t slots_[kKeyBlock];
};

void check_queries(const MlaPrefill& op, const PagedSequences& paged) {
  check_cu_seqlens(op.kName, op.cu_seqlens, op.q.shape[0]);
  const int32_t* cu = op.cu_seqlens.data<int32_t>();
  for (int64_t s = 0; s + 1 < op.cu_seqlens.shape[0]; s++)
    if (paged.length(s) < cu[s + 1] - cu[s]) throw queries_error(op.kName, s, paged.length(s), cu[s + 1] - cu[s]);
}

}  // namespace

void run(const MlaPrefill& op, std::span<Tensor> out, Cpu& cpu) {
  const PagedSequences paged(op.kName, op.cache, op.block_table, op.seq_lens);
  check_queries(op, paged);
  const int32_t* cu = op.cu_seqlens.data<int32_t>();
  by_activation_type(op.q.dtype, [&](auto q_type) {
    by_activation_type(op.cache.dtype, [&](auto cache_type) {
      using T = typename decltype(q_type)::type;
      Prefill<T, typename decltype(cache_type)::type> prefill(cpu, op);
      for (int64_t s = 0; s + 1 < op.cu_seqlens.shape[0]; s++)
        if (cu[s + 1] > cu[s]) prefill.run_sequence(paged, s, cu[s], cu[s + 1] - cu[s], out[0].data<T>());
    });
  });
}

}  // namespace caracal::CARACAL_ISA
