// One module for what the machine can do.
#include "ops/machine/peaks.cu"
