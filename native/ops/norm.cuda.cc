// One compilation for all of norm.
#include "ops/norm/activation.cuda.cc"
#include "ops/norm/binary.cuda.cc"
#include "ops/norm/layer_norm.cuda.cc"
#include "ops/norm/rms_norm.cuda.cc"
