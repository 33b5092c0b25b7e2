// Correct and faulty kernels of 256 threads for the memory checks.

extern "C" __global__ void ordered(int* out) {
  __shared__ int s[256];
  s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  const int v = s[(threadIdx.x + 33) % 256];
  __syncthreads();
  s[threadIdx.x] = v;
  __syncthreads();
  out[threadIdx.x] = s[255 - threadIdx.x];
}

extern "C" __global__ void write_after_read(int* out) {
  __shared__ int s[256];
  s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  const int v = s[(threadIdx.x + 33) % 256];
  s[threadIdx.x] = v;  // no barrier before this
  __syncthreads();
  out[threadIdx.x] = s[255 - threadIdx.x];
}

extern "C" __global__ void read_after_write(int* out) {
  __shared__ int s[256];
  s[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = s[(threadIdx.x + 32) % 256];  // no barrier before this
}

extern "C" __global__ void uninitialised(int* out) {
  __shared__ int s[256];
  if (threadIdx.x != 77) s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = s[255 - threadIdx.x];
}

extern "C" __global__ void uninitialised_tail(int* out, const int* in, int* scratch, int n) {
  if (threadIdx.x < n) scratch[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = scratch[threadIdx.x];
}

extern "C" __global__ void warps_write_one(int* out) { out[threadIdx.x / 64] = threadIdx.x; }

extern "C" __global__ void blocks_write_one(int* out) { out[threadIdx.x] = blockIdx.x; }

extern "C" __global__ void atomics(int* out) { atomicAdd(out + threadIdx.x % 8, 1); }

extern "C" __global__ void atomic_and_plain(int* out) {
  atomicAdd(out + threadIdx.x % 32, 1);
  if (threadIdx.x == 200) out[5] = 3;
}

// The last block to arrive adds up all partial sums; the counter orders the accesses.
extern "C" __global__ void last_block(int* out, int* partial, unsigned* counter) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = blockIdx.x + 1;
    __threadfence();
    last = atomicAdd(counter, 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    __threadfence();
    int sum = 0;
    for (int i = 0; i < gridDim.x; i++) sum += partial[i];
    out[0] = sum;
  }
}

extern "C" __global__ void barrier_in_a_branch(int* out) {
  if (threadIdx.x % 32 < 16) {
    out[threadIdx.x] = 1;
    __syncthreads();
  } else {
    __syncthreads();
    out[threadIdx.x] = 2;
  }
}

extern "C" __global__ void out_of_bounds(int* out) { out[threadIdx.x + 1] = 1; }

extern "C" __global__ void shared_out_of_bounds(int* out) {
  extern __shared__ int s[];
  s[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x];
}

extern "C" __global__ void misaligned(char* out) {
  *reinterpret_cast<int*>(out + 4 * threadIdx.x + (threadIdx.x == 9)) = 1;
}

extern "C" __global__ void waits_for_ever(volatile int* out) {
  while (*out == 0) {
  }
}
