// One compilation for all of moe: parsing the shared headers takes longer than compiling an operation.
#include "ops/moe/combine.cpu.cc"
#include "ops/moe/grouped_gemm.cpu.cc"
#include "ops/moe/permutation.cpu.cc"
#include "ops/moe/router.cpu.cc"
