// One compilation for all of attention.
#include "ops/attention/mla_cache_write.cuda.cc"
#include "ops/attention/rope.cuda.cc"
