#include "ops/audio/codec_embedding.h"

#include <cstring>

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {
namespace {

void check_ids(const Tensor& ids, const char* name, int64_t limit) {
  const int32_t* p = ids.data<int32_t>();
  for (int64_t i = 0; i < ids.shape.elements(); i++)
    if (p[i] < 0 || p[i] >= limit) throw codec_code_error(name, i, p[i], limit);
}

// y = Σ_q table[q, id(q)]
template <class T, class Id>
void sum_rows(const Tensor& table, Id&& id, T* y) {
  const int64_t books = table.shape[0], entries = table.shape[1], columns = table.shape[2];
  auto row = [&](int64_t q) { return table.data<T>() + (q * entries + id(q)) * columns; };
  int64_t i = 0;
  for (; i + 16 <= columns; i += 16) {
    F32x16 sum = zero();
    for (int64_t q = 0; q < books; q++) sum += load16(row(q) + i);
    store16(y + i, sum);
  }
  for (; i < columns; i++) {
    float sum = 0;
    for (int64_t q = 0; q < books; q++) sum += to_float(row(q)[i]);
    y[i] = from_float<T>(sum);
  }
}

}  // namespace

void run(const CodecEmbedding& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t books = op.table_a.shape[0], entries = op.table_a.shape[1];
  const int64_t semantic_columns = op.semantic_table.shape[1], columns = out[0].shape[1];
  check_ids(op.semantic, "semantic", op.semantic_table.shape[0]);
  check_ids(op.acoustic, "acoustic", entries * entries);
  by_activation_type(op.semantic_table.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, out[0].shape[0], columns * (books + 1), [&](int64_t t) {
      T* y = out[0].data<T>() + t * columns;
      const int32_t* codes = op.acoustic.data<int32_t>() + t * books;
      if (semantic_columns > 0)
        memcpy(y, op.semantic_table.data<T>() + op.semantic.data<int32_t>()[t] * semantic_columns,
               static_cast<size_t>(semantic_columns) * sizeof(T));
      y += semantic_columns;
      sum_rows(op.table_a, [&](int64_t q) { return codes[q] / entries; }, y);
      sum_rows(op.table_b, [&](int64_t q) { return codes[q] % entries; }, y + op.table_a.shape[2]);
    });
  });
}

}  // namespace caracal::CARACAL_ISA
