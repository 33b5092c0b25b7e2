// Memory, streams, events, graphs.
#include "host.h"

TEST(copies_in_every_direction) {
  begin();
  CUdeviceptr p = device_words({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}), q = device_words(std::vector<uint32_t>(12));
  OK(cuMemcpyDtoD_v2(q, p, 48));
  EXPECT(words_at(q, 12)[11] == 12);
  OK(cuMemcpy(q, p + 4, 4));
  EXPECT(words_at(q, 1)[0] == 2);
  OK(cuMemsetD32_v2(q, 9, 2));
  OK(cuMemsetD16_v2(q, 0x1234, 1));
  OK(cuMemsetD8_v2(q + 3, 0xff, 1));
  EXPECT(words_at(q, 2)[0] == 0xff001234 && words_at(q, 2)[1] == 9);
  // 2 rows of 8 bytes at column 4 of a matrix of 3 x 16 bytes
  CUDA_MEMCPY2D c{};
  c.srcMemoryType = CU_MEMORYTYPE_DEVICE, c.srcDevice = p, c.srcPitch = 16, c.srcXInBytes = 4, c.srcY = 1;
  uint32_t out[4] = {};
  c.dstMemoryType = CU_MEMORYTYPE_HOST, c.dstHost = out, c.dstPitch = 8;
  c.WidthInBytes = 8, c.Height = 2;
  OK(cuMemcpy2D_v2(&c));
  EXPECT(out[0] == 6 && out[1] == 7 && out[2] == 10 && out[3] == 11);
  c.Height = 3;
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D_v2(&c));
  c.Height = 2, c.srcPitch = 8;
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D_v2(&c));
  CUDA_MEMCPY3D d{};
  d.srcMemoryType = d.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  d.srcDevice = p, d.srcPitch = 8, d.srcHeight = 3;  // two images of 3 rows of 2 words
  d.dstDevice = q, d.dstPitch = 4, d.dstHeight = 1;
  d.WidthInBytes = 4, d.Height = 1, d.Depth = 2, d.srcY = 2, d.srcXInBytes = 4;
  OK(cuMemcpy3D_v2(&d));
  EXPECT(words_at(q, 2)[0] == 6 && words_at(q, 2)[1] == 12);
  OK(cuMemsetD2D32_v2(p, 16, 0, 1, 3));
  EXPECT((words_at(p, 9) == std::vector<uint32_t>{0, 2, 3, 4, 0, 6, 7, 8, 0}));
}

TEST(memory_is_checked) {
  setenv("CARACAL_VGPU_MEMORY", "1M", 1);
  begin();
  CUdeviceptr p, q;
  size_t free_before, total, bytes = 0;
  OK(cuMemGetInfo_v2(&free_before, &total));
  EXPECT(total == 1 << 20);
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemAlloc_v2(&p, 0));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemAlloc_v2(nullptr, 1));
  GIVES(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&p, 1 << 20));
  GIVES(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&p, SIZE_MAX));
  OK(cuMemAlloc_v2(&p, 1000));
  EXPECT(p % 256 == 0);
  OK(cuMemGetInfo_v2(&bytes, &total));
  EXPECT(bytes == free_before - 1000);
  OK(cuMemGetAddressRange_v2(&q, &bytes, p + 999));
  EXPECT(q == p && bytes == 1000);
  GIVES(CUDA_ERROR_NOT_FOUND, cuMemGetAddressRange_v2(&q, &bytes, p + 1000));
  char host[2000];
  OK(cuMemcpyDtoH_v2(host, p, 1000));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(host, p, 1001));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(p + 1, host, 1000));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(reinterpret_cast<CUdeviceptr>(host), host, 1));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemsetD32_v2(p + 2, 0, 1));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemsetD8_v2(p, 0, SIZE_MAX));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(p + 256));
  OK(cuMemFree_v2(0));
  OK(cuMemFree_v2(p));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(p));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(host, p, 1));
  size_t pitch = 0;
  OK(cuMemAllocPitch_v2(&p, &pitch, 100, 3, 4));
  EXPECT(pitch >= 100 && pitch % 32 == 0);
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemAllocPitch_v2(&p, &pitch, 100, 3, 5));
}

