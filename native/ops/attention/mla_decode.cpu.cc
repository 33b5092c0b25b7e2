#include "ops/attention/mla_decode.h"

#include <algorithm>

#include "cpu/gemm_code.h"
#include "cpu/reduce.h"
#include "cpu/weights.h"
#include "ops/attention/flash_tile.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

// --- q̃ = Wkᵀ q_n ---------------------------------------------------------------------------------------------------

// The panels that contain rows [first, first + count) of W_kvb, preceded by `skip` other rows.
struct PanelRange {
  int64_t panel, panels, skip;

  PanelRange(int64_t first, int64_t count, int64_t unit = 1)
      : panel(first / (16 * unit) * unit), panels(divide_up(first + count, 16) - panel), skip(first - panel * 16) {}
};

// out[s][i][0] = Σ_n W[n, i] q[s][n] for S sequences; q [S][panels][16] is zero at rows of other heads, and out has sixteen
// columns.
template <int S, class W>
void absorb(const Panels& w, const PanelRange& range, const float* q, float* out, int64_t stride) {
  using C = Code<W>;
  const size_t panel_bytes = w.panel_bytes();
  const std::byte* first = w.data + static_cast<size_t>(range.panel) * panel_bytes;
  auto scale = [&](int64_t panel, int64_t i) {
    return w.scales[panel * 16 / kScaleBlock * divide_up(w.k, kScaleBlock) + i / kScaleBlock];
  };
  auto column = [&]<int I>(int64_t i) {
    F32x16 sum[S];
    for (int s = 0; s < S; s++) sum[s] = zero();
    for (int64_t p = 0; p < range.panels; p++) {
      const std::byte* step = first + static_cast<size_t>(p) * panel_bytes + i / C::kStep * C::kBytes;
      F32x16 weight = C::template weights<I>(step);
      if constexpr (C::kScaled) weight = weight * set1(0x1p120f) * set1(scale(range.panel + p, i));
      for (int s = 0; s < S; s++) sum[s] = fma(weight, load16(q + (s * range.panels + p) * 16), sum[s]);
    }
    for (int s = 0; s < S; s++) out[s * stride + i * 16] = hsum(sum[s]);
  };
  for (int64_t i = 0; i < w.k; i += C::kStep)
    each_of_step<W>([&]<int I>() {
      if (i + I < w.k) column.template operator()<I>(i + I);
    });
}

constexpr int kAbsorbed = 4;  // sequences per pass over the weights

// absorbed [B][panels of heads][R + P][16]
template <class T, class W>
void absorb_queries(Cpu& cpu, const MlaDecode& op, const Panels& w, float* absorbed) {
  const MlaSizes d = mla_sizes(op);
  const int64_t batch = op.q.shape[0], groups = divide_up(batch, kAbsorbed);
  const float scale = score_scale(op.scale, d.qk_dim());
  const int64_t lane_floats = kAbsorbed * (round_up(d.nope, 16) + 16);
  Temporary<float> lanes(cpu, static_cast<size_t>(lane_floats * cpu.workers()));
  cpu.parallel_for(d.heads * groups, [&](int64_t item, int worker) {
    const int64_t head = item / groups, first = item % groups * kAbsorbed;
    const int64_t count = std::min<int64_t>(kAbsorbed, batch - first), stride = round_up(d.heads, 16) * d.cache_width();
    const PanelRange range(head * d.head_rows(), d.nope);
    float* q = lanes.data() + lane_floats * worker;
    memset(q, 0, static_cast<size_t>(lane_floats) * sizeof(float));
    float* out = absorbed + first * stride + head / 16 * 16 * d.cache_width() + head % 16;
    for (int64_t s = 0; s < count; s++) {
      const T* in = op.q.data<T>() + ((first + s) * d.heads + head) * d.qk_dim();
      widen_scaled(in, d.nope, scale, q + s * range.panels * 16 + range.skip);
      for (int64_t i = 0; i < d.rope; i++) out[s * stride + (d.latent + i) * 16] = to_float(in[d.nope + i]) * scale;
    }
    if (count == kAbsorbed) return absorb<kAbsorbed, W>(w, range, q, out, stride);
    for (int64_t s = 0; s < count; s++) absorb<1, W>(w, range, q + s * range.panels * 16, out + s * stride, stride);
  });
}

// --- attention over the cache ---------------------------------------------------------------------------------------

// Sixteen heads are the columns of a panel, and keys are rows: a cache row is a tile's row for scores, and its elements are
// a tile's rows for values. Only queries and weights are panels, and neither keys nor values are transposed.

