// One module for all of attention.
#include "ops/attention/flash.cu"
#include "ops/attention/mla_cache_write.cu"
#include "ops/attention/mla_decode.cu"
#include "ops/attention/mla_prefill.cu"
#include "ops/attention/rope.cu"
#include "ops/attention/vit_attention.cu"