TEST(host_memory_on_the_device) {
  begin();
  void* h = nullptr;
  OK(cuMemHostAlloc(&h, 64, CU_MEMHOSTALLOC_DEVICEMAP));
  auto* words = static_cast<uint32_t*>(h);
  words[0] = 3;
  CUdeviceptr p = 0;
  OK(cuMemHostGetDevicePointer_v2(&p, h, 0));
  OK(launch(function("multiply"), 1, 1, 0, nullptr, p, 5u));
  OK(cuCtxSynchronize());
  EXPECT(words[0] == 15);
  unsigned type = 0;
  OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p + 60));
  EXPECT(type == CU_MEMORYTYPE_HOST);
  static uint32_t mine[1024];
  mine[0] = 2;
  GIVES(CUDA_ERROR_INVALID_VALUE,
        cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, reinterpret_cast<CUdeviceptr>(mine)));
  OK(cuMemHostRegister_v2(mine, sizeof mine, 0));
  GIVES(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister_v2(mine + 1, 4, 0));
  OK(launch(function("multiply"), 1, 1, 0, nullptr, reinterpret_cast<CUdeviceptr>(mine), 5u));
  OK(cuMemHostUnregister(mine));  // waits
  EXPECT(mine[0] == 10);
  GIVES(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(mine));
  OK(cuMemFreeHost(h));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(h));
  OK(cuMemAllocManaged(&p, 4, CU_MEM_ATTACH_GLOBAL));
  *reinterpret_cast<uint32_t*>(p) = 4;
  OK(launch(function("multiply"), 1, 1, 0, nullptr, p, 5u));
  OK(cuCtxSynchronize());
  EXPECT(*reinterpret_cast<uint32_t*>(p) == 20);
  unsigned managed = 0;
  OK(cuPointerGetAttribute(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, p));
  EXPECT(managed == 1);
  // An unregistered host pointer faults on the device.
  OK(launch(function("multiply"), 1, 1, 0, nullptr, reinterpret_cast<CUdeviceptr>(mine), 5u));
  GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
}

TEST(pools) {
  begin();
  const CUstream s = new_stream();
  CUdeviceptr p = 0;
  CUmemoryPool pool;
  uint64_t used = 1;
  OK(cuDeviceGetDefaultMemPool(&pool, 0));
  OK(cuMemAllocAsync(&p, 100, s));
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  EXPECT(used == 100);
  OK(cuMemsetD8Async(p, 3, 100, s));
  OK(cuMemFreeAsync(p, s));
  OK(cuStreamSynchronize(s));
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  EXPECT(used == 0);
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemsetD8Async(p, 3, 100, s));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemFreeAsync(p, s));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemPoolDestroy(pool));
}

// Nothing runs before the host waits for it, so missing synchronisation shows.
TEST(late_work_shows_missing_synchronisation) {
  setenv("CARACAL_VGPU_ORDER", "late", 1);
  begin();
  const CUdeviceptr p = device_words({1});
  const CUstream s = new_stream(CU_STREAM_NON_BLOCKING), t = new_stream(CU_STREAM_NON_BLOCKING);
  void* pinned = nullptr;
  OK(cuMemAllocHost_v2(&pinned, 4));
  auto* seen = static_cast<uint32_t*>(pinned);
  *seen = 0;
  OK(launch(function("multiply"), 1, 1, 0, s, p, 7u));
  OK(cuMemcpyDtoHAsync_v2(pinned, p, 4, s));
  GIVES(CUDA_ERROR_NOT_READY, cuStreamQuery(s));
  OK(cuStreamSynchronize(s));
  EXPECT(*seen == 7);
  // t does not wait for s, so the copy comes first.
  OK(launch(function("multiply"), 1, 1, 0, s, p, 2u));
  OK(cuMemcpyDtoHAsync_v2(pinned, p, 4, t));
  OK(cuStreamSynchronize(t));
  EXPECT(*seen == 7);
  const CUevent e = new_event();
  OK(cuEventRecord(e, s));
  OK(cuStreamWaitEvent(t, e, 0));
  OK(cuMemcpyDtoHAsync_v2(pinned, p, 4, t));
  OK(cuStreamSynchronize(t));
  EXPECT(*seen == 14);
  // Pinned memory is read when the copy runs, pageable memory when the call is made.
  *seen = 100;
  uint32_t pageable = 50;
  CUdeviceptr q = 0;
  OK(cuMemAlloc_v2(&q, 8));
  OK(cuMemcpyHtoDAsync_v2(q, pinned, 4, s));
  OK(cuMemcpyHtoDAsync_v2(q + 4, &pageable, 4, s));
  *seen = 101, pageable = 51;
  OK(cuStreamSynchronize(s));
  EXPECT((words_at(q, 2) == std::vector<uint32_t>{101, 50}));
}

