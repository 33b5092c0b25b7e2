// One compilation for all of attention.
#include "ops/attention/attention.cuda.cc"
#include "ops/attention/mla_cache_write.cuda.cc"
#include "ops/attention/mla_decode.cuda.cc"
#include "ops/attention/mla_prefill.cuda.cc"
#include "ops/attention/rope.cuda.cc"
#include "ops/attention/vit_attention.cuda.cc"
