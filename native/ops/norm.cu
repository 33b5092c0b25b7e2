// One module for all of norm.
#include "ops/norm/activation.cu"
#include "ops/norm/binary.cu"
#include "ops/norm/layer_norm.cu"
#include "ops/norm/rms_norm.cu"