TEST(legacy_default_stream_orders_blocking_streams) {
  setenv("CARACAL_VGPU_ORDER", "late", 1);
  setenv("CARACAL_VGPU_SEED", "5", 1);
  begin();
  const CUfunction add = function("add"), multiply = function("multiply");
  const CUstream a = new_stream(), b = new_stream();
  for (int i = 0; i < 20; i++) {
    const CUdeviceptr p = device_words({1});
    OK(launch(add, 1, 1, 0, a, p, 2u, 1u));          // 3
    OK(launch(multiply, 1, 1, 0, nullptr, p, 10u));  // 30
    OK(launch(add, 1, 1, 0, b, p, 4u, 1u));          // 34
    OK(launch(multiply, 1, 1, 0, CU_STREAM_LEGACY, p, 2u));
    OK(launch(add, 1, 1, 0, CU_STREAM_PER_THREAD, p, 1u, 1u));
    EXPECT(words_at(p, 1)[0] == 69);
  }
}

TEST(random_order_among_streams) {
  setenv("CARACAL_VGPU_ORDER", "late", 1);
  setenv("CARACAL_VGPU_SEED", "11", 1);
  begin();
  const CUfunction add = function("add"), multiply = function("multiply");
  const CUstream a = new_stream(CU_STREAM_NON_BLOCKING), b = new_stream(CU_STREAM_NON_BLOCKING);
  int first[2] = {};
  for (int i = 0; i < 40; i++) {
    const CUdeviceptr p = device_words({1});
    OK(launch(add, 1, 1, 0, a, p, 1u, 1u));
    OK(launch(multiply, 1, 1, 0, b, p, 3u));
    OK(cuCtxSynchronize());
    first[words_at(p, 1)[0] == 6]++;  // (1 + 1) * 3, or 1 * 3 + 1
  }
  EXPECT(first[0] > 0 && first[1] > 0);
}

static std::vector<int> order;
TEST(host_functions_run_in_order) {
  begin();
  const CUstream s = new_stream();
  OK(cuLaunchHostFunc(s, [](void*) { order.push_back(1); }, nullptr));
  OK(cuStreamAddCallback(
      s,
      [](CUstream, CUresult status, void*) {
        size_t n;
        order.push_back(status == CUDA_SUCCESS && cuMemGetInfo_v2(&n, &n) == CUDA_ERROR_NOT_PERMITTED ? 2 : -2);
      },
      nullptr, 0));
  OK(cuLaunchHostFunc(s, [](void* data) { order.push_back(*static_cast<int*>(data)); }, new int(3)));
  OK(cuStreamSynchronize(s));
  EXPECT((order == std::vector<int>{1, 2, 3}));
}

TEST(events) {
  begin();
  const CUevent a = new_event(), b = new_event();
  float ms = -1;
  OK(cuEventQuery(a));
  GIVES(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime_v2(&ms, a, b));
  const CUdeviceptr p = device_words(std::vector<uint32_t>(1000));
  OK(cuEventRecord(a, nullptr));
  OK(launch(function("add"), 8, 128, 0, nullptr, p, 1u, 1000u));
  OK(cuEventRecord(b, nullptr));
  OK(cuEventSynchronize(b));
  OK(cuEventElapsedTime_v2(&ms, a, b));
  EXPECT(ms > 0);
  OK(cuEventElapsedTime(&ms, a, a));
  EXPECT(ms == 0);
  OK(cuEventDestroy_v2(a));
  GIVES(CUDA_ERROR_INVALID_HANDLE, cuEventDestroy_v2(a));
  GIVES(CUDA_ERROR_INVALID_HANDLE, cuEventRecord(a, nullptr));
  const CUstream s = new_stream();
  OK(cuStreamDestroy_v2(s));
  GIVES(CUDA_ERROR_INVALID_HANDLE, cuStreamSynchronize(s));
  GIVES(CUDA_ERROR_INVALID_HANDLE, cuEventRecord(b, s));
}

