// The table of entry points for cuGetProcAddress, and the extensions of caracal_vgpu.h.
#include <cstring>

#include "caracal_vgpu.h"
#include "driver/state.h"

using namespace vgpu::driver;

namespace {

struct EntryPoint {
  const char* name;
  int since;  // CUDA version, as in cudaTypedefs.h
  void* address;
};

// Entries with the same name are ordered by version.
const EntryPoint kEntryPoints[] = {
#define ENTRY(name, since, function) {#name, since, reinterpret_cast<void*>(&function)}
    // clang-format off
    ENTRY(cuInit, 2000, cuInit),
    ENTRY(cuDriverGetVersion, 2020, cuDriverGetVersion),
    ENTRY(cuGetErrorName, 6000, cuGetErrorName),
    ENTRY(cuGetErrorString, 6000, cuGetErrorString),
    ENTRY(cuGetProcAddress, 11030, cuGetProcAddress),
    ENTRY(cuGetProcAddress, 12000, cuGetProcAddress_v2),
    ENTRY(cuDeviceGetCount, 2000, cuDeviceGetCount),
    ENTRY(cuDeviceGet, 2000, cuDeviceGet),
    ENTRY(cuDeviceGetName, 2000, cuDeviceGetName),
    ENTRY(cuDeviceGetUuid, 9020, cuDeviceGetUuid),
    ENTRY(cuDeviceGetUuid, 11040, cuDeviceGetUuid_v2),
    ENTRY(cuDeviceTotalMem, 3020, cuDeviceTotalMem_v2),
    ENTRY(cuDeviceGetAttribute, 2000, cuDeviceGetAttribute),
    ENTRY(cuDeviceComputeCapability, 2000, cuDeviceComputeCapability),
    ENTRY(cuDeviceGetProperties, 2000, cuDeviceGetProperties),
    ENTRY(cuDeviceGetPCIBusId, 4010, cuDeviceGetPCIBusId),
    ENTRY(cuDeviceGetByPCIBusId, 4010, cuDeviceGetByPCIBusId),
    ENTRY(cuDeviceCanAccessPeer, 4000, cuDeviceCanAccessPeer),
    ENTRY(cuDeviceGetP2PAttribute, 8000, cuDeviceGetP2PAttribute),
    ENTRY(cuDeviceGetDefaultMemPool, 11020, cuDeviceGetDefaultMemPool),
    ENTRY(cuDeviceGetMemPool, 11020, cuDeviceGetMemPool),
    ENTRY(cuDeviceSetMemPool, 11020, cuDeviceSetMemPool),
    ENTRY(cuDevicePrimaryCtxRetain, 7000, cuDevicePrimaryCtxRetain),
    ENTRY(cuDevicePrimaryCtxRelease, 7000, cuDevicePrimaryCtxRelease),
    ENTRY(cuDevicePrimaryCtxRelease, 11000, cuDevicePrimaryCtxRelease_v2),
    ENTRY(cuDevicePrimaryCtxReset, 7000, cuDevicePrimaryCtxReset),
    ENTRY(cuDevicePrimaryCtxReset, 11000, cuDevicePrimaryCtxReset_v2),
    ENTRY(cuDevicePrimaryCtxSetFlags, 7000, cuDevicePrimaryCtxSetFlags),
    ENTRY(cuDevicePrimaryCtxSetFlags, 11000, cuDevicePrimaryCtxSetFlags_v2),
    ENTRY(cuDevicePrimaryCtxGetState, 7000, cuDevicePrimaryCtxGetState),
    ENTRY(cuCtxCreate, 3020, cuCtxCreate_v2),
    ENTRY(cuCtxCreate, 11040, cuCtxCreate_v3),
    ENTRY(cuCtxCreate, 12050, cuCtxCreate_v4),
    ENTRY(cuCtxDestroy, 4000, cuCtxDestroy_v2),
    ENTRY(cuCtxPushCurrent, 4000, cuCtxPushCurrent_v2),
    ENTRY(cuCtxPopCurrent, 4000, cuCtxPopCurrent_v2),
    ENTRY(cuCtxSetCurrent, 4000, cuCtxSetCurrent),
    ENTRY(cuCtxGetCurrent, 4000, cuCtxGetCurrent),
    ENTRY(cuCtxGetDevice, 2000, cuCtxGetDevice),
    ENTRY(cuCtxGetFlags, 7000, cuCtxGetFlags),
    ENTRY(cuCtxGetId, 12000, cuCtxGetId),
    ENTRY(cuCtxGetApiVersion, 3020, cuCtxGetApiVersion),
    ENTRY(cuCtxSynchronize, 2000, cuCtxSynchronize),
    ENTRY(cuCtxSetLimit, 3010, cuCtxSetLimit),
    ENTRY(cuCtxGetLimit, 3010, cuCtxGetLimit),
    ENTRY(cuCtxGetCacheConfig, 3020, cuCtxGetCacheConfig),
    ENTRY(cuCtxSetCacheConfig, 3020, cuCtxSetCacheConfig),
    ENTRY(cuCtxGetStreamPriorityRange, 5050, cuCtxGetStreamPriorityRange),
    ENTRY(cuCtxResetPersistingL2Cache, 11000, cuCtxResetPersistingL2Cache),
    ENTRY(cuCtxEnablePeerAccess, 4000, cuCtxEnablePeerAccess),
    ENTRY(cuCtxDisablePeerAccess, 4000, cuCtxDisablePeerAccess),
    ENTRY(cuModuleLoad, 2000, cuModuleLoad),
    ENTRY(cuModuleLoadData, 2000, cuModuleLoadData),
    ENTRY(cuModuleLoadDataEx, 2010, cuModuleLoadDataEx),
    ENTRY(cuModuleLoadFatBinary, 2000, cuModuleLoadFatBinary),
    ENTRY(cuModuleUnload, 2000, cuModuleUnload),
    ENTRY(cuModuleGetFunction, 2000, cuModuleGetFunction),
    ENTRY(cuModuleGetGlobal, 3020, cuModuleGetGlobal_v2),
    ENTRY(cuModuleGetFunctionCount, 12040, cuModuleGetFunctionCount),
    ENTRY(cuModuleGetLoadingMode, 11070, cuModuleGetLoadingMode),
    ENTRY(cuLibraryLoadData, 12000, cuLibraryLoadData),
    ENTRY(cuLibraryLoadFromFile, 12000, cuLibraryLoadFromFile),
    ENTRY(cuLibraryUnload, 12000, cuLibraryUnload),
    ENTRY(cuLibraryGetKernel, 12000, cuLibraryGetKernel),
    ENTRY(cuLibraryGetKernelCount, 12040, cuLibraryGetKernelCount),
    ENTRY(cuLibraryGetModule, 12000, cuLibraryGetModule),
    ENTRY(cuLibraryGetGlobal, 12000, cuLibraryGetGlobal),
    ENTRY(cuKernelGetFunction, 12000, cuKernelGetFunction),
    ENTRY(cuKernelGetAttribute, 12000, cuKernelGetAttribute),
    ENTRY(cuKernelSetAttribute, 12000, cuKernelSetAttribute),
    ENTRY(cuKernelGetName, 12030, cuKernelGetName),
    ENTRY(cuFuncGetAttribute, 2020, cuFuncGetAttribute),
    ENTRY(cuFuncSetAttribute, 9000, cuFuncSetAttribute),
    ENTRY(cuFuncSetCacheConfig, 3000, cuFuncSetCacheConfig),
    ENTRY(cuFuncGetModule, 11000, cuFuncGetModule),
    ENTRY(cuFuncGetName, 12030, cuFuncGetName),
    ENTRY(cuFuncGetParamInfo, 12040, cuFuncGetParamInfo),
    ENTRY(cuOccupancyMaxActiveBlocksPerMultiprocessor, 6050, cuOccupancyMaxActiveBlocksPerMultiprocessor),
    ENTRY(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, 7000, cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags),
    ENTRY(cuOccupancyMaxPotentialBlockSize, 6050, cuOccupancyMaxPotentialBlockSize),
    ENTRY(cuOccupancyAvailableDynamicSMemPerBlock, 10020, cuOccupancyAvailableDynamicSMemPerBlock),
    ENTRY(cuOccupancyMaxActiveClusters, 11070, cuOccupancyMaxActiveClusters),
    ENTRY(cuOccupancyMaxPotentialClusterSize, 11070, cuOccupancyMaxPotentialClusterSize),
    ENTRY(cuLaunchKernel, 4000, cuLaunchKernel),
    ENTRY(cuLaunchKernelEx, 11060, cuLaunchKernelEx),
    ENTRY(cuLaunchCooperativeKernel, 9000, cuLaunchCooperativeKernel),
    ENTRY(cuLaunchHostFunc, 10000, cuLaunchHostFunc),
    ENTRY(cuMemGetInfo, 3020, cuMemGetInfo_v2),
    ENTRY(cuMemAlloc, 3020, cuMemAlloc_v2),
    ENTRY(cuMemAllocPitch, 3020, cuMemAllocPitch_v2),
    ENTRY(cuMemFree, 3020, cuMemFree_v2),
    ENTRY(cuMemGetAddressRange, 3020, cuMemGetAddressRange_v2),
    ENTRY(cuMemAllocHost, 3020, cuMemAllocHost_v2),
    ENTRY(cuMemFreeHost, 2000, cuMemFreeHost),
    ENTRY(cuMemHostAlloc, 2020, cuMemHostAlloc),
    ENTRY(cuMemHostGetDevicePointer, 3020, cuMemHostGetDevicePointer_v2),
    ENTRY(cuMemHostGetFlags, 2030, cuMemHostGetFlags),
    ENTRY(cuMemHostRegister, 6050, cuMemHostRegister_v2),
    ENTRY(cuMemHostUnregister, 4000, cuMemHostUnregister),
    ENTRY(cuMemAllocManaged, 6000, cuMemAllocManaged),
    ENTRY(cuPointerGetAttribute, 4000, cuPointerGetAttribute),
    ENTRY(cuPointerGetAttributes, 7000, cuPointerGetAttributes),
    ENTRY(cuPointerSetAttribute, 6000, cuPointerSetAttribute),
    ENTRY(cuMemcpy, 4000, cuMemcpy),
    ENTRY(cuMemcpyAsync, 4000, cuMemcpyAsync),
    ENTRY(cuMemcpyPeer, 4000, cuMemcpyPeer),
    ENTRY(cuMemcpyPeerAsync, 4000, cuMemcpyPeerAsync),
    ENTRY(cuMemcpyHtoD, 3020, cuMemcpyHtoD_v2),
    ENTRY(cuMemcpyDtoH, 3020, cuMemcpyDtoH_v2),
    ENTRY(cuMemcpyDtoD, 3020, cuMemcpyDtoD_v2),
    ENTRY(cuMemcpyHtoDAsync, 3020, cuMemcpyHtoDAsync_v2),
    ENTRY(cuMemcpyDtoHAsync, 3020, cuMemcpyDtoHAsync_v2),
    ENTRY(cuMemcpyDtoDAsync, 3020, cuMemcpyDtoDAsync_v2),
    ENTRY(cuMemcpy2D, 3020, cuMemcpy2D_v2),
    ENTRY(cuMemcpy2DUnaligned, 3020, cuMemcpy2DUnaligned_v2),
    ENTRY(cuMemcpy2DAsync, 3020, cuMemcpy2DAsync_v2),
    ENTRY(cuMemcpy3D, 3020, cuMemcpy3D_v2),
    ENTRY(cuMemcpy3DAsync, 3020, cuMemcpy3DAsync_v2),
    ENTRY(cuMemcpy3DPeer, 4000, cuMemcpy3DPeer),
    ENTRY(cuMemcpy3DPeerAsync, 4000, cuMemcpy3DPeerAsync),
    ENTRY(cuMemsetD8, 3020, cuMemsetD8_v2),
    ENTRY(cuMemsetD16, 3020, cuMemsetD16_v2),
    ENTRY(cuMemsetD32, 3020, cuMemsetD32_v2),
    ENTRY(cuMemsetD2D8, 3020, cuMemsetD2D8_v2),
    ENTRY(cuMemsetD2D16, 3020, cuMemsetD2D16_v2),
    ENTRY(cuMemsetD2D32, 3020, cuMemsetD2D32_v2),
    ENTRY(cuMemsetD8Async, 3020, cuMemsetD8Async),
    ENTRY(cuMemsetD16Async, 3020, cuMemsetD16Async),
    ENTRY(cuMemsetD32Async, 3020, cuMemsetD32Async),
    ENTRY(cuMemsetD2D8Async, 3020, cuMemsetD2D8Async),
    ENTRY(cuMemsetD2D16Async, 3020, cuMemsetD2D16Async),
    ENTRY(cuMemsetD2D32Async, 3020, cuMemsetD2D32Async),
    ENTRY(cuMemAllocAsync, 11020, cuMemAllocAsync),
    ENTRY(cuMemAllocFromPoolAsync, 11020, cuMemAllocFromPoolAsync),
    ENTRY(cuMemFreeAsync, 11020, cuMemFreeAsync),
    ENTRY(cuMemPoolCreate, 11020, cuMemPoolCreate),
    ENTRY(cuMemPoolDestroy, 11020, cuMemPoolDestroy),
    ENTRY(cuMemPoolTrimTo, 11020, cuMemPoolTrimTo),
    ENTRY(cuMemPoolGetAttribute, 11020, cuMemPoolGetAttribute),
    ENTRY(cuMemPoolSetAttribute, 11020, cuMemPoolSetAttribute),
    ENTRY(cuMemPoolSetAccess, 11020, cuMemPoolSetAccess),
    ENTRY(cuMemPoolGetAccess, 11020, cuMemPoolGetAccess),
    ENTRY(cuStreamCreate, 2000, cuStreamCreate),
    ENTRY(cuStreamCreateWithPriority, 5050, cuStreamCreateWithPriority),
    ENTRY(cuStreamDestroy, 4000, cuStreamDestroy_v2),
    ENTRY(cuStreamQuery, 2000, cuStreamQuery),
    ENTRY(cuStreamSynchronize, 2000, cuStreamSynchronize),
    ENTRY(cuStreamWaitEvent, 3020, cuStreamWaitEvent),
    ENTRY(cuStreamAddCallback, 5000, cuStreamAddCallback),
    ENTRY(cuStreamGetFlags, 5050, cuStreamGetFlags),
    ENTRY(cuStreamGetPriority, 5050, cuStreamGetPriority),
    ENTRY(cuStreamGetCtx, 9020, cuStreamGetCtx),
    ENTRY(cuStreamGetDevice, 12080, cuStreamGetDevice),
    ENTRY(cuStreamGetId, 12000, cuStreamGetId),
    ENTRY(cuStreamBeginCapture, 10000, cuStreamBeginCapture),
    ENTRY(cuStreamBeginCapture, 10010, cuStreamBeginCapture_v2),
    ENTRY(cuStreamEndCapture, 10000, cuStreamEndCapture),
    ENTRY(cuStreamIsCapturing, 10000, cuStreamIsCapturing),
    ENTRY(cuStreamGetCaptureInfo, 10010, cuStreamGetCaptureInfo),
    ENTRY(cuStreamGetCaptureInfo, 11030, cuStreamGetCaptureInfo_v2),
    ENTRY(cuThreadExchangeStreamCaptureMode, 10010, cuThreadExchangeStreamCaptureMode),
    ENTRY(cuEventCreate, 2000, cuEventCreate),
    ENTRY(cuEventRecord, 2000, cuEventRecord),
    ENTRY(cuEventRecordWithFlags, 11010, cuEventRecordWithFlags),
    ENTRY(cuEventQuery, 2000, cuEventQuery),
    ENTRY(cuEventSynchronize, 2000, cuEventSynchronize),
    ENTRY(cuEventDestroy, 4000, cuEventDestroy_v2),
    ENTRY(cuEventElapsedTime, 2000, cuEventElapsedTime),
    ENTRY(cuEventElapsedTime, 12080, cuEventElapsedTime_v2),
    ENTRY(cuGraphCreate, 10000, cuGraphCreate),
    ENTRY(cuGraphDestroy, 10000, cuGraphDestroy),
    ENTRY(cuGraphClone, 10000, cuGraphClone),
    ENTRY(cuGraphAddKernelNode, 12000, cuGraphAddKernelNode_v2),
    ENTRY(cuGraphAddMemcpyNode, 10000, cuGraphAddMemcpyNode),
    ENTRY(cuGraphAddMemsetNode, 10000, cuGraphAddMemsetNode),
    ENTRY(cuGraphAddHostNode, 10000, cuGraphAddHostNode),
    ENTRY(cuGraphAddEmptyNode, 10000, cuGraphAddEmptyNode),
    ENTRY(cuGraphAddDependencies, 10000, cuGraphAddDependencies),
    ENTRY(cuGraphAddDependencies, 12030, cuGraphAddDependencies_v2),
    ENTRY(cuGraphGetNodes, 10000, cuGraphGetNodes),
    ENTRY(cuGraphGetRootNodes, 10000, cuGraphGetRootNodes),
    ENTRY(cuGraphGetEdges, 10000, cuGraphGetEdges),
    ENTRY(cuGraphNodeGetType, 10000, cuGraphNodeGetType),
    ENTRY(cuGraphNodeGetDependencies, 10000, cuGraphNodeGetDependencies),
    ENTRY(cuGraphDestroyNode, 10000, cuGraphDestroyNode),
    ENTRY(cuGraphInstantiateWithFlags, 11040, cuGraphInstantiateWithFlags),
    ENTRY(cuGraphUpload, 11010, cuGraphUpload),
    ENTRY(cuGraphLaunch, 10000, cuGraphLaunch),
    ENTRY(cuGraphExecUpdate, 12000, cuGraphExecUpdate_v2),
    ENTRY(cuGraphExecDestroy, 10000, cuGraphExecDestroy),
    ENTRY(cuGraphKernelNodeGetParams, 12000, cuGraphKernelNodeGetParams_v2),
    ENTRY(cuGraphKernelNodeSetParams, 12000, cuGraphKernelNodeSetParams_v2),
    ENTRY(cuGraphExecKernelNodeSetParams, 12000, cuGraphExecKernelNodeSetParams_v2),
    ENTRY(cuTensorMapEncodeTiled, 12000, cuTensorMapEncodeTiled),
    ENTRY(cuProfilerStart, 4000, cuProfilerStart),
    ENTRY(cuProfilerStop, 4000, cuProfilerStop),
// clang-format on
#undef ENTRY
};

// All functions take null for the legacy default stream; there are no per-thread variants.
CUdriverProcAddressQueryResult look_up(const char* symbol, int version, void** out) {
  *out = nullptr;
  bool exists = false;
  for (const EntryPoint& e : kEntryPoints) {
    if (std::strcmp(e.name, symbol) != 0) continue;
    exists = true;
    if (e.since <= version) *out = e.address;
  }
  return *out     ? CU_GET_PROC_ADDRESS_SUCCESS
         : exists ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                  : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
}

}  // namespace

