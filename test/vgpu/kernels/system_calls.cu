// Functions that the compiler leaves to the driver: printf, assert, malloc and free.
#include <cassert>
#include <cstdio>
#include <cstdlib>

extern "C" __global__ void formats(int* returned) {
  if (threadIdx.x != 5) return;
  returned[0] = printf("%d|%5d|%-5d|%05d|%+i|%x|%#X|%o|%u|%c|%%|%s|%.3s|\n", -42, 42, 42, 42, 42, 255u, 255u, 8u,
                       4000000000u, 'A', "text", "abcdef");
  returned[1] = printf("%lld %llu %lx %hd %zu %*d\n", -5000000000ll, 18446744073709551615ull, 0xabcdef012ul, -3,
                       size_t{77}, 4, 9);
  returned[2] = printf("%c%f %.2e %g %10.4f %d\n", 'x', 1.5, 12345.678, 0.0001, -2.25, 6);
  returned[3] = printf("none\n");
}

extern "C" __global__ void asserts(unsigned thread) {
  if (threadIdx.x % 2 == 0) assert(threadIdx.x != thread);
}

// Odd threads hold t + 1 numbers each, all at the same time.
extern "C" __global__ void allocates(unsigned* out) {
  const unsigned t = threadIdx.x;
  unsigned* own = t % 2 ? static_cast<unsigned*>(malloc((t + 1) * sizeof(unsigned))) : nullptr;
  if (own)
    for (unsigned i = 0; i <= t; i++) own[i] = 100 * t + i;
  __syncthreads();
  unsigned sum = reinterpret_cast<size_t>(own) % 16;
  if (own)
    for (unsigned i = 0; i <= t; i++) sum += own[i];
  out[t] = sum;
  free(own);
}

extern "C" __global__ void too_much(unsigned* out) { out[threadIdx.x] = malloc(size_t{1} << 60) == nullptr; }

extern "C" __global__ void misused(unsigned* out, int how) {
  if (threadIdx.x != 6) return;
  volatile char* own = static_cast<char*>(malloc(24));
  if (how == 0) own[24] = 1;
  free(const_cast<char*>(own));
  if (how == 1) *out = own[3];
  if (how == 2) free(const_cast<char*>(own));
  if (how == 3) free(reinterpret_cast<char*>(out) + 4);
}