TEST(captured_fork_and_join) {
  begin();
  const CUfunction add = function("add"), multiply = function("multiply");
  const CUdeviceptr p = device_words({1}), q = device_words({1});
  const CUstream a = new_stream(), b = new_stream();
  const CUevent fork = new_event(), join = new_event();
  OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  GIVES(CUDA_ERROR_ILLEGAL_STATE, cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
  OK(launch(add, 1, 1, 0, a, p, 2u, 1u));
  OK(cuEventRecord(fork, a));
  OK(cuStreamWaitEvent(b, fork, 0));
  CUstreamCaptureStatus status;
  OK(cuStreamIsCapturing(b, &status));
  EXPECT(status == CU_STREAM_CAPTURE_STATUS_ACTIVE);
  OK(cuMemcpyDtoDAsync_v2(q, p, 4, b));
  OK(launch(multiply, 1, 1, 0, b, q, 5u));
  OK(cuEventRecord(join, b));
  OK(launch(multiply, 1, 1, 0, a, p, 3u));
  OK(cuStreamWaitEvent(a, join, 0));
  OK(launch(add, 1, 1, 0, a, q, 1u, 1u));
  CUgraph graph = nullptr;
  GIVES(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, [&] {
    CUresult r = CUDA_SUCCESS;
    std::thread([&] {
      cuCtxSetCurrent(context);
      r = cuStreamEndCapture(a, &graph);
    }).join();
    return r;
  }());
  OK(cuStreamEndCapture(a, &graph));
  EXPECT((words_at(p, 1)[0] == 1));
  size_t nodes = 0, edges = 0, roots = 0;
  OK(cuGraphGetNodes(graph, nullptr, &nodes));
  OK(cuGraphGetEdges(graph, nullptr, nullptr, &edges));
  OK(cuGraphGetRootNodes(graph, nullptr, &roots));
  EXPECT(nodes == 5 && edges == 5 && roots == 1);
  CUgraphExec exec;
  OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
  OK(cuGraphDestroy(graph));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuGraphDestroy(graph));
  OK(cuGraphLaunch(exec, a));
  OK(cuStreamSynchronize(a));
  EXPECT(words_at(p, 1)[0] == 9 && words_at(q, 1)[0] == 16);  // (1 + 2) * 3; (1 + 2) * 5 + 1
  OK(cuGraphLaunch(exec, a));
  OK(cuGraphLaunch(exec, b));
  OK(cuCtxSynchronize());
  EXPECT(words_at(p, 1)[0] == (((9 + 2) * 3) + 2) * 3);
  OK(cuGraphExecDestroy(exec));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuGraphLaunch(exec, a));
}

