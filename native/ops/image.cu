// One module for all of image.
#include "ops/image/interpolate_tokens.cu"
#include "ops/image/patchify.cu"
#include "ops/image/resize_bicubic.cu"
