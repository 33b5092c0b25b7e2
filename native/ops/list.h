#pragma once
// Every operation, once. From this list come the bindings (node/addon.cc) and the CPU dispatch (cpu/dispatch.cc).
#include "ops/attention/attention.h"
#include "ops/attention/rope.h"
#include "ops/attention/vit_attention.h"
#include "ops/audio/cmvn.h"
#include "ops/audio/codec_embedding.h"
#include "ops/audio/fbank.h"
#include "ops/audio/fsmn_memory.h"
#include "ops/audio/snake.h"
#include "ops/audio/splice.h"
#include "ops/linear/linear.h"
#include "ops/linear/pack_weight.h"
#include "ops/linear/swiglu.h"
#include "ops/machine/peaks.h"
#include "ops/moe/combine.h"
#include "ops/moe/grouped_gemm.h"
#include "ops/moe/permutation.h"
#include "ops/moe/router.h"
#include "ops/norm/rms_norm.h"

#define CARACAL_OPS(X) \
  X(Attention)       \
  X(Cmvn)            \
  X(CodecEmbedding)  \
  X(Combine)         \
  X(Fbank)           \
  X(FsmnMemory)      \
  X(GroupedGemm)     \
  X(GroupedSwiglu)   \
  X(Linear)          \
  X(MachinePeaks)    \
  X(PackWeight)      \
  X(Permutation)     \
  X(RmsNorm)         \
  X(Rope)            \
  X(Router)          \
  X(Snake)           \
  X(Splice)          \
  X(Swiglu)          \
  X(VitAttention)
