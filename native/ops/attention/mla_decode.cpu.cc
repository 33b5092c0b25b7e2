#include "ops/attention/mla_decode.h"

#include <algorithm>

#include "cpu/gemm_code.h"
#include "cpu/reduce.h"
#include "cpu/weights.h"
#include "ops/attention/flash_tile.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

constexpr int64_t kSplitKeys = 512;  // keys of one sequence per work item; fixed, so that threads do not affect bits
constexpr int64_t kStepKeys = 64;    // keys unpacked at a time: keys and values of a step stay in L2
constexpr int64_t kValueStride = kStepKeys * 16 + 16;  // a power of two would map panels to few sets of L1

// --- q̃ = Wkᵀ q_n ---------------------------------------------------------------------------------------------------

// The panels that contain rows [first, first + count) of W_kvb, preceded by `skip` other rows.
struct PanelRange {
  int64_t panel, panels, skip;

  PanelRange(int64_t first, int64_t count, int64_t unit = 1)
      : panel(first / (16 * unit) * unit), panels(divide_up(first + count, 16) - panel), skip(first - panel * 16) {}
};

// out[s][i] = Σ_n W[n, i] q[s][n] for S sequences; q [S][panels][16] is zero at rows of other heads.
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
    for (int s = 0; s < S; s++) out[s * stride + i] = hsum(sum[s]);
  };
  for (int64_t i = 0; i < w.k; i += C::kStep)
    each_of_step<W>([&]<int I>() {
      if (i + I < w.k) column.template operator()<I>(i + I);
    });
}

constexpr int kAbsorbed = 4;  // sequences per pass over the weights

template <class T, class W>
void absorb_queries(Cpu& cpu, const MlaDecode& op, const Panels& w, float* absorbed) {
  const MlaSizes d = mla_sizes(op);
  const int64_t batch = op.q.shape[0], groups = divide_up(batch, kAbsorbed);
  const float scale = score_scale(op.scale, d.qk_dim());
  const int64_t lane_floats = kAbsorbed * (round_up(d.nope, 16) + 16);
  Temporary<float> lanes(cpu, static_cast<size_t>(lane_floats * cpu.workers()));
  cpu.parallel_for(d.heads * groups, [&](int64_t item, int worker) {
    const int64_t head = item / groups, first = item % groups * kAbsorbed;
    const int64_t count = std::min<int64_t>(kAbsorbed, batch - first), stride = d.heads * d.cache_width();
    const PanelRange range(head * d.head_rows(), d.nope);
    float* q = lanes.data() + lane_floats * worker;
    memset(q, 0, static_cast<size_t>(lane_floats) * sizeof(float));
    float* out = absorbed + first * stride + head * d.cache_width();
    for (int64_t s = 0; s < count; s++) {
      const T* in = op.q.data<T>() + ((first + s) * d.heads + head) * d.qk_dim();
      widen_scaled(in, d.nope, scale, q + s * range.panels * 16 + range.skip);
      widen_scaled(in + d.nope, d.rope, scale, out + s * stride + d.latent);
    }
    if (count == kAbsorbed) return absorb<kAbsorbed, W>(w, range, q, out, stride);
    for (int64_t s = 0; s < count; s++) absorb<1, W>(w, range, q + s * range.panels * 16, out + s * stride, stride);
  });
}

// --- attention over the cache ---------------------------------------------------------------------------------------

// The division of work: each sequence into splits of keys, the heads into groups. Groups do not affect bits, so their
// size may depend on the number of threads.
struct Plan {
  int64_t batch;
  int64_t group_heads, groups;
  Temporary<int64_t> first_split;  // [batch + 1]

  Plan(Cpu& cpu, const PagedSequences& paged, int64_t sequences, int64_t heads)
      : batch(sequences), first_split(cpu, static_cast<size_t>(sequences + 1)) {
    first_split[0] = 0;
    for (int64_t s = 0; s < batch; s++) first_split[s + 1] = first_split[s] + divide_up(paged.length(s), kSplitKeys);
    const int64_t wanted = divide_up(2 * cpu.workers(), std::max<int64_t>(splits(), 1));
    const int64_t min_groups = divide_up(heads, kQueryRows), max_groups = std::max(heads / (2 * kTileRows), min_groups);
    const int64_t even = divide_up(heads, std::min(std::max(wanted, min_groups), max_groups));
    group_heads = std::min(round_up(even, kTileRows), kQueryRows);
    groups = divide_up(heads, group_heads);
  }
  int64_t splits() const { return first_split[static_cast<size_t>(batch)]; }
  int64_t splits_of(int64_t s) const { return first_split[s + 1] - first_split[s]; }
  int64_t sequence_of(int64_t split) const {
    int64_t s = 0;
    while (first_split[s + 1] <= split) s++;
    return s;
  }
};

// One step's keys and values in a worker's buffer.
struct Step {
  float* rows;    // [16][width]
  float* keys;    // [kStepKeys / 16][width][16]
  float* values;  // [latent / 16][kValueStride]

