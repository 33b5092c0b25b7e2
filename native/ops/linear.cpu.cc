// One compilation for all of linear: parsing the shared headers takes longer than compiling an operation.
#include "ops/linear/linear.cpu.cc"
#include "ops/linear/pack_weight.cpu.cc"
#include "ops/linear/swiglu.cpu.cc"
