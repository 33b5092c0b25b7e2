#include "ops/audio/lstm.h"

#include <algorithm>

#include "cpu/gemm.h"
#include "cpu/gemm_kernel.h"
#include "cpu/weights.h"

namespace caracal::CARACAL_ISA {
namespace {

constexpr int64_t kGroupsPerItem = 4;

// The recurrent weight as four matrices [H, H], one per gate, each in whole panels.
class GatePanels {
 public:
  GatePanels(Cpu& cpu, const Tensor& w)
      : dtype_(w.dtype),
        hidden_(w.shape[1]),
        gate_bytes_(panels_bytes(hidden_, hidden_, w.dtype)),
        made_(cpu, w.packed() ? 0 : 4 * gate_bytes_) {
    data_ = w.packed() ? w.data<std::byte>() : made_.data();
    if (w.packed()) return;
    for (size_t gate = 0; gate < 4; gate++)
      pack_matrix(cpu, "lstm", dtype_, w.data<std::byte>() + gate * w.bytes() / 4, hidden_, hidden_,
                  made_.data() + gate * gate_bytes_);
  }

  // Computes h·wᵀ for the units [16·group, 16·group + 16) of at most kTileRows rows of h into sums [4 gates][rows][16].
  void product(int64_t group, const float* h, int rows, float* sums) const {
    if (dtype_ == DType::bf16)
      product<bf16>(group, h, rows, sums);
    else
      product<float>(group, h, rows, sums);
  }

 private:
  template <class W>
  void product(int64_t group, const float* h, int rows, float* sums) const {
    constexpr int64_t prefetch_bytes = 2048;
    Tile tile{};
    tile.a = h;
    tile.a_stride = hidden_;
    tile.k = hidden_;
    tile.chain = kShortChain;
    tile.c_panel_stride = rows * 16;
    tile.ahead_step = 64;
    for (int gate = 0, together = 0; gate < 4; gate += together) {
      together = std::min(4 - gate, panels_per_pass(rows));
      for (int p = 0; p < together; p++) {
        const std::byte* panels = data_ + static_cast<size_t>(gate + p) * gate_bytes_;
        tile.w[p] = panels + static_cast<size_t>(group) * panels_bytes(kPanelColumns, hidden_, dtype_);
        tile.ahead[p] = reinterpret_cast<const char*>(tile.w[p]) + prefetch_bytes;
      }
      tile.c = sums + gate * tile.c_panel_stride;
      run_tile<W>(tile, rows, together);
    }
  }

  DType dtype_;
  int64_t hidden_;
  size_t gate_bytes_;
  Temporary<std::byte> made_;
  const std::byte* data_;
};

// gates = x·wIhᵀ + bIh + bHh for every step.
template <class T>
void input_half(const Lstm& op, Cpu& cpu, float* gates) {
  const int64_t n = op.w_ih.shape[0];
  Temporary<float> bias(cpu, static_cast<size_t>(n));
  std::fill_n(bias.data(), n, 0.f);
  for (const auto* b : {&op.b_ih, &op.b_hh}) {
    if (!*b) continue;
    by_activation_type((*b)->dtype, [&](auto type) {
      const auto* p = (*b)->template data<typename decltype(type)::type>();
      for (int64_t i = 0; i < n; i++) bias[i] += to_float(p[i]);
    });
  }
  const WeightPanels w(cpu, op.w_ih);
  const LinearEpilogue<float> epilogue{.out = gates, .stride = n, .bias = {bias.data(), DType::f32}};
  run_gemm(cpu, make_gemm(op.x.shape[0], rows_of<T>(op.x), w, epilogue, kShortChain));
}

template <class T>
void run_typed(const Lstm& op, Tensor& out, Cpu& cpu) {
  const int64_t streams = op.streams(), steps = op.stream_rows(), hidden = op.w_hh.shape[1];
  const int64_t groups = divide_up(hidden, 16);
  if (steps == 0 || hidden == 0) return;
  Temporary<float> gates(cpu, static_cast<size_t>(streams * steps * 4 * hidden));
  input_half<T>(op, cpu, gates.data());
  const GatePanels w(cpu, op.w_hh);
  // h of all streams, before and after a step.
  Temporary<float> both(cpu, static_cast<size_t>(2 * streams * hidden));
  float *h = both.data(), *next = h + streams * hidden;
  for (int64_t i = 0; i < streams; i++) std::copy_n(op.h[i].template data<float>(), hidden, h + i * hidden);

  for (int64_t t = 0; t < steps; t++) {
    // Computes 16 units of some streams, from the i-th on.
    auto streams_step = [&](int64_t group, int64_t i, int rows) {
      const int64_t unit = group * 16;
      const int lanes = static_cast<int>(std::min<int64_t>(16, hidden - unit));
      alignas(64) float sums[4 * kTileRows * 16];
      w.product(group, h + i * hidden, rows, sums);
      for (int r = 0; r < rows; r++) {
        const int64_t row = (i + r) * steps + t;
        const float* input = gates.data() + row * 4 * hidden;
        auto gate = [&](int g) { return load16(sums + (g * rows + r) * 16) + load(input + g * hidden + unit, lanes); };
        float* c = op.c[i + r].template data<float>() + unit;
        const F32x16 cell = fma(sigmoid(gate(1)), load(c, lanes), sigmoid(gate(0)) * tanh(gate(2)));
        const F32x16 value = sigmoid(gate(3)) * tanh(cell);
        store(c, cell, lanes);
        store(next + (i + r) * hidden + unit, value, lanes);
        store(out.data<T>() + row * hidden + unit, value, lanes);
      }
    };
    auto group_step = [&](int64_t group) {
      for (int64_t i = 0; i < streams; i += kTileRows)
        streams_step(group, i, static_cast<int>(std::min<int64_t>(kTileRows, streams - i)));
    };
    // Every other step runs backwards, so that it starts with the weights that the last step left in the caches.
    cpu.parallel_for(divide_up(groups, kGroupsPerItem), [&](int64_t item, int) {
      for (int64_t i = item * kGroupsPerItem; i < std::min(groups, (item + 1) * kGroupsPerItem); i++)
        group_step(t % 2 == 0 ? i : groups - 1 - i);
    });
    std::swap(h, next);
  }
  for (int64_t i = 0; i < streams; i++) std::copy_n(h + i * hidden, hidden, op.h[i].template data<float>());
}

}  // namespace

void run(const Lstm& op, std::span<Tensor> out, Cpu& cpu) {
  by_activation_type(op.x.dtype, [&](auto type) { run_typed<typename decltype(type)::type>(op, out[0], cpu); });
}

}  // namespace caracal::CARACAL_ISA
