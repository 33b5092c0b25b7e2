#include "ops/elementwise/binary.h"

#include "cpu/implement.h"
#include "ops/elementwise/binary_kind.h"

namespace caracal::CARACAL_ISA {
namespace {

template <BinaryKind kind>
void run_binary(const Binary& op, std::span<Tensor> out, Cpu& cpu) {
  by_activation_type(op.a.dtype, [&](auto a_type) {
    by_activation_type(op.b.dtype, [&](auto b_type) {
      using A = typename decltype(a_type)::type;
      using B = typename decltype(b_type)::type;
      auto apply = [&](int64_t start, int64_t n, const B* b) {
        const A* a = op.a.data<A>() + start;
        A* y = out[0].data<A>() + start;
        if constexpr (kind == BinaryKind::add)
          for_columns(n, [&](int64_t i, int count) { store(y + i, load(a + i, count) + load(b + i, count), count); });
        else
          for_columns(n, [&](int64_t i, int count) { store(y + i, load(a + i, count) * load(b + i, count), count); });
      };
      if (op.broadcast()) {
        const int64_t n = op.a.shape[-1];
        for_rows(cpu, op.a.shape.rows(), n, [&](int64_t row) { apply(row * n, n, op.b.data<B>()); });
      } else {
        for_blocks(cpu, op.a.shape.elements(),
                   [&](int64_t start, int64_t n) { apply(start, n, op.b.data<B>() + start); });
      }
    });
  });
}

}  // namespace

void run(const Add& op, std::span<Tensor> out, Cpu& cpu) { run_binary<BinaryKind::add>(op, out, cpu); }
void run(const Mul& op, std::span<Tensor> out, Cpu& cpu) { run_binary<BinaryKind::mul>(op, out, cpu); }

}  // namespace caracal::CARACAL_ISA
