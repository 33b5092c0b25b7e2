#pragma once
// Lets a kernel report invalid data, such as an id outside its table, to the host. The first report of an operation wins.
namespace caracal {

struct Fault {
  int raised;          // 1; 2 while the other fields are being written
  int argument;        // which of the operation's checks failed
  long long position;  // in the argument
  long long value;     // at that position
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