// Calls that a capturing stream does not allow and that invalidate the capture.
static void broken_capture(CUresult expected, CUresult at_end, CUresult (*call)(CUstream s)) {
  const CUstream s = new_stream();
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
  GIVES(expected, call(s));
  CUgraph graph = reinterpret_cast<CUgraph>(1);
  GIVES(at_end, cuStreamEndCapture(s, &graph));
  if (at_end != CUDA_SUCCESS) EXPECT(graph == nullptr);
  OK(cuStreamSynchronize(s));
  OK(cuStreamDestroy_v2(s));
}
TEST(captures_that_break) {
  begin();
  const auto bad = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  broken_capture(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, bad, [](CUstream s) { return cuStreamSynchronize(s); });
  broken_capture(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, bad, [](CUstream s) { return cuStreamQuery(s); });
  broken_capture(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, bad, [](CUstream) { return cuCtxSynchronize(); });
  broken_capture(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, bad, [](CUstream) {
    CUdeviceptr p;
    return cuMemAlloc_v2(&p, 4);
  });
  broken_capture(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, bad,
                 [](CUstream) { return launch(function("nap"), 1, 1, 0, nullptr); });
  broken_capture(CUDA_ERROR_CAPTURED_EVENT, bad, [](CUstream s) {
    const CUevent e = new_event();
    OK(cuEventRecord(e, s));
    return cuEventSynchronize(e);
  });
  broken_capture(CUDA_SUCCESS, CUDA_ERROR_STREAM_CAPTURE_UNJOINED, [](CUstream s) {
    const CUevent e = new_event();
    const CUstream t = new_stream();
    OK(cuEventRecord(e, s));
    OK(cuStreamWaitEvent(t, e, 0));
    return launch(function("nap"), 1, 1, 0, t);
  });
  broken_capture(CUDA_ERROR_STREAM_CAPTURE_MERGE, bad, [](CUstream s) {
    const CUevent e = new_event();
    const CUstream t = new_stream();
    OK(cuStreamBeginCapture_v2(t, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cuEventRecord(e, t));
    const CUresult r = cuStreamWaitEvent(s, e, 0);
    CUgraph g;
    GIVES(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(t, &g));
    return r;
  });
  broken_capture(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, bad, [](CUstream s) {
    const CUevent e = new_event();
    return cuStreamWaitEvent(s, e, 0);
  });
  // A thread in relaxed mode may allocate.
  broken_capture(CUDA_SUCCESS, CUDA_SUCCESS, [](CUstream) {
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    OK(cuThreadExchangeStreamCaptureMode(&mode));
    EXPECT(mode == CU_STREAM_CAPTURE_MODE_GLOBAL);
    CUdeviceptr p;
    const CUresult r = cuMemAlloc_v2(&p, 4);
    OK(cuThreadExchangeStreamCaptureMode(&mode));
    return r;
  });
  GIVES(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamBeginCapture_v2(nullptr, CU_STREAM_CAPTURE_MODE_RELAXED));
}

TEST(graph_node_by_node) {
  begin();
  CUdeviceptr p = device_words({1});
  uint32_t five = 5;
  void* arguments[] = {&p, &five};
  CUDA_KERNEL_NODE_PARAMS k{};
  k.func = function("multiply");
  k.gridDimX = k.gridDimY = k.gridDimZ = k.blockDimX = k.blockDimY = k.blockDimZ = 1;
  k.kernelParams = arguments;
  const CUDA_MEMSET_NODE_PARAMS set{p, 0, 4, 4, 1, 1};
  static int called = 0;
  const CUDA_HOST_NODE_PARAMS host{[](void*) { called++; }, nullptr};
  CUgraph graph;
  CUgraphNode n[4];
  OK(cuGraphCreate(&graph, 0));
  OK(cuGraphAddKernelNode_v2(&n[0], graph, nullptr, 0, &k));
  OK(cuGraphAddMemsetNode(&n[1], graph, nullptr, 0, &set, context));
  OK(cuGraphAddDependencies(graph, &n[1], &n[0], 1));
  OK(cuGraphAddHostNode(&n[2], graph, &n[0], 1, &host));
  OK(cuGraphAddEmptyNode(&n[3], graph, n, 3));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuGraphAddDependencies(graph, &n[1], &n[0], 1));
  CUgraphNodeType type;
  OK(cuGraphNodeGetType(n[1], &type));
  EXPECT(type == CU_GRAPH_NODE_TYPE_MEMSET);
  CUgraphExec exec;
  OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
  five = 1000;  // parameters were copied
  OK(cuGraphLaunch(exec, nullptr));
  OK(cuCtxSynchronize());
  EXPECT(words_at(p, 1)[0] == 20 && called == 1);
  OK(cuGraphExecKernelNodeSetParams_v2(exec, n[0], &k));
  OK(cuGraphLaunch(exec, nullptr));
  EXPECT(words_at(p, 1)[0] == 4000);
  // A graph of the same shape is accepted for an update, any other is not.
  CUgraph twin;
  OK(cuGraphClone(&twin, graph));
  CUgraphExecUpdateResultInfo info;
  OK(cuGraphExecUpdate_v2(exec, twin, &info));
  OK(cuGraphLaunch(exec, nullptr));
  EXPECT(words_at(p, 1)[0] == 20);
  CUgraphNode extra;
  OK(cuGraphAddEmptyNode(&extra, twin, nullptr, 0));
  GIVES(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, cuGraphExecUpdate_v2(exec, twin, &info));
  EXPECT(info.result == CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
  OK(cuGraphAddDependencies(graph, &n[3], &n[1], 1));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuGraphInstantiateWithFlags(&exec, graph, 0));  // a cycle
}

TEST(peers) {
  setenv("CARACAL_VGPU_DEVICES", "2", 1);
  begin();
  const CUdeviceptr here = device_words({3});
  CUcontext other;
  OK(cuCtxCreate_v2(&other, 0, 1));
  const CUdeviceptr there = device_words({8});
  OK(cuCtxSetCurrent(context));
  int ordinal = -1;
  OK(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, there));
  EXPECT(ordinal == 1);
  OK(cuMemcpyPeer(here, context, there, other, 4));
  EXPECT(words_at(here, 1)[0] == 8);
  OK(cuCtxEnablePeerAccess(other, 0));
  GIVES(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, cuCtxEnablePeerAccess(other, 0));
  GIVES(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, cuCtxEnablePeerAccess(context, 0));
  OK(launch(function("multiply"), 1, 1, 0, nullptr, there, 2u));
  OK(cuCtxSynchronize());
  EXPECT(words_at(there, 1)[0] == 16);
  OK(cuCtxDisablePeerAccess(other));
  GIVES(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, cuCtxDisablePeerAccess(other));
  OK(launch(function("multiply"), 1, 1, 0, nullptr, there, 2u));
  GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
}
