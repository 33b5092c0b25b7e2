// One compilation for what the machine can do.
#include "ops/machine/peaks.cuda.cc"
