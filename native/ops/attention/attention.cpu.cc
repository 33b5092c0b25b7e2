#include "ops/attention/attention.h"

#include "ops/attention/packed_attention.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

template <class T>
void pack_group(const Attention& op, const PackedSequences& sequences, const PackedKeys& packed, int64_t group,
                float* rows) {
  const int64_t width = op.q.shape[1] * op.q.shape[2];
  const int64_t s = sequences.of_group(group), first = 16 * (group - sequences.groups_before(s));
  for (int64_t j = 0; j < 16; j++) {
    if (first + j >= sequences.rows(s)) {
      memset(rows + j * width, 0, static_cast<size_t>(width) * sizeof(float));
      continue;
    }
    const int64_t offset = (sequences.begin(s) + first + j) * width;
    widen(op.k.data<T>() + offset, width, rows + j * width);
    packed.pack_values_of(s, first + j, op.v.data<T>() + offset);
  }
  packed.pack_keys_of(group, rows);
}

}  // namespace

void run(const Attention& op, std::span<Tensor> out, Cpu& cpu) {
  check_sequences(Attention::kName, op.cu_seqlens, op.q.shape[0]);
  const int64_t heads = op.q.shape[1], dim = op.q.shape[2], width = heads * dim;
  const float scale = static_cast<float>(kLog2E * op.scale.value_or(1 / ::sqrt(static_cast<double>(dim))));
  by_activation_type(op.q.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const PackedSequences sequences(cpu, op.cu_seqlens);
    const PackedKeys packed(cpu, sequences, heads, dim);
    Cpu::Temporary<float> rows(cpu, static_cast<size_t>(16 * width * cpu.workers()));
    cpu.parallel_for(sequences.groups(), [&](int64_t group, int worker) {
      pack_group<T>(op, sequences, packed, group, rows.data() + 16 * width * worker);
    });
    attend_packed(cpu, sequences, packed, op.causal, out[0].data<T>(),
                  [&](int64_t first, int64_t count, int64_t head, float* q) {
                    for (int64_t r = 0; r < count; r++)
                      widen_scaled(op.q.data<T>() + (first + r) * width + head * dim, dim, scale, q + r * dim);
                  });
  });
}

}  // namespace caracal::CARACAL_ISA