CUresult cuGetProcAddress_v2(const char* symbol, void** out, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult* status) {
  int newest = 0;
  if (const CUresult r = cuDriverGetVersion(&newest)) return r;
  if (!symbol || !out || flags > (CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM))
    return CUDA_ERROR_INVALID_VALUE;
  if (version > newest) return CUDA_ERROR_INVALID_VALUE;
  const auto found = look_up(symbol, version, out);
  if (status) *status = found;
  return CUDA_SUCCESS;
}
// The first version returned as its result what the second version reports as its status.
CUresult cuGetProcAddress(const char* symbol, void** out, int version, cuuint64_t flags) {
  CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
  if (const CUresult r = cuGetProcAddress_v2(symbol, out, version, flags, &status)) return r;
  return status == CU_GET_PROC_ADDRESS_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

const char* caracalVgpuReport() {
  static thread_local std::string text;
  const Lock lock(driver().mutex);
  text = driver().report;
  return text.c_str();
}

const char* caracalVgpuPrinted() {
  static thread_local std::string text;
  text = driver().take_printed();
  return text.c_str();
}

const char* caracalVgpuCounters() {
  static thread_local std::string text;
  const Lock lock(driver().mutex);
  text = driver().counters;
  return text.c_str();
}

void caracalVgpuKeepPrinted(int keep) {
  const Lock lock(driver().mutex);
  driver().keep_printed = keep != 0;
}

void caracalVgpuReset() {
  Lock lock(driver().mutex);
  driver().reset(lock);
}
