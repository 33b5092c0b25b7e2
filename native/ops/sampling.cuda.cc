// One compilation for all of sampling.
#include "ops/sampling/argmax.cuda.cc"
#include "ops/sampling/repetition_penalty.cuda.cc"
#include "ops/sampling/sample.cuda.cc"
