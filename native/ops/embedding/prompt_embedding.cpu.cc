#include "ops/embedding/prompt_embedding.h"

#include "ops/rows/rows.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

// The media row at a position, if any.
struct MediaRow {
  const Tensor* rows = nullptr;
  int64_t row = 0;
};

// Assigns rows to their pad ids, in order.
void place_media(const PromptEmbedding& op, const std::optional<Tensor>& rows, std::optional<int64_t> pad,
                 const char* name, MediaRow* at) {
  if (!pad) return;
  const int32_t* text = op.text_ids.data<int32_t>();
  const int64_t available = rows ? rows->shape[0] : 0;
  int64_t used = 0;
  for (int64_t t = 0; t < op.text_ids.shape[0]; t++) {
    if (text[t] != *pad) continue;
    if (used < available) at[t] = {&*rows, used};
    used++;
  }
  if (used != available) throw PromptEmbedding::wrong_media(name, *pad, used, available);
}

template <class W, class Y>
void embed_row(const PromptEmbedding& op, int64_t t, Y* y) {
  const int64_t columns = op.text_table.shape[1];
  const int64_t books = op.codec_ids.shape[1];
  const W* present[1 + PromptEmbedding::kMaxBooks];  // rows to add
  int64_t rows = 0;
  auto add = [&](const Tensor& table, const char* argument, const Tensor& ids, int64_t position) {
    const int64_t id = ids.data<int32_t>()[position];
    if (id == op.pad_id) return;
    check_row(op.kName, argument, id, position, table.shape[0]);
    present[rows++] = table.data<W>() + id * columns;
  };
  add(op.text_table, "textIds", op.text_ids, t);
  for (int64_t k = 0; k < books; k++) add(op.codec_tables[k], "codecIds", op.codec_ids, t * books + k);
  if (rows == 0 && op.pad_id >= 0) {
    check_row(op.kName, "textIds", op.pad_id, t, op.text_table.shape[0]);
    present[rows++] = op.text_table.data<W>() + op.pad_id * columns;
  }
  for_columns(columns, [&](int64_t i, int count) {
    F32x16 sum = zero();
    for (int64_t r = 0; r < rows; r++) sum += load(present[r] + i, count);
    store(y + i, sum, count);
  });
}

}  // namespace

void run(const PromptEmbedding& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t positions = op.text_ids.shape[0], columns = op.text_table.shape[1];
  std::vector<MediaRow> media(positions);
  place_media(op, op.audio_rows, op.audio_pad_id, "audioPadId", media.data());
  place_media(op, op.vision_rows, op.image_pad_id, "imagePadId", media.data());
  by_activation_type(op.text_table.dtype, [&](auto table_type) {
    by_activation_type(out[0].dtype, [&](auto out_type) {
      using W = typename decltype(table_type)::type;
      using Y = typename decltype(out_type)::type;
      for_rows(cpu, positions, columns, [&](int64_t t) {
        Y* y = out[0].data<Y>() + t * columns;
        const auto [rows, row] = media[t];
        if (!rows) return embed_row<W>(op, t, y);
        const std::byte* x = rows->template data<std::byte>() + row * columns * dtype_bytes(rows->dtype);
        convert_row(x, rows->dtype, reinterpret_cast<std::byte*>(y), out[0].dtype, columns);
      });
    });
  });
}

}  // namespace caracal::CARACAL_ISA
