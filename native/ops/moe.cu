// One module for all of moe.
#include "ops/moe/combine.cu"
#include "ops/moe/grouped_gemm.cu"
#include "ops/moe/permutation.cu"
#include "ops/moe/router.cu"
