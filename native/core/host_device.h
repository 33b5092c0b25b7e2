#pragma once
// CARACAL_HOST_DEVICE marks functions that are compiled for both host and device.

#ifdef __CUDACC__
#define CARACAL_HOST_DEVICE __device__ inline
#else
#include "core/dtype.h"
#define CARACAL_HOST_DEVICE CARACAL_INLINE
#endif
