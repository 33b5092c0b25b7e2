// One compilation for all of image.
#include "ops/image/interpolate_tokens.cuda.cc"
#include "ops/image/patchify.cuda.cc"
#include "ops/image/resize_bicubic.cuda.cc"
