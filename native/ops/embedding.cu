// One module for all of embedding.
#include "ops/embedding/cast.cu"
#include "ops/embedding/gather_rows.cu"
#include "ops/embedding/mask_rows.cu"
#include "ops/embedding/prompt_embedding.cu"
#include "ops/embedding/split_columns.cu"
