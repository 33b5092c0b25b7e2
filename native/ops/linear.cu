// One module for all of linear.
#include "ops/linear/linear.cu"
#include "ops/linear/pack_weight.cu"
#include "ops/linear/swiglu.cu"
