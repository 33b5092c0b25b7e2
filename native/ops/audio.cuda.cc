// One compilation for all of audio.
#include "ops/audio/cmvn.cuda.cc"
#include "ops/audio/fold_weight_norm.cuda.cc"
#include "ops/audio/fsmn_memory.cuda.cc"
#include "ops/audio/snake.cuda.cc"
#include "ops/audio/splice.cuda.cc"