  static int64_t floats(const MlaSizes& d) {
    return (16 + kStepKeys) * round_up(d.cache_width(), 16) + divide_up(d.latent, 16) * kValueStride;
  }
  Step(const MlaSizes& d, float* buffer)
      : rows(buffer),
        keys(buffer + 16 * round_up(d.cache_width(), 16)),
        values(keys + kStepKeys * round_up(d.cache_width(), 16)) {}
};

template <class C>
void unpack(const PagedSequences& paged, const C* cache, const MlaSizes& d, int64_t s, int64_t key, int64_t count,
            const Step& to) {
  const int64_t width = d.cache_width();
  for (int64_t group = 0; group < count; group += 16) {
    for (int64_t j = 0; j < 16; j++) {
      float* row = to.rows + j * width;
      if (group + j >= count) {
        memset(row, 0, static_cast<size_t>(width) * sizeof(float));
        continue;
      }
      widen(cache + paged.slot(s, key + group + j) * width, width, row);
      pack_value(row, d.latent, kValueStride, to.values + (group + j) * 16);
    }
    pack_keys(to.rows, width, width, to.keys + group * width);
  }
}

// states [splits][groups]: the softmax state of each head over the keys of one split.
template <class C>
void attend_splits(Cpu& cpu, const MlaDecode& op, const PagedSequences& paged, const Plan& plan, const float* absorbed,
                   float* states) {
  const MlaSizes d = mla_sizes(op);
  const int64_t panels = divide_up(d.latent, 16), step_floats = Step::floats(d);
  Temporary<FlashScratch> scratch(cpu, static_cast<size_t>(cpu.workers()));
  Temporary<float> steps(cpu, static_cast<size_t>(step_floats * cpu.workers()));
  cpu.parallel_for(plan.splits() * plan.groups, [&](int64_t item, int worker) {
    const int64_t split = item / plan.groups, s = plan.sequence_of(split);
    const int64_t head = item % plan.groups * plan.group_heads;
    const float* q = absorbed + (s * d.heads + head) * d.cache_width();
    const QueryTile tile = query_tile(std::min(plan.group_heads, d.heads - head), d.cache_width(), panels, q,
                                      states + item * query_state_floats(panels));
    const Step step(d, steps.data() + step_floats * worker);
    const int64_t first = (split - plan.first_split[s]) * kSplitKeys;
    const int64_t last = std::min(first + kSplitKeys, paged.length(s));
    start(tile);
    for (int64_t key = first; key < last; key += kStepKeys) {
      const int64_t count = std::min(kStepKeys, last - key);
      unpack(paged, op.cache.data<C>(), d, s, key, count, step);
      attend(tile,
             {.count = count,
              .k = step.keys,
              .v = step.values,
              .value_panel_stride = kValueStride,
              .visible = count,
              .step = 0},
             scratch[static_cast<size_t>(worker)]);
    }
  });
}

// Merges the splits of every sequence and head: latent [B][H][R rounded up to 16] = Σ p c, and the log of the sum of
// exponentials.
void merge_splits(Cpu& cpu, const MlaSizes& d, const Plan& plan, const float* states, float* latent, float* lse) {
  const int64_t panels = divide_up(d.latent, 16), state_floats = query_state_floats(panels);
  cpu.parallel_for(plan.batch * d.heads, [&](int64_t item, int) {
    const int64_t s = item / d.heads, head = item % d.heads, row = head % plan.group_heads;
    auto state = [&](int64_t split) {
      const int64_t index = (plan.first_split[s] + split) * plan.groups + head / plan.group_heads;
      return query_tile(0, 0, panels, nullptr, const_cast<float*>(states) + index * state_floats);
    };
    float max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < plan.splits_of(s); i++) max = state(i).max[row] > max ? state(i).max[row] : max;
    float* out = latent + item * panels * 16;
    memset(out, 0, static_cast<size_t>(panels * 16) * sizeof(float));
    for (int64_t i = 0; i < plan.splits_of(s); i++) {
      const QueryTile t = state(i);
      const float factor = power_of_two(t.max[row] - max);
      sum += t.sum[row] * factor;
      for (int64_t p = 0; p < panels; p++)
        store16(out + p * 16, fma(load16(t.o + (p * kQueryRows + row) * 16), set1(factor), load16(out + p * 16)));
    }
    for (int64_t p = 0; p < panels && sum != 0; p++) store16(out + p * 16, load16(out + p * 16) * set1(1 / sum));
    lse[item] = static_cast<float>((max + ::log2(static_cast<double>(sum))) / kLog2E);
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
  Temporary<float> absorbed(cpu, static_cast<size_t>(batch * d.heads * d.cache_width()));
  Temporary<float> latent(cpu, static_cast<size_t>(batch * d.heads * round_up(d.latent, 16)));
  Temporary<float> states(
      cpu, static_cast<size_t>(plan.splits() * plan.groups * query_state_floats(divide_up(d.latent, 16))));
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
