#include "ops/embedding/prompt_embedding.h"

#include "cuda/implement.h"
#include "ops/embedding/prompt_embedding.kernels.h"
#include "ops/rows/row_id.h"

namespace caracal::cuda {
namespace {

static_assert(PromptTables::kMaxTables == PromptEmbedding::kMaxBooks + 1, "every codec book and the text has a table");

PromptTables tables_of(const PromptEmbedding& op) {
  PromptTables tables{};
  auto add = [&](const Tensor& t) {
    tables.rows[tables.tables] = address(t);
    tables.count[tables.tables++] = t.shape[0];
  };
  add(op.text_table);
  for (const Tensor& t : op.codec_tables) add(t);
  tables.pad_id = op.pad_id;
  return tables;
}

PromptMediaRows media_of(const PromptEmbedding& op) {
  PromptMediaRows media{};
  auto add = [&](PromptMedia kind, const std::optional<Tensor>& rows, std::optional<int64_t> pad_id) {
    media.rows[kind] = address(rows);
    media.count[kind] = rows ? rows->shape[0] : 0;
    media.pad_id[kind] = pad_id.value_or(INT64_MIN);
    media.f32[kind] = rows && rows->dtype == DType::f32;
  };
  add(kAudio, op.audio_rows, op.audio_pad_id);
  add(kVision, op.vision_rows, op.image_pad_id);
  return media;
}

// The elements that a lane can move at once: all rows that are read or written must be aligned for it.
int64_t elements_per_lane(DType wider, const PromptTables& tables, const PromptMediaRows& media, const void* y,
                          int64_t columns) {
  int64_t elements = vector_elements(wider, columns, {y, media.rows[kAudio], media.rows[kVision]});
  for (int k = 0; k < tables.tables; k++)
    elements = std::min(elements, vector_elements(wider, columns, {tables.rows[k]}));
  return elements;
}

Error explain(const Fault& f, const PromptTables& tables, const PromptMediaRows& media) {
  if (f.argument == 0) return row_id_error(PromptEmbedding::kName, "textIds", f.value, f.position, tables.count[0]);
  if (f.argument < PromptTables::kMaxTables)
    return row_id_error(PromptEmbedding::kName, "codecIds", f.value, f.position * (tables.tables - 1) + f.argument - 1,
                        tables.count[f.argument]);
  const int kind = f.argument - PromptTables::kMaxTables;
  return PromptEmbedding::wrong_media(kind == kAudio ? "audioPadId" : "imagePadId", media.pad_id[kind], f.value,
                                      media.count[kind]);
}

}  // namespace

void run(const PromptEmbedding& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t positions = op.text_ids.shape[0], columns = op.text_table.shape[1];
  const PromptTables tables = tables_of(op);
  const PromptMediaRows media = media_of(op);
  Fault* fault = cuda.fault([=](const Fault& f) { return explain(f, tables, media); });
  const bool has_media = op.audio_pad_id || op.image_pad_id;
  const Temporary<int> media_row(cuda, has_media ? positions : 0);
  // Runs even for an empty prompt, whose media rows would be a fault.
  if (has_media)
    cuda.launch(entry_of(kPromptMedia), {{}, kPromptMediaThreads}, op.text_ids.data<int>(), positions, media,
                media_row.data(), fault);
  const DType wider = op.text_table.dtype == DType::f32 ? DType::f32 : out[0].dtype;
  const ElementBlocks row = element_blocks(columns, elements_per_lane(wider, tables, media, address(out[0]), columns));
  const Grid grid{unsigned(positions), std::min(row.grid.x, 65535u)};
  cuda.launch(entry_of(kPromptEmbedding, op.text_table.dtype, out[0].dtype), {grid, row.threads},
              op.text_ids.data<int>(), op.codec_ids.data<int>(), tables, media_row.data(), media, address(out[0]),
              int(columns), fault, row.aligned);
}

}  // namespace caracal::cuda