constexpr int64_t kStepKeys = round_up(64, kTileRows);  // keys at a time: rows, queries and outputs stay in L2
constexpr int64_t kSplitKeys = 8 * kStepKeys;           // keys per work item; fixed, so that threads do not affect bits
constexpr int64_t kScoreChunk = 320;                    // elements of a panel of queries that stay in L1
constexpr int64_t kGroupPanels = 4;                     // panels of heads per work item, at most

// The division of work: each sequence into splits of keys, the panels of heads into groups. Groups do not affect bits, so
// their size may depend on the number of threads.
struct Plan {
  int64_t batch, panels;
  int64_t group_panels, groups;
  Temporary<int64_t> first_split;  // [batch + 1]

  Plan(Cpu& cpu, const PagedSequences& paged, int64_t sequences, int64_t heads)
      : batch(sequences), panels(divide_up(heads, 16)), first_split(cpu, static_cast<size_t>(sequences + 1)) {
    first_split[0] = 0;
    for (int64_t s = 0; s < batch; s++) first_split[s + 1] = first_split[s] + divide_up(paged.length(s), kSplitKeys);
    const int64_t wanted = divide_up(2 * cpu.workers(), std::max<int64_t>(splits(), 1));
    group_panels = std::min(divide_up(panels, std::min(wanted, panels)), kGroupPanels);
    groups = divide_up(panels, group_panels);
  }
  int64_t splits() const { return first_split[static_cast<size_t>(batch)]; }
  int64_t splits_of(int64_t s) const { return first_split[s + 1] - first_split[s]; }
  int64_t sequence_of(int64_t split) const {
    int64_t s = 0;
    while (first_split[s + 1] <= split) s++;
    return s;
  }
};

// The online softmax of a panel of heads.
struct HeadState {
  float* max;
  float* sum;
  float* o;  // [latent][16], before the division by the sum

  static int64_t floats(const MlaSizes& d) { return 16 * (2 + d.latent); }
  explicit HeadState(float* state) : max(state), sum(state + 16), o(state + 32) {}
};

// A worker's buffers for a step.
struct Step {
  float* rows;    // [kStepKeys][stride]: cache rows as f32
  float* scores;  // [kGroupPanels][kStepKeys][16], then their weights

  static int64_t stride(const MlaSizes& d) { return round_up(d.cache_width(), 16) + 16; }  // no power of two
  static int64_t floats(const MlaSizes& d) { return kStepKeys * (stride(d) + kGroupPanels * 16); }
  Step(const MlaSizes& d, float* buffer) : rows(buffer), scores(buffer + kStepKeys * stride(d)) {}
};

// scores[p][key] = q[p] . row of the key. Meanwhile, the tiles prefetch `next_bytes` bytes of the next step's rows.
void compute_scores(const MlaSizes& d, const float* q, int64_t panels, const Step& step, int64_t count,
                    const std::byte* next, int64_t next_bytes) {
  const int64_t width = d.cache_width(), stride = Step::stride(d);
  const char* ahead = reinterpret_cast<const char*>(next);
  const int64_t ahead_step = divide_up(next_bytes, panels * width * divide_up(count, kTileRows));
  for (int64_t p = 0; p < panels; p++) {
    for (int64_t i = 0; i < width; i += kScoreChunk) {
      for (int64_t key = 0; key < count; key += kTileRows) {
        Tile tile{};
        tile.a = step.rows + key * stride + i;
        tile.a_stride = stride;
        tile.w[0] = reinterpret_cast<const std::byte*>(q + (p * width + i) * 16);
        tile.k = std::min(kScoreChunk, width - i);
        tile.resume = i > 0;
        tile.c = step.scores + (p * kStepKeys + key) * 16;
        tile.ahead[0] = ahead;
        tile.ahead_step = ahead_step;
        run_tile<float>(tile, static_cast<int>(std::min<int64_t>(kTileRows, count - key)), 1);
        ahead += tile.k * ahead_step;
      }
    }
  }
}

// Turns the scores of a panel into weights, and rescales its sums and outputs to the new maxima.
void rescale(const MlaSizes& d, const HeadState& t, float* scores, int64_t count) {
  const F32x16 old_max = load16(t.max);
  F32x16 new_max = old_max;
  for (int64_t key = 0; key < count; key++) new_max = max(new_max, load16(scores + key * 16));
  const F32x16 factor = power_of_two(old_max - new_max);
  F32x16 sum = load16(t.sum) * factor;
  for (int64_t key = 0; key < count; key++) {
    const F32x16 weight = power_of_two(load16(scores + key * 16) - new_max);
    store16(scores + key * 16, weight);
    sum += weight;
  }
  store16(t.max, new_max);
  store16(t.sum, sum);
  if (hsum(select(factor < set1(1), set1(1), zero())) == 0) return;
  for (int64_t i = 0; i < d.latent; i++) store16(t.o + i * 16, load16(t.o + i * 16) * factor);
}

