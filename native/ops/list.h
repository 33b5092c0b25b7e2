#pragma once
// Every operation, once. From this list come the bindings (node/addon.cc) and the CPU dispatch (cpu/dispatch.cc).
#include "ops/norm/rms_norm.h"

#define CARACAL_OPS(X) \
  X(RmsNorm)
