// Streams, events, graphs.
#include "host.h"

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
