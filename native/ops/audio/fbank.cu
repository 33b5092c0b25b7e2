// A block transforms frames in turn. 4 N log2 N FLOP for the transform of N = fftSize / 2 complex values, which stay in
// shared memory from the samples to the energies. Each sample is read once (overlapping frames meet in L2), each energy
// is written once, and the tables are read once per block. At the model's sizes (400 samples to 80 energies) the launch
// dominates.
#include "core/math.h"
#include "cuda/device/index.cuh"
#include "cuda/device/reduce.cuh"
#include "ops/audio/fbank.kernels.h"

namespace caracal {

struct FbankTablesView {
  const float *window, *cosine, *sine, *weights;
  const FbankFilter* filters;
  int odd;  // the first twiddle of odd k

  __device__ FbankTablesView(const FbankShape& s, const float* words)
      : window(words),
        cosine(words + s.cosine),
        sine(words + s.sine),
        weights(words + s.weights),
        filters(reinterpret_cast<const FbankFilter*>(words + s.filters)),
        odd(fbank_odd_twiddles(s.half)) {}

  // The index of the cosine or sine of k.
  __device__ int twiddle(int k) const { return k / 2 + k % 2 * odd; }
};

// Conditions and windows the samples of a frame. Even samples become real parts, odd ones imaginary parts.
__device__ inline void fbank_samples(const FbankShape& s, const FbankTablesView& tables, const float* wave, float* re,
                                     float* im) {
  const int threads = thread_count();
  float mean = 0;
  if (s.remove_dc) {
    for (int i = threadIdx.x; i < s.frame_length; i += threads) mean += wave[i];
    mean = block_sum(mean) * s.inverse_length;
  }
  const int padded = round_up(2 * s.half, kWarp);  // whole warps, whose lanes exchange samples
  for (int i = threadIdx.x; i < padded; i += threads) {
    const float x = i < s.frame_length ? wave[i] - mean : 0;
    float before = __shfl_up_sync(kAllLanes, x, 1);
    if (i % kWarp == 0) before = i > 0 && i < s.frame_length ? wave[i - 1] - mean : x;
    const float v = i < s.frame_length ? fmaf(-s.preemphasis, before, x) * tables.window[i] : 0;
    if (i < 2 * s.half) (i % 2 ? im : re)[i / 2] = v;
  }
}

// Complex values in shared memory.
struct FbankValues {
  float *re, *im;
};
// The place of value i after a pass with `stride`, whose lanes write 2 * stride apart: every other run of 32 values is
// permuted, so that lanes write to different banks.
__device__ inline int fbank_place(int i, int stride) { return i ^ (stride < kWarp ? (i / kWarp % 2) * stride : 0); }

// The discrete Fourier transform in log2 N passes between two buffers (Stockham), each with N / 2 butterflies and no
// reordering. Returns the buffer that holds the result, in natural order.
__device__ inline FbankValues fbank_transform(const FbankTablesView& tables, int n, FbankValues from, FbankValues to) {
  for (int stride = 1; stride < n; stride *= 2) {
    for (int i = threadIdx.x; i < n / 2; i += blockDim.x) {
      const int q = i % stride, low = fbank_place(i, stride / 2), high = fbank_place(i + n / 2, stride / 2);
      const float c = tables.cosine[i - q], s = tables.sine[i - q];
      const float ar = from.re[low], ai = from.im[low], br = from.re[high], bi = from.im[high];
      const float dr = ar - br, di = ai - bi;
      const int sum = fbank_place(2 * i - q, stride), difference = fbank_place(2 * i - q + stride, stride);
      to.re[sum] = ar + br;
      to.im[sum] = ai + bi;
      to.re[difference] = fmaf(di, s, dr * c);
      to.im[difference] = fmaf(-dr, s, di * c);
    }
    __syncthreads();
    const FbankValues swap = from;
    from = to;
    to = swap;
  }
  return from;
}

// |X[k]|² of the real sequence whose even and odd samples were transformed together: X = E + e^(-2·pi·i·k/2N)·O.
__device__ inline void fbank_power(const FbankTablesView& tables, int n, FbankValues z, float* power) {
  for (int k = threadIdx.x; k < n; k += blockDim.x) {
    const int mirror = k == 0 ? 0 : n - k, at = tables.twiddle(k);
    const float zr = z.re[k], zi = z.im[k], mr = z.re[mirror], mi = z.im[mirror];
    const float c = tables.cosine[at], s = tables.sine[at];
    const float even_r = (zr + mr) * 0.5f, even_i = (zi - mi) * 0.5f;
    const float odd_r = (zi + mi) * 0.5f, odd_i = (mr - zr) * 0.5f;
    const float xr = even_r + fmaf(odd_i, s, odd_r * c), xi = even_i + fmaf(-odd_r, s, odd_i * c);
    power[k] = fmaf(xr, xr, xi * xi);
  }
}

// Eight lanes sum a filter, so a warp computes four at once. Each lane keeps one of 32 energies, which are then stored
// together.
__device__ inline void fbank_energies(const FbankShape& s, const FbankTablesView& tables, const float* power,
                                      float* out) {
  constexpr int kLanes = 8, kGroups = kWarp / kLanes;
  const int lane = lane_index(), group = lane / kLanes, in_group = lane % kLanes;
  for (int first = threadIdx.x / kWarp * kWarp; first < s.mel_bins; first += blockDim.x) {
    float own_energy = 0;
    for (int round = 0; round < kLanes; round++) {
      const int bin = first + round * kGroups + group;
      float energy = 0;
      if (bin < s.mel_bins) {
        const FbankFilter f = tables.filters[bin];
        for (int k = in_group; k < f.bins; k += kLanes)
          energy = fmaf(power[f.first_bin + k], tables.weights[f.first_weight + k], energy);
      }
#pragma unroll
      for (int step = kLanes / 2; step > 0; step /= 2) energy += __shfl_xor_sync(kAllLanes, energy, step);
      if (in_group == round) own_energy = energy;
    }
    const int bin = first + in_group * kGroups + group;
    if (bin < s.mel_bins) out[bin] = logf(own_energy < 0x1p-23f ? 0x1p-23f : own_energy);  // keeps NaN
  }
}

CARACAL_KERNEL(kFbank, fbank, __launch_bounds__(kFbankMaxThreads), const float* wave, const float* words, float* out,
               const __grid_constant__ FbankShape s) {
  static_assert(kFbankShift == kWarp / 2, "even and odd lanes read different halves of the banks");
  extern __shared__ __align__(16) float values[];
  const int array = s.array_words;
  const FbankValues a{values, values + array - kFbankShift}, b{values + 2 * array, a.im + 2 * array};
  float* const staged = values + fbank_value_words(array);
  if (s.staged)
    for (int i = threadIdx.x; i < s.words; i += blockDim.x) staged[i] = words[i];
  __syncthreads();
  const FbankTablesView tables(s, s.staged ? staged : words);
  for (long long frame = blockIdx.x; frame < s.frames; frame += gridDim.x) {
    fbank_samples(s, tables, wave + frame * s.frame_shift, a.re, a.im);
    __syncthreads();
    const FbankValues z = fbank_transform(tables, s.half, a, b);
    float* const power = z.re == a.re ? b.re : a.re;
    fbank_power(tables, s.half, z, power);
    __syncthreads();
    fbank_energies(s, tables, power, out + frame * s.mel_bins);
    __syncthreads();  // wait until all threads have read this frame's power
  }
}

}  // namespace caracal
