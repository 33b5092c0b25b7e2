#include "ops/linear/pack_weight.h"

#include <cstring>

#include "cpu/mapped_pages.h"
#include "cpu/weights.h"

namespace caracal::CARACAL_ISA {
namespace {

// The rows of matrix `e` of a list of tensors, or of one tensor that stacks them.
const std::byte* matrix_of(const WeightSources& from, std::span<const Tensor> list, int64_t e) {
  if (list.empty()) return nullptr;
  if (!from.stacked()) return list[size_t(e)].data<std::byte>();
  return list[0].data<std::byte>() + list[0].bytes() / size_t(from.matrices()) * size_t(e);
}

void pack_codes(const WeightSources& from, int64_t e, std::byte* panels, Cpu& cpu) {
  const AffineMatrix m{from.n(),
                       from.k(),
                       *from.bits,
                       from.groups(),
                       matrix_of(from, from.weights, e),
                       matrix_of(from, from.scales, e),
                       matrix_of(from, from.biases, e)};
  const size_t panel_bytes = panels_bytes(kPanelColumns, m.k, m.dtype(), m.groups);
  const size_t widened_bytes = size_t(kPanelColumns) * code_bytes(m.k, m.dtype());
  const Temporary<std::byte> widened(cpu, widened_bytes * size_t(cpu.workers()));
  cpu.parallel_for(divide_up(m.n, kPanelColumns), [&](int64_t panel, int worker) {
    pack_panel(m, panel, widened.data() + widened_bytes * size_t(worker), panels + panel_bytes * size_t(panel));
  });
}

void pack(const WeightSources& from, const Tensor& out, Cpu& cpu) {
  const int64_t n = from.n(), k = from.k(), matrices = from.matrices();
  const size_t packed = panels_bytes(n, k, out.dtype, out.scales);
  std::byte* panels = out.data<std::byte>();
  for (int64_t e = 0; e < matrices; e++) {
    if (from.affine())
      pack_codes(from, e, panels + packed * size_t(e), cpu);
    else
      pack_matrix(cpu, from.op, out.dtype, matrix_of(from, from.weights, e), n, k, panels + packed * size_t(e));
    if (!from.stacked() || e + 1 == matrices) give_back_pages(from.weights[from.stacked() ? 0 : size_t(e)]);
  }
  if (from.affine()) return;
  std::byte* scales = panels + packed * size_t(matrices);
  for (const Tensor& s : from.scales) {
    if (s.bytes() > 0) std::memcpy(scales, s.data<std::byte>(), s.bytes());
    scales += s.bytes();
  }
}

}  // namespace

void run(const PackWeight& op, std::span<Tensor> out, Cpu& cpu) { pack(op.sources(), out[0], cpu); }
void run(const PackWeights& op, std::span<Tensor> out, Cpu& cpu) { pack(op.sources(), out[0], cpu); }

}  // namespace caracal::CARACAL_ISA
