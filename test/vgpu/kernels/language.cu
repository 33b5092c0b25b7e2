// Basic language features: printf, recursion, libdevice.
#include <cstdio>

__device__ __noinline__ unsigned ackermann(unsigned m, unsigned n) {
  if (m == 0) return n + 1;
  if (n == 0) return ackermann(m - 1, 1);
  return ackermann(m - 1, ackermann(m, n - 1));
}

extern "C" __global__ void recursion(unsigned* out) {
  out[threadIdx.x] = ackermann(threadIdx.x % 3, threadIdx.x / 3 % 5);
}

extern "C" __global__ void prints(int n) {
  if (int(threadIdx.x) < n)
    printf("thread %d of %u: %5.2f %s %llx\n", int(threadIdx.x), blockDim.x, threadIdx.x / 4.0, "text",
           0xfedcba9876543210ull);
}

#define F1(name)                                                  \
  extern "C" __global__ void f_##name(const float* x, float* y) { \
    const int t = blockIdx.x * blockDim.x + threadIdx.x;          \
    y[t] = name(x[t]);                                            \
  }
#define D1(name)                                                    \
  extern "C" __global__ void d_##name(const double* x, double* y) { \
    const int t = blockIdx.x * blockDim.x + threadIdx.x;            \
    y[t] = name(x[t]);                                              \
  }

// clang-format off
F1(expf) F1(exp2f) F1(expm1f) F1(logf) F1(log2f) F1(log10f) F1(log1pf) F1(sinf) F1(cosf) F1(tanf) F1(asinf) F1(acosf)
F1(atanf) F1(sinhf) F1(coshf) F1(tanhf) F1(sqrtf) F1(rsqrtf) F1(cbrtf) F1(erff) F1(lgammaf) F1(floorf) F1(ceilf)
F1(truncf) F1(rintf) D1(exp) D1(log) D1(sin) D1(cos) D1(tan) D1(atan) D1(tanh) D1(sqrt) D1(cbrt) D1(erf) D1(log1p)
D1(expm1)
    // clang-format on
