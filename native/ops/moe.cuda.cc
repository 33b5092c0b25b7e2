// One compilation for all of moe.
#include "ops/moe/combine.cuda.cc"
#include "ops/moe/grouped_gemm.cuda.cc"
#include "ops/moe/permutation.cuda.cc"
#include "ops/moe/router.cuda.cc"
