#include "ops/audio/fold_weight_norm.h"

#include "cpu/implement.h"
#include "cpu/mapped_pages.h"

namespace caracal::CARACAL_ISA {

void run(const FoldWeightNorm& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t rows = op.v.shape[0];
  const int64_t n = rows ? op.v.shape.elements() / rows : 0;
  for_rows(cpu, rows, n, [&](int64_t row) {
    const float* v = op.v.data<float>() + row * n;
    float* w = out[0].data<float>() + row * n;
    double squares = 0;  // in f64: a norm sums up to 10^4 squares, and its error reaches every weight of the row
    for (int64_t i = 0; i < n; i++) squares += double(v[i]) * v[i];
    const double scale = op.g.data<float>()[row] / __builtin_sqrt(squares);
    for (int64_t i = 0; i < n; i++) w[i] = float(v[i] * scale);
  });
  give_back_pages(op.v);
}

}  // namespace caracal::CARACAL_ISA
