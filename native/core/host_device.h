#pragma once
// CARACAL_HOST_DEVICE: of functions that kernels and the host share.

#ifdef __CUDACC__
#define CARACAL_HOST_DEVICE __device__ inline
#else
#include "core/dtype.h"
#define CARACAL_HOST_DEVICE CARACAL_INLINE
#endif
