// One compilation for all of linear.
#include "ops/linear/linear.cuda.cc"
#include "ops/linear/pack_weight.cuda.cc"
#include "ops/linear/swiglu.cuda.cc"
