#pragma once
// What a kernel says when its data is wrong (an id outside its table): the first to come writes where and what.
// Read by kernels and by the host.
namespace caracal {

struct Fault {
  int raised;          // 1; 2 while the rest is being written
  int argument;        // which of the operation's checks
  long long position;  // where in the argument
  long long value;     // and what stood there
};

#ifdef __CUDACC__
__device__ inline void raise(Fault* fault, int argument, long long position, long long value) {
  if (atomicCAS_system(&fault->raised, 0, 2) != 0) return;
  fault->argument = argument;
  fault->position = position;
  fault->value = value;
  __threadfence_system();
  atomicExch_system(&fault->raised, 1);
}
#endif

}  // namespace caracal