// o[i][16 heads] += sum over keys of rows[key][i] * weights[key][16 heads], for R elements i.
template <int R>
void add_values(const float* rows, int64_t stride, const float* weights, int64_t count, float* o) {
  F32x16 sum[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) sum[r] = load16(o + r * 16);
  for (int64_t key = 0; key < count; key++, rows += stride) {
    const F32x16 weight = load16(weights + key * 16);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) accumulate(sum[r], set1(rows[r]), weight);
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) store16(o + r * 16, sum[r]);
}

template <int R = kTileRows>
void add_values(int n, const float* rows, int64_t stride, const float* weights, int64_t count, float* o) {
  if constexpr (R > 1)
    if (n < R) return add_values<R - 1>(n, rows, stride, weights, count, o);
  add_values<R>(rows, stride, weights, count, o);
}

// states [splits][groups][panels of a group]: the softmax of the heads over the keys of one split.
template <class C>
void attend_splits(Cpu& cpu, const MlaDecode& op, const PagedSequences& paged, const Plan& plan, const float* absorbed,
                   float* states) {
  const MlaSizes d = mla_sizes(op);
  const int64_t width = d.cache_width(), stride = Step::stride(d), state_floats = HeadState::floats(d);
  Temporary<float> steps(cpu, static_cast<size_t>(Step::floats(d) * cpu.workers()));
  cpu.parallel_for(plan.splits() * plan.groups, [&](int64_t item, int worker) {
    const int64_t split = item / plan.groups, s = plan.sequence_of(split);
    const int64_t panel = item % plan.groups * plan.group_panels;
    const int64_t panels = std::min(plan.group_panels, plan.panels - panel);
    const float* q = absorbed + (s * plan.panels + panel) * width * 16;
    float* state = states + (split * plan.panels + panel) * state_floats;
    for (int64_t p = 0; p < panels; p++) {
      memset(state + p * state_floats, 0, static_cast<size_t>(state_floats) * sizeof(float));
      store16(HeadState(state + p * state_floats).max, set1(-INFINITY));
    }
    const Step step(d, steps.data() + Step::floats(d) * worker);
    const int64_t first = (split - plan.first_split[s]) * kSplitKeys;
    const int64_t last = std::min(first + kSplitKeys, paged.length(s));
    const auto row = [&](int64_t key) { return op.cache.data<C>() + paged.slot(s, key) * width; };
    for (int64_t key = first; key < last; key += kStepKeys) {
      const int64_t count = std::min(kStepKeys, last - key), next = std::min(count, last - key - count);
      for (int64_t i = 0; i < count; i++) widen(row(key + i), width, step.rows + i * stride);
      // The rows of a sequence are taken to follow one another, which is so at least within a block.
      compute_scores(d, q, panels, step, count, reinterpret_cast<const std::byte*>(row(next > 0 ? key + count : key)),
                     next * width * static_cast<int64_t>(sizeof(C)));
      for (int64_t p = 0; p < panels; p++)
        rescale(d, HeadState(state + p * state_floats), step.scores + p * kStepKeys * 16, count);
      for (int64_t i = 0; i < d.latent; i += kTileRows) {
        const int n = static_cast<int>(std::min<int64_t>(kTileRows, d.latent - i));
        for (int64_t p = 0; p < panels; p++)
          add_values(n, step.rows + i, stride, step.scores + p * kStepKeys * 16, count,
                     HeadState(state + p * state_floats).o + i * 16);
      }
    }
  });
}

// Merges the splits of every sequence and head: latent [B][H][R rounded up to 16] = Σ p c, and the log of the sum of
// exponentials.
void merge_splits(Cpu& cpu, const MlaSizes& d, const Plan& plan, const float* states, float* latent, float* lse) {
  const int64_t state_floats = HeadState::floats(d), stride = round_up(d.latent, 16);
  Temporary<float> merged(cpu, static_cast<size_t>(state_floats * cpu.workers()));
  cpu.parallel_for(plan.batch * plan.panels, [&](int64_t item, int worker) {
    const int64_t s = item / plan.panels, panel = item % plan.panels;
    const int64_t heads = std::min<int64_t>(16, d.heads - panel * 16);
    const auto state = [&](int64_t split) {
      const int64_t index = (plan.first_split[s] + split) * plan.panels + panel;
      return HeadState(const_cast<float*>(states) + index * state_floats);
    };
    const HeadState total(merged.data() + state_floats * worker);
    F32x16 largest = set1(-INFINITY), sum = zero();
    for (int64_t i = 0; i < plan.splits_of(s); i++) largest = max(largest, load16(state(i).max));
    memset(total.o, 0, static_cast<size_t>(d.latent * 16) * sizeof(float));
    for (int64_t split = 0; split < plan.splits_of(s); split++) {
      const HeadState t = state(split);
      const F32x16 factor = power_of_two(load16(t.max) - largest);
      sum += load16(t.sum) * factor;
      for (int64_t i = 0; i < d.latent; i++)
        store16(total.o + i * 16, fma(load16(t.o + i * 16), factor, load16(total.o + i * 16)));
    }
    store16(total.max, largest);
    store16(total.sum, sum);
    for (int64_t j = 0; j < heads; j++) {
      const int64_t head = s * d.heads + panel * 16 + j;
      const float scale = total.sum[j] == 0 ? 0 : 1 / total.sum[j];
      float* out = latent + head * stride;
      for (int64_t i = 0; i < d.latent; i++) out[i] = total.o[i * 16 + j] * scale;
      std::fill(out + d.latent, out + stride, 0.f);
      lse[head] = static_cast<float>((total.max[j] + ::log2(static_cast<double>(total.sum[j]))) / kLog2E);
    }
  });
}

