#pragma once
// Embeds the codes of speech-codec frames: y[t] = [semanticTable[s] | Σ_q tableA[q, ia] | Σ_q tableB[q, ib]] with
// s = semantic[t], ia = acoustic[t, q] / n, ib = acoustic[t, q] mod n. Sums are in f32, in order of q.
//   semantic i32 [T]    acoustic i32 [T, Q]    semanticTable [V, S], tableA [Q, n, A], tableB [Q, n, B] f32 | bf16
//   output [T, S+A+B] of the tables' dtype
// A code outside its table makes reading the output fail with INDEX_OUT_OF_RANGE.
#include "core/check.h"

namespace caracal {

inline Error codec_code_error(const char* argument, int64_t position, int64_t code, int64_t limit) {
  return index_error(
      "codecEmbedding", argument, position, code,
      std::string(argument) + " holds code " + std::to_string(code) + ", valid are 0 to " + std::to_string(limit - 1));
}

struct CodecEmbedding {
  static constexpr const char* kName = "codecEmbedding";
  Tensor semantic, acoustic, semantic_table, table_a, table_b;
  static constexpr auto kFields =
      std::tuple{field("semantic", &CodecEmbedding::semantic), field("acoustic", &CodecEmbedding::acoustic),
                 field("semanticTable", &CodecEmbedding::semantic_table), field("tableA", &CodecEmbedding::table_a),
                 field("tableB", &CodecEmbedding::table_b)};

  Outputs check() const {
    Checker c{kName};
    c.rank(semantic, "semantic", 1);
    c.dtype(semantic, "semantic", {DType::i32});
    c.rank(table_a, "tableA", 3);
    const int64_t frames = semantic.shape[0], books = table_a.shape[0], entries = table_a.shape[1];
    c.shape(acoustic, "acoustic", {frames, books});
    c.dtype(acoustic, "acoustic", {DType::i32});
    c.rank(semantic_table, "semanticTable", 2);
    c.activations(semantic_table, "semanticTable");
    c.dtype(table_a, "tableA", {semantic_table.dtype});
    c.shape(table_b, "tableB", {books, entries, -1});
    c.dtype(table_b, "tableB", {semantic_table.dtype});
    return {{semantic_table.dtype, {frames, semantic_table.shape[1] + table_a.shape[2] + table_b.shape[2]}}};
  }
};

}  // namespace caracal
