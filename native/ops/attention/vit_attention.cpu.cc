#include "ops/attention/vit_attention.h"

#include "cpu/reduce.h"
#include "ops/attention/flash.cpu.h"
#include "ops/attention/rotation.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

// Rotates every head of one row: elements i and i + dim / 2 by angle i.
template <class T>
void rotate_halves(const T* in, int64_t heads, int64_t dim, const float* cosine, const float* sine, float* out) {
  const int64_t half = dim / 2;
  for (int64_t h = 0; h < heads; h++, in += dim, out += dim) {
    for (int64_t i = 0; i < half; i++) out[i] = to_float(in[i]) * cosine[i] - to_float(in[i + half]) * sine[i];
    for (int64_t i = 0; i < half; i++) out[i + half] = to_float(in[i + half]) * cosine[i] + to_float(in[i]) * sine[i];
  }
}

// x = scale * weight ⊙ x / sqrt(mean(x²) + eps)
template <class W>
void normalise(float* x, const W* weight, int64_t n, float eps, float scale) {
  F32x16 sum = zero();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) sum = fma(load16(x + i), load16(x + i), sum);
  if (i < n) {
    const F32x16 tail = load_partial(x + i, static_cast<int>(n - i));
    sum = fma(tail, tail, sum);
  }
  const float factor = scale / __builtin_sqrtf(hsum(sum) / static_cast<float>(n) + eps);
  for (i = 0; i < n; i++) x[i] = x[i] * factor * to_float(weight[i]);
}

// Rotates and normalises the q or the k of one row.
class Prologue {
 public:
  Prologue(Cpu& cpu, const VitAttention& op)
      : op_(op),
        width_(op.qkv.shape[1] / 3),
        dim_(width_ / op.heads),
        room_(round_up(dim_ / 4, 16)),
        frequencies_(cpu, static_cast<size_t>(dim_ / 4)),
        angles_(cpu, static_cast<size_t>(4 * room_ * cpu.workers())) {
    rotary_frequencies(op.theta, dim_ / 2, frequencies_.data());
  }

  // Computes the cosines and sines of one patch. rotation() writes whole groups of 16, so the column's part of A is
  // moved next to the row's part afterwards.
  void set_patch(int64_t row, int worker) const {
    float* cosine = angles_.data() + 4 * room_ * worker;
    float* sine = cosine + 2 * room_;
    const int32_t* position = op_.positions.data<int32_t>() + 2 * row;
    rotation(position[0], frequencies_.data(), dim_ / 4, cosine, sine);
    rotation(position[1], frequencies_.data(), dim_ / 4, cosine + room_, sine + room_);
    memmove(cosine + dim_ / 4, cosine + room_, static_cast<size_t>(dim_ / 4) * sizeof(float));
    memmove(sine + dim_ / 4, sine + room_, static_cast<size_t>(dim_ / 4) * sizeof(float));
  }

  template <class T>
  void operator()(const T* in, const Tensor& norm, float scale, int worker, float* out) const {
    const float* cosine = angles_.data() + 4 * room_ * worker;
    rotate_halves(in, op_.heads, dim_, cosine, cosine + 2 * room_, out);
    by_activation_type(norm.dtype, [&](auto type) {
      normalise(out, norm.data<typename decltype(type)::type>(), width_, static_cast<float>(op_.eps), scale);
    });
  }

 private:
  const VitAttention& op_;
  int64_t width_, dim_, room_;
  Temporary<double> frequencies_;
  Temporary<float> angles_;
};

template <class T>
void run_as(const VitAttention& op, T* out, Cpu& cpu) {
  const int64_t tokens = op.qkv.shape[0], width = op.qkv.shape[1] / 3, dim = width / op.heads;
  const float scale = score_scale({}, dim);
  const PackedSequences sequences(cpu, op.cu_seqlens);
  const KeyValuePanels panels(cpu, sequences, op.heads, dim);
  const Prologue prologue(cpu, op);
  Temporary<float> queries(cpu, static_cast<size_t>(tokens * width));
  Temporary<float> key_rows(cpu, static_cast<size_t>(16 * width * cpu.workers()));
  cpu.parallel_for(sequences.groups(), [&](int64_t group, int worker) {
    float* keys = key_rows.data() + 16 * width * worker;
    const int64_t s = sequences.sequence_of_group(group), first = 16 * (group - sequences.first_group_of(s));
    const int64_t remaining = sequences.rows(s) - first;
    for (int64_t j = 0; j < 16 && j < remaining; j++) {
      const int64_t row = sequences.first_row(s) + first + j;
      const T* in = op.qkv.data<T>() + row * 3 * width;
      prologue.set_patch(row, worker);
      prologue(in, op.q_norm, scale, worker, queries.data() + row * width);
      prologue(in + width, op.k_norm, 1, worker, keys + j * width);
      panels.pack_value_row(s, first + j, in + 2 * width);
    }
    if (remaining < 16)
      memset(keys + remaining * width, 0, static_cast<size_t>((16 - remaining) * width) * sizeof(float));
    panels.pack_key_group(group, keys);
  });
  flash_attention(cpu, sequences, panels, false, out, [&](int64_t first, int64_t rows, int64_t head, float* q) {
    for (int64_t r = 0; r < rows; r++)
      memcpy(q + r * dim, queries.data() + (first + r) * width + head * dim, static_cast<size_t>(dim) * sizeof(float));
  });
}

}  // namespace

void run(const VitAttention& op, std::span<Tensor> out, Cpu& cpu) {
  check_cu_seqlens(VitAttention::kName, op.cu_seqlens, op.qkv.shape[0]);
  by_activation_type(op.qkv.dtype, [&](auto type) { run_as(op, out[0].data<typename decltype(type)::type>(), cpu); });
}

}  // namespace caracal::CARACAL_ISA