// --- o = Wv õ -------------------------------------------------------------------------------------------------------

template <class T>
struct StoreValues {
  T* out;
  int64_t stride, skip, dim;

  CARACAL_INLINE void operator()(F32x16 sum, int64_t m, int64_t n, int count) const {
    const int64_t i = n - skip;
    if (i >= 0 && i + 16 <= dim) return store16(out + m * stride + i, sum);
    T lane[16];
    store16(lane, sum);
    for (int j = 0; j < count; j++)
      if (i + j >= 0 && i + j < dim) out[m * stride + i + j] = lane[j];
  }
};

template <class T>
void make_values(Cpu& cpu, const MlaSizes& d, const Panels& w, int64_t batch, const float* latent, T* out) {
  const int64_t unit = w.dtype == DType::f8e4m3 ? kScaleBlock / 16 : 1;
  const int64_t stride = round_up(d.latent, 16);
  run_gemms(cpu, d.heads, [&](int64_t head) {
    const PanelRange range(head * d.head_rows() + d.nope, d.value, unit);
    Panels part = w;
    part.n = std::min(range.panels * 16, w.n - range.panel * 16);
    part.data = w.data + panels_bytes(range.panel * 16, w.k, w.dtype);
    if (w.scales) part.scales = w.scales + range.panel / unit * divide_up(w.k, kScaleBlock);
    return make_gemm(batch, Rows<float>{latent + head * stride, d.heads * stride}, part,
                     StoreValues<T>{out + head * d.value, d.heads * d.value, range.skip, d.value});
  });
}

template <class T>
void run_as(const MlaDecode& op, const PagedSequences& paged, std::span<Tensor> out, Cpu& cpu) {
  const MlaSizes d = mla_sizes(op);
  const int64_t batch = op.q.shape[0];
  const WeightPanels weight(cpu, op.w_kv_b);
  const Panels& w = weight;
  const Plan plan(cpu, paged, batch, d.heads);
  const size_t absorbed_floats = static_cast<size_t>(batch * plan.panels * 16 * d.cache_width());
  Temporary<float> absorbed(cpu, absorbed_floats);
  if (d.heads % 16 != 0)
    std::fill_n(absorbed.data(), absorbed_floats, 0.f);  // the last panel has columns without a head
  Temporary<float> latent(cpu, static_cast<size_t>(batch * d.heads * round_up(d.latent, 16)));
  Temporary<float> states(cpu, static_cast<size_t>(plan.splits() * plan.panels * HeadState::floats(d)));
  if (w.dtype == DType::f8e4m3)
    absorb_queries<T, f8e4m3>(cpu, op, w, absorbed.data());
  else if (w.dtype == DType::bf16)
    absorb_queries<T, bf16>(cpu, op, w, absorbed.data());
  else
    absorb_queries<T, float>(cpu, op, w, absorbed.data());
  by_activation_type(op.cache.dtype, [&](auto type) {
    attend_splits<typename decltype(type)::type>(cpu, op, paged, plan, absorbed.data(), states.data());
  });
  merge_splits(cpu, d, plan, states.data(), latent.data(), out[1].data<float>());
  make_values(cpu, d, w, batch, latent.data(), out[0].data<T>());
}

}  // namespace

void run(const MlaDecode& op, std::span<Tensor> out, Cpu& cpu) {
  const PagedSequences paged(op.kName, op.cache, op.block_table, op.seq_lens);
  by_activation_type(op.q.dtype, [&](auto type) { run_as<typename decltype(type)::type>(op, paged, out, cpu); });
}

}  // namespace caracal::CARACAL_ISA
