#pragma once
// y[M, N] = epilogue(x[M, K] . W[N, K]^T), its grouped form, and the form with two weights for SwiGLU.
//
// A product can have any type of row source (gemm_rows.h) and epilogue (gemm_epilogue.h). The engine (gemm.cpu.cc), which
// is compiled once per instruction set, calls them through function pointers, once per block.
#include <algorithm>

#include "cpu/cpu.h"
#include "cpu/gemm_epilogue.h"
#include "cpu/gemm_panels.h"
#include "cpu/gemm_rows.h"

namespace caracal::CARACAL_ISA {

// The elements of k per chain of fma in the operations of the speech decoder, whose many layers in sequence magnify the
// rounding of long sums.
inline constexpr int64_t kShortChain = 32;

// A product with G weights of equal shape and dtype. With two weights, both sums reach the epilogue together.
template <int G, class RowSource, class Epilogue>
struct Gemm {
  int64_t m;
  RowSource rows;
  Panels w[G];
  Epilogue epilogue;
  int64_t chain = 0;  // elements of k per chain of fma (gemm_kernel.h): kShortChain, or 0: all; not for scaled weights
  bool int8_rows = false;  // whether rows may be rounded to 8-bit integers, for q8 and q4
};

template <class RowSource, class Epilogue>
Gemm<1, RowSource, Epilogue> make_gemm(int64_t m, RowSource rows, const Panels& w, Epilogue epilogue,
                                       int64_t chain = 0) {
  return {m, rows, {w}, epilogue, chain};
}

// A product whose rows may be rounded to 8-bit integers.
template <class G>
G with_int8_rows(G gemm, bool allowed) {
  gemm.int8_rows = allowed;
  return gemm;
}

template <class RowSource, class Epilogue>
Gemm<2, RowSource, Epilogue> make_gemm(int64_t m, RowSource rows, const Panels& gate, const Panels& up,
                                       Epilogue epilogue) {
  return {m, rows, {gate, up}, epilogue};
}

// A product with erased types, as the engine sees it.
struct Product {
  int64_t m;
  int64_t chain;
  bool int8_rows;
  int groups;
  Panels w[2];
  const void* rows;
  const float* (*direct)(const void* rows, int64_t m);
  void (*copy)(const void* rows, int64_t m, int64_t k, int64_t count, float* out);
  const void* epilogue;
  // Finishes the sums of `rows` rows by one panel. The second weight's sums start at sums + group_stride.
  void (*finish)(const void* epilogue, int64_t columns, int64_t row0, int64_t rows, int64_t panel, const float* sums,
                 int64_t group_stride);
};

template <int G, class Epilogue>
void finish_panel(const void* epilogue, int64_t columns, int64_t row0, int64_t rows, int64_t panel, const float* sums,
                  int64_t group_stride) {
  const Epilogue& apply = *static_cast<const Epilogue*>(epilogue);
  const int64_t n = panel * kPanelColumns;
  const int count = static_cast<int>(std::min(kPanelColumns, columns - n));
  for (int64_t r = 0; r < rows; r++) {
    const float* sum = sums + r * kPanelColumns;
    if constexpr (G == 1) {
      apply(load16(sum), row0 + r, n, count);
    } else {
      apply(load16(sum), load16(sum + group_stride), row0 + r, n, count);
    }
  }
}

// Keeps references to `g`, which must outlive the result.
template <int G, class RowSource, class Epilogue>
Product product_of(const Gemm<G, RowSource, Epilogue>& g) {
  return {g.m,
          g.chain,
          g.int8_rows,
          G,
          {g.w[0], g.w[G - 1]},
          &g.rows,
          [](const void* rows, int64_t m) { return static_cast<const RowSource*>(rows)->direct(m); },
          [](const void* rows, int64_t m, int64_t k, int64_t count, float* out) {
            static_cast<const RowSource*>(rows)->copy(m, k, count, out);
          },
          &g.epilogue,
          finish_panel<G, Epilogue>};
}

// Runs `count` products as a single pool of work items, so that small products do not leave threads idle. A product
// without rows costs nothing.
void run_products(Cpu& cpu, const Product* products, int64_t count);

// The same for the products make(0) ... make(count - 1).
template <class Make>
void run_gemms(Cpu& cpu, int64_t count, Make&& make) {
  using G = std::decay_t<decltype(make(int64_t{0}))>;
  const Temporary<G> gemms(cpu, static_cast<size_t>(count));
  const Temporary<Product> products(cpu, static_cast<size_t>(count));
  for (int64_t i = 0; i < count; i++) products[i] = product_of(*new (&gemms[i]) G(make(i)));
  run_products(cpu, products.data(), count);
}

template <int G, class RowSource, class Epilogue>
void run_gemm(Cpu& cpu, const Gemm<G, RowSource, Epilogue>& g) {
  const Product product = product_of(g);
  run_products(cpu, &product, 1);
}

}  // namespace caracal::CARACAL_ISA
