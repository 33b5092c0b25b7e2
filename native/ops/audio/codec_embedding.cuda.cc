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
    return f.argument == kSemanticFault ? codec_code_error("semantic", f.position, f.value, vocabulary)
                                        : codec_code_error("acoustic", f.position, f.value, entries * entries);
  });
  const DType dtype = out[0].dtype;
  const int64_t vector = 16 / int64_t(dtype_bytes(dtype));
  const bool aligned = vectorizable(tables.semantic_columns, {tables.semantic, address(out[0])}, vector) &&
                       vectorizable(tables.a_columns, {tables.a}, vector) &&
                       vectorizable(tables.b_columns, {tables.b}, vector);
  const int64_t items = out[0].shape[1] / (aligned ? vector : 1);
  const auto threads = unsigned(std::clamp<int64_t>(round_up(items, 32), 32, 512));
  cuda.launch(entry_of(kCodecEmbedding, dtype), {{unsigned(frames)}, threads}, op.semantic.data<int>(),
              op.acoustic.data<int>(), tables, address(out[0]), aligned, fault);
}

}  // namespace caracal::cuda
