// One module for all of attention.
#include "ops/attention/mla_cache_write.cu"
#include "ops/attention/rope.cu"
