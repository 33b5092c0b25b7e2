#include "ops/attention/attention.h"

#include "ops/attention/flash.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

// `rows` [16][heads * dim] is scratch for the keys.
template <class T>
void pack_group(const Attention& op, const PackedSequences& sequences, const KeyValuePanels& panels, int64_t group,
                float* rows) {
  const int64_t width = op.q.shape[1] * op.q.shape[2];
  const int64_t s = sequences.sequence_of_group(group), first = 16 * (group - sequences.first_group_of(s));
  for (int64_t j = 0; j < 16; j++) {
    if (first + j >= sequences.rows(s)) {
      memset(rows + j * width, 0, static_cast<size_t>(width) * sizeof(float));
      continue;
    }
    const int64_t offset = (sequences.first_row(s) + first + j) * width;
    widen(op.k.data<T>() + offset, width, rows + j * width);
    panels.pack_value_row(s, first + j, op.v.data<T>() + offset);
  }
  panels.pack_key_group(group, rows);
}

}  // namespace

void run(const Attention& op, std::span<Tensor> out, Cpu& cpu) {
  check_cu_seqlens(Attention::kName, op.cu_seqlens, op.q.shape[0]);
  const int64_t heads = op.q.shape[1], dim = op.q.shape[2], width = heads * dim;
  const float scale = score_scale(op.scale, dim);
  by_activation_type(op.q.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const PackedSequences sequences(cpu, op.cu_seqlens);
    const KeyValuePanels panels(cpu, sequences, heads, dim);
    Temporary<float> rows(cpu, static_cast<size_t>(16 * width * cpu.workers()));
    cpu.parallel_for(sequences.groups(), [&](int64_t group, int worker) {
      pack_group<T>(op, sequences, panels, group, rows.data() + 16 * width * worker);
    });
    flash_attention(cpu, sequences, panels, op.causal, out[0].data<T>(),
                    [&](int64_t first, int64_t count, int64_t head, float* q) {
                      for (int64_t r = 0; r < count; r++)
                        widen_scaled(op.q.data<T>() + (first + r) * width + head * dim, dim, scale, q + r * dim);
                    });
  });
}

}  // namespace caracal::CARACAL_ISA
