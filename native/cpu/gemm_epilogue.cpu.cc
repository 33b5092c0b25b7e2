#include "cpu/gemm_epilogue.h"

namespace caracal::CARACAL_ISA {

F32x16 activate(Activation activation, F32x16 x) {
  switch (activation) {
    case Activation::none: break;
    case Activation::relu: return max(zero(), x);
    case Activation::relu6: return min(set1(6.f), max(zero(), x));
    case Activation::gelu: return gelu(x);
    case Activation::silu: return silu(x);
    case Activation::tanh: return tanh(x);
    case Activation::sigmoid: return sigmoid(x);
  }
  return x;
}

}  // namespace caracal::CARACAL_ISA
