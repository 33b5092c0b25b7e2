// One compilation for all of attention: parsing the shared headers takes longer than compiling an operation.
#include "ops/attention/attention.cpu.cc"
#include "ops/attention/mla_cache_write.cpu.cc"
#include "ops/attention/mla_decode.cpu.cc"
#include "ops/attention/mla_prefill.cpu.cc"
#include "ops/attention/rope.cpu.cc"
#include "ops/attention/vit_attention.cpu.cc"
