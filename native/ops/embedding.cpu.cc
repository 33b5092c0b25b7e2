// One compilation for all of embedding: parsing the shared headers takes longer than compiling an operation.
#include "ops/embedding/cast.cpu.cc"
#include "ops/embedding/concat_rows.cpu.cc"
#include "ops/embedding/copy_rows.cpu.cc"
#include "ops/embedding/gather_rows.cpu.cc"
#include "ops/embedding/mask_rows.cpu.cc"
#include "ops/embedding/prompt_embedding.cpu.cc"
#include "ops/embedding/split_columns.cpu.cc"
