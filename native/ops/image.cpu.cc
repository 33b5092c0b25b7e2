// One compilation for all of image: parsing the shared headers takes longer than compiling an operation.
#include "ops/image/interpolate_tokens.cpu.cc"
#include "ops/image/patchify.cpu.cc"
#include "ops/image/resize_bicubic.cpu.cc"
