// CUB's block and warp primitives: 256 threads, 4 items each.
#include <cub/block/block_histogram.cuh>
#include <cub/block/block_radix_sort.cuh>
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_run_length_decode.cuh>
#include <cub/block/block_scan.cuh>
#include <cub/warp/warp_scan.cuh>

constexpr int kThreads = 256, kItems = 4;

extern "C" __global__ void reduce(const int* in, int* out) {
  using Reduce = cub::BlockReduce<int, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  int items[kItems];
  for (int i = 0; i < kItems; i++) items[i] = in[threadIdx.x * kItems + i];
  const int sum = Reduce(storage).Sum(items);
  if (threadIdx.x == 0) out[0] = sum;
}

extern "C" __global__ void scan(const int* in, int* out) {
  using Scan = cub::BlockScan<int, kThreads>;
  __shared__ typename Scan::TempStorage storage;
  int items[kItems];
  for (int i = 0; i < kItems; i++) items[i] = in[threadIdx.x * kItems + i];
  Scan(storage).ExclusiveSum(items, items);
  for (int i = 0; i < kItems; i++) out[threadIdx.x * kItems + i] = items[i];
}

extern "C" __global__ void sort(unsigned* keys, int* values) {
  using Sort = cub::BlockRadixSort<unsigned, kThreads, kItems, int>;
  __shared__ typename Sort::TempStorage storage;
  unsigned k[kItems];
  int v[kItems];
  for (int i = 0; i < kItems; i++) k[i] = keys[threadIdx.x * kItems + i], v[i] = values[threadIdx.x * kItems + i];
  Sort(storage).Sort(k, v);
  for (int i = 0; i < kItems; i++) keys[threadIdx.x * kItems + i] = k[i], values[threadIdx.x * kItems + i] = v[i];
}

extern "C" __global__ void histogram(const unsigned char* in, unsigned* out) {
  using Histogram = cub::BlockHistogram<unsigned char, kThreads, kItems, 256>;
  __shared__ typename Histogram::TempStorage storage;
  __shared__ unsigned bins[256];
  unsigned char items[kItems];
  for (int i = 0; i < kItems; i++) items[i] = in[threadIdx.x * kItems + i];
  Histogram(storage).Histogram(items, bins);
  __syncthreads();
  out[threadIdx.x] = bins[threadIdx.x];
}

extern "C" __global__ void warp_scan(const float* in, float* out) {
  using Scan = cub::WarpScan<float>;
  __shared__ typename Scan::TempStorage storage[kThreads / 32];
  float x = in[threadIdx.x];
  Scan(storage[threadIdx.x / 32]).InclusiveSum(x, x);
  out[threadIdx.x] = x;
}

// Run number n has 1 + (n % 4) elements of value n.
extern "C" __global__ void run_length(int* out, int* total) {
  using Decode = cub::BlockRunLengthDecode<int, kThreads, 1, kItems>;
  __shared__ typename Decode::TempStorage storage;
  int values[1] = {static_cast<int>(threadIdx.x)}, lengths[1] = {1 + static_cast<int>(threadIdx.x) % 4}, size;
  Decode decode(storage, values, lengths, size);
  for (int first = 0; first < size; first += kThreads * kItems) {
    int items[kItems];
    decode.RunLengthDecode(items, first);
    for (int i = 0; i < kItems; i++)
      if (first + int(threadIdx.x) * kItems + i < size) out[first + threadIdx.x * kItems + i] = items[i];
  }
  if (threadIdx.x == 0) *total = size;
}
