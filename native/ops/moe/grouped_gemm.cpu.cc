#include "ops/moe/grouped_gemm.h"

#include <algorithm>

#include "core/device.h"
#include "cpu/mapped_pages.h"
#include "cpu/weights.h"

namespace caracal::CARACAL_ISA {
namespace {

// Checks the offsets and the gathered rows, before anything is read through them. Returns the last offset.
int64_t check_rows(const char* op, const Tensor& x, const Tensor& offsets, const std::optional<Tensor>& gather,
                   int64_t rows) {
  const int32_t* o = offsets.data<int32_t>();
  const int64_t experts = offsets.shape[0] - 1;
  for (int64_t e = 0; e <= experts; e++)
    if (o[e] < (e == 0 ? 0 : o[e - 1]) || o[e] > rows || (e == 0 && o[0] != 0)) throw offsets_error(op, e, o[e], rows);
  for (int64_t r = 0; gather && r < o[experts]; r++) {
    const int32_t row = gather->data<int32_t>()[r];
    if (row < 0 || row >= x.shape[0]) throw gather_error(op, r, row, x.shape[0]);
  }
  return o[experts];
}

// The rows of an expert, from row `first` of the output on: gathered from x, or x's own.
template <class T>
Rows<T> expert_rows(const Tensor& x, const std::optional<Tensor>& gather, int64_t first) {
  if (gather) return rows_of<T>(x, gather->data<int32_t>() + first);
  Rows<T> rows = rows_of<T>(x);
  rows.x += first * rows.stride;
  return rows;
}

void zero_rows(Tensor& out, int64_t first) {
  const size_t row_bytes = size_t(out.shape[1]) * dtype_bytes(out.dtype);
  std::fill_n(out.data<std::byte>() + size_t(first) * row_bytes, size_t(out.shape[0] - first) * row_bytes,
              std::byte{0});
}

// Lets the disk work on the experts that the router chose while their first products run, if weights are mapped from a
// file that does not fit in memory. Pages that are read ahead are the first to be dropped again, so that asking for more
// than a part of the memory would only have them read twice.
void read_ahead_experts(std::initializer_list<Tensor> weights, const int32_t* offsets) {
  const size_t room = weights.begin()->storage->device->capacity() / 4;
  size_t bytes = 0;
  const auto each_chosen = [&](auto&& visit) {
    for (const Tensor& w : weights)
      for (int64_t e = 0; w.storage->borrowed && e < w.shape[0]; e++) {
        const Panels panels = panels_of(w, e);
        if (offsets[e + 1] > offsets[e]) visit(w, panels.data, panels.panel_bytes() * size_t(panels.count()));
      }
  };
  each_chosen([&](const Tensor&, const std::byte*, size_t size) { bytes += size; });
  if (bytes > 0 && bytes <= room) each_chosen(read_ahead);
}

// Runs a product per expert. product(e, rows, x, y) returns the product that writes `rows` rows of expert e from y on.
template <class Op, class Product>
void run_groups(const Op& op, std::initializer_list<Tensor> weights, Tensor& out, Cpu& cpu, Product&& product) {
  const int64_t end = check_rows(Op::kName, op.x, op.offsets, op.gather, out.shape[0]);
  const int32_t* offsets = op.offsets.template data<int32_t>();
  read_ahead_experts(weights, offsets);
  by_activation_type(op.x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_gemms(cpu, weights.begin()->shape[0], [&](int64_t e) {
      const int64_t first = offsets[e];
      return with_int8_rows(product(e, offsets[e + 1] - first, expert_rows<T>(op.x, op.gather, first),
                                    out.data<T>() + first * out.shape[1]),
                            op.int8_rows);
    });
  });
  zero_rows(out, end);
}

}  // namespace

void run(const GroupedGemm& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t n = op.w.shape[1];
  run_groups(op, {op.w}, out[0], cpu, [&]<class T>(int64_t e, int64_t rows, Rows<T> x, T* y) {
    return make_gemm(rows, x, panels_of(op.w, e), LinearEpilogue<T>{.out = y, .stride = n});
  });
}

void run(const GroupedSwiglu& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t n = op.gate.shape[1];
  run_groups(op, {op.gate, op.up}, out[0], cpu, [&]<class T>(int64_t e, int64_t rows, Rows<T> x, T* y) {
    return make_gemm(rows, x, panels_of(op.gate, e), panels_of(op.up, e), SwiGluEpilogue<T>{.out = y, .stride = n});
  });
}

}  // namespace caracal::CARACAL_ISA
