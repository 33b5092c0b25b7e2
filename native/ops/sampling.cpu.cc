// One compilation for all of sampling: parsing the shared headers takes longer than compiling an operation.
#include "ops/sampling/argmax.cpu.cc"
#include "ops/sampling/repetition_penalty.cpu.cc"
#include "ops/sampling/sample.cpu.cc"
