#include "ops/linear/pack_weight.h"

#include <cstring>

#include "cpu/mapped_pages.h"
#include "cpu/weights.h"

namespace caracal::CARACAL_ISA {
namespace {

void pack(const WeightSources& from, const Tensor& out, Cpu& cpu) {
  const Tensor& first = from.first();
  const int64_t n = first.shape[-2], k = first.shape[-1], matrices = from.matrices();
  const size_t source_bytes = size_t(n * k) * dtype_bytes(first.dtype);
  const size_t packed = panels_bytes(n, k, first.dtype);
  std::byte* panels = out.data<std::byte>();
  for (int64_t e = 0; e < matrices; e++) {
    const bool stacked = from.stacked();
    const Tensor& w = from.weights[stacked ? 0 : size_t(e)];
    const std::byte* source = w.data<std::byte>() + (stacked ? source_bytes * size_t(e) : 0);
    pack_matrix(cpu, from.op, w.dtype, source, n, k, panels + packed * size_t(e));
    if (!stacked || e + 1 == matrices) give_back_pages(w);
  }
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
