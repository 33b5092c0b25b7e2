#pragma once
// y[M, N] = epilogue(x[M, K] . W[N, K]^T), its grouped form, and the two-weight form of SwiGLU.
//
// A product's row source (gemm_rows.h) and epilogue (gemm_epilogue.h) are any types; they reach the engine, which is
// compiled once per instruction set in gemm.cpu.cc, as function pointers that it calls once per block.
#include "cpu/cpu.h"
#include "cpu/gemm_epilogue.h"
#include "cpu/gemm_panels.h"
#include "cpu/gemm_rows.h"

namespace caracal::CARACAL_ISA {

// One product with G weights of equal shape and dtype: 1, or 2 whose sums reach the epilogue together.
template <int G, class RowSource, class Epilogue>
struct Gemm {
  int64_t m;
  RowSource rows;
  Panels w[G];
  Epilogue epilogue;
  int64_t chain = 0;  // how many products one chain sums (gemm_kernel.h), 0: all; not for f8e4m3
};

template <class RowSource, class Epilogue>
Gemm<1, RowSource, Epilogue> make_gemm(int64_t m, RowSource rows, const Panels& w, Epilogue epilogue,
                                       int64_t chain = 0) {
  return {m, rows, {w}, epilogue, chain};
}

template <class RowSource, class Epilogue>
Gemm<2, RowSource, Epilogue> make_gemm(int64_t m, RowSource rows, const Panels& gate, const Panels& up,
                                       Epilogue epilogue) {
  return {m, rows, {gate, up}, epilogue};
}

CARACAL_INLINE constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
CARACAL_INLINE constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// A product as the engine sees it.
struct Product {
  int64_t m;
  int64_t chain;
  int groups;
  Panels w[2];
  const void* rows;
  const float* (*direct)(const void* rows, int64_t m);
  void (*copy)(const void* rows, int64_t m, int64_t k, int64_t count, float* out);
  const void* epilogue;
  // Sums of `rows` rows by one panel; the second weight's sums start at sums + group_stride.
  void (*finish)(const void* epilogue, int64_t columns, int64_t row0, int64_t rows, int64_t panel, const float* sums,
                 int64_t group_stride);
};

template <int G, class Epilogue>
void finish_panel(const void* epilogue, int64_t columns, int64_t row0, int64_t rows, int64_t panel, const float* sums,
                  int64_t group_stride) {
  const Epilogue& apply = *static_cast<const Epilogue*>(epilogue);
  const int64_t n = panel * kPanelColumns;
  const int count = static_cast<int>(smaller(kPanelColumns, columns - n));
  for (int64_t r = 0; r < rows; r++) {
    const float* sum = sums + r * kPanelColumns;
    if constexpr (G == 1) {
      apply(load16(sum), row0 + r, n, count);
    } else {
      apply(load16(sum), load16(sum + group_stride), row0 + r, n, count);
    }
  }
}

// Refers to `g`, which must stay where it is.
template <int G, class RowSource, class Epilogue>
Product product_of(const Gemm<G, RowSource, Epilogue>& g) {
  return {g.m,
          g.chain,
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

// Runs `count` products as one pool of items: a product without rows costs nothing, and a small one does not leave
// threads idle.
void run_products(Cpu& cpu, const Product* products, int64_t count);

// The same for problem(i) giving the i-th product.
template <class Problem>
void run_gemms(Cpu& cpu, int64_t count, Problem&& problem) {
  using G = std::decay_t<decltype(problem(int64_t{0}))>;
  Cpu::Temporary<G> gemms(cpu, static_cast<size_t>(count));
  Cpu::Temporary<Product> products(cpu, static_cast<size_t>(count));
  for (int64_t i = 0; i < count; i++) products[i] = product_of(*new (&gemms[i]) G(problem(i)));
  run_products(cpu, products.data(), count);
}

template <int G, class RowSource, class Epilogue>
void run_gemm(Cpu& cpu, const Gemm<G, RowSource, Epilogue>& g) {
  const Product product = product_of(g);
  run_products(cpu, &product, 1);
}

}  // namespace caracal::CARACAL_ISA
