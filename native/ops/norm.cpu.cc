// One compilation for all of norm: parsing the shared headers takes longer than compiling an operation.
#include "ops/norm/activation.cpu.cc"
#include "ops/norm/binary.cpu.cc"
#include "ops/norm/layer_norm.cpu.cc"
#include "ops/norm/rms_norm.cpu.cc"
