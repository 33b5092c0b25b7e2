#include "ops/audio/codec_embedding.h"

#include "cuda/implement.h"
#include "ops/audio/codec_embedding.kernels.h"

namespace caracal::cuda {

void run(const CodecEmbedding& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t books = op.table_a.shape[0], entries = op.table_a.shape[1], frames = out[0].shape[0];
  const int64_t vocabulary = op.semantic_table.shape[0];
  const CodecTables<void> tables{address(op.semantic_table),
                                 address(op.table_a),
                                 address(op.table_b),
                                 int(vocabulary),
                                 int(entries),
                                 int(books),
                                 int(op.semantic_table.shape[1]),
                                 int(op.table_a.shape[2]),
                                 int(op.table_b.shape[2])};
  Fault* fault = cuda.fault([vocabulary, entries](const Fault& f) {
    return f.argument == 0 ? codec_code_error("semantic", f.value, vocabulary)
                           : codec_code_error("acoustic", f.value, entries * entries);
  });
  const DType dtype = out[0].dtype;
  const auto whole = [&](int64_t columns) { return vector_elements(dtype, columns, {}) > 1; };
  const bool aligned = whole(tables.semantic_columns) && whole(tables.a_columns) && whole(tables.b_columns) &&
                       vectors(0, {tables.semantic, tables.a, tables.b, address(out[0])});
  const int64_t columns = out[0].shape[1], items = columns / (aligned ? vector_elements(dtype, columns, {}) : 1);
  const auto threads = static_cast<unsigned>(std::clamp<int64_t>((items + 31) / 32 * 32, 32, 512));
  cuda.launch(entry_of(kCodecEmbedding, dtype), {{unsigned(frames)}, threads}, op.semantic.data<int>(),
              op.acoustic.data<int>(), tables, address(out[0]), aligned, fault);
}

}  // namespace caracal::cuda
