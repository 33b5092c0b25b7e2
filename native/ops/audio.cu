// One module for all of audio.
#include "ops/audio/cmvn.cu"
#include "ops/audio/codec_embedding.cu"
#include "ops/audio/conv1d.cu"
#include "ops/audio/fold_weight_norm.cu"
#include "ops/audio/fsmn_memory.cu"
#include "ops/audio/pack_conv1d.cu"
#include "ops/audio/snake.cu"
#include "ops/audio/splice.cu"
