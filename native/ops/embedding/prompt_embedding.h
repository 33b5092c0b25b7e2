#pragma once
// The input rows of the language model. Each position has a text id and Q codec ids; an id equal to padId is absent.
//   y[t] = textTable[text] + Σ_k codecTables[k][codec_k]        over the ids that are present
//   y[t] = textTable[padId]                                     if none is present (zeros for a negative padId)
//   y[t] = next row of audioRows / visionRows                   if text is audioPadId / imagePadId
// Sums are in f32 and rounded once. As published, audio rows replace sums, and vision rows replace both.
//   textTable [V, C], codecTables Q x [V_k, C] f32 | bf16, of one dtype
//   textIds [T] i32      codecIds [T, Q] i32      audioRows [Na, C], visionRows [Nv, C] f32 | bf16
//   y  [T, C] of outDtype (default the tables')
// Raised when the operation runs: INDEX_OUT_OF_RANGE for an id outside its table, SHAPE_MISMATCH for more or fewer
// media rows than their pad ids in textIds.
#include "core/check.h"

namespace caracal {

struct PromptEmbedding {
  static constexpr const char* kName = "promptEmbedding";
  static constexpr int kMaxBooks = 32;
  Tensor text_table, text_ids, codec_ids;
  std::vector<Tensor> codec_tables;
  std::optional<Tensor> audio_rows, vision_rows;
  std::optional<int64_t> audio_pad_id, image_pad_id;
  int64_t pad_id = 3;
  std::optional<DType> out_dtype;
  static constexpr auto kFields = std::tuple{field("textTable", &PromptEmbedding::text_table),
                                             required("codecTables", &PromptEmbedding::codec_tables),
                                             field("textIds", &PromptEmbedding::text_ids),
                                             field("codecIds", &PromptEmbedding::codec_ids),
                                             field("audioRows", &PromptEmbedding::audio_rows),
                                             field("visionRows", &PromptEmbedding::vision_rows),
                                             field("audioPadId", &PromptEmbedding::audio_pad_id),
                                             field("imagePadId", &PromptEmbedding::image_pad_id),
                                             field("padId", &PromptEmbedding::pad_id),
                                             field("outDtype", &PromptEmbedding::out_dtype)};

  Outputs check() const {
    Checker c{kName};
    c.rank(text_table, "textTable", 2);
    c.activations(text_table, "textTable");
    c.range(static_cast<int64_t>(codec_tables.size()), "number of codecTables", 0, kMaxBooks);
    const int64_t columns = text_table.shape[1];
    for (const Tensor& t : codec_tables) {
      c.shape(t, "codecTables", {-1, columns});
      c.dtype(t, "codecTables", {text_table.dtype});
    }
    c.rank(text_ids, "textIds", 1);
    c.dtype(text_ids, "textIds", {DType::i32});
    c.shape(codec_ids, "codecIds", {text_ids.shape[0], static_cast<int64_t>(codec_tables.size())});
    c.dtype(codec_ids, "codecIds", {DType::i32});
    c.shape(audio_rows, "audioRows", {-1, columns});
    c.activations(audio_rows, "audioRows");
    c.shape(vision_rows, "visionRows", {-1, columns});
    c.activations(vision_rows, "visionRows");
    if (audio_rows && !audio_pad_id) c.bad(code::kInvalidArgument, "audioPadId", "must come with audioRows");
    if (vision_rows && !image_pad_id) c.bad(code::kInvalidArgument, "imagePadId", "must come with visionRows");
    for (auto [id, name] : {std::pair{audio_pad_id, "audioPadId"}, {image_pad_id, "imagePadId"}, {{pad_id}, "padId"}})
      if (id) c.range(*id, name, INT32_MIN, INT32_MAX);
    const DType out = out_dtype.value_or(text_table.dtype);
    c.out_dtype(out);
    return {{out, {text_ids.shape[0], columns}}};
  }
  // The fault of media rows and pad ids that differ in number, the same on every backend.
  static Error wrong_media(const char* pad_name, int64_t pad_id, int64_t pads, int64_t rows) {
    return Error(code::kShapeMismatch,
                 std::string(kName) + ": textIds has " + std::to_string(pads) + " times " + pad_name + " " +
                     std::to_string(pad_id) + ", but " + std::to_string(rows) +
                     " media rows were given: pass one row for each",
                 {{"operation", kName}, {"argument", "textIds"}});
  }
};

}  // namespace caracal
