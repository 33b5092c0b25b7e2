// One module for all of sampling.
#include "ops/sampling/argmax.cu"
#include "ops/sampling/repetition_penalty.cu"
#include "ops/sampling/sample.cu"
