#pragma once
#include "core/activation.h"

namespace caracal {

// The functions of the CPU (cpu/gemm_epilogue.cpu.cc) in f32.
__device__ inline float activate(Activation kind, float v) {
  switch (kind) {
    case Activation::relu: return v < 0.0f ? 0.0f : v;  // fmaxf would turn NaN into 0
    case Activation::relu6: return v < 0.0f ? 0.0f : v > 6.0f ? 6.0f : v;
    case Activation::gelu: return 0.5f * v * (1.0f + erff(v * 0.70710678f));
    case Activation::silu: return v / (1.0f + expf(-v));
    case Activation::tanh: return tanhf(v);
    case Activation::sigmoid: return 1.0f / (1.0f + expf(-v));
    case Activation::none: break;
  }
  return v;
}

// Snake: v + sin²(alpha v) / (alpha + 1e-9), with the alpha of the channel.
__device__ inline float snake(float v, float alpha) {
  const float s = sinf(alpha * v);
  return fmaf(s * s, 1.0f / (alpha + 1e-9f), v);
}

}  // namespace caracal
