// One compilation for all of embedding.
#include "ops/embedding/cast.cuda.cc"
#include "ops/embedding/concat_rows.cuda.cc"
#include "ops/embedding/copy_rows.cuda.cc"
#include "ops/embedding/gather_rows.cuda.cc"
#include "ops/embedding/mask_rows.cuda.cc"
#include "ops/embedding/prompt_embedding.cuda.cc"
#include "ops/embedding/split_columns.cuda.cc"
