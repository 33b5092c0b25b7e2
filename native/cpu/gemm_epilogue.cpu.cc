#include "cpu/gemm_epilogue.h"

namespace caracal::CARACAL_ISA {

void activate(Activation activation, F32x16& x) {
  switch (activation) {
    case Activation::none: return;
    case Activation::relu: x = max(zero(), x); return;
    case Activation::relu6: x = min(set1(6.f), max(zero(), x)); return;
    case Activation::gelu: x = gelu(x); return;
    case Activation::silu: x = silu(x); return;
    case Activation::tanh: x = tanh(x); return;
    case Activation::sigmoid: x = sigmoid(x); return;
  }
}

}  // namespace caracal::CARACAL_ISA
