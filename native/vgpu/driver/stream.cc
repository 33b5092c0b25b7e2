// Streams, and their capture into graphs.
#include <algorithm>

#include "driver/state.h"

using namespace vgpu;
using namespace vgpu::driver;

namespace {
thread_local CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
}

namespace vgpu::driver {

std::shared_ptr<Stream> stream_of(ApiCall& c, CUstream handle) {
  if (handle && handle != CU_STREAM_LEGACY && handle != CU_STREAM_PER_THREAD) {
    auto stream = c.driver.get<Stream>(handle);
    const auto context = stream->context.lock();
    require(context && !context->destroyed, CUDA_ERROR_CONTEXT_IS_DESTROYED);
    if (context->error != CUDA_SUCCESS) fail(context->error);
    return stream;
  }
  require(c.context != nullptr, CUDA_ERROR_INVALID_CONTEXT);
  if (handle != CU_STREAM_PER_THREAD) return c.context->legacy;
  auto& stream = c.context->per_thread[std::this_thread::get_id()];
  if (!stream) {
    stream = std::make_shared<Stream>();
    stream->context = c.context;
    stream->id = ++c.driver.ids;
    c.context->blocking.push_back(stream);
  }
  return stream;
}

std::vector<std::shared_ptr<Job>> predecessors(const Context& context, const Stream& stream) {
  std::vector<std::shared_ptr<Job>> jobs{stream.last};
  if (&stream == context.legacy.get()) {
    for (const auto& weak : context.blocking)
      if (const auto other = weak.lock()) jobs.push_back(other->last);
  } else if (!(stream.flags & CU_STREAM_NON_BLOCKING)) {
    jobs.push_back(context.legacy->last);
  }
  return jobs;
}

void invalidate(Capture& capture) { capture.invalid = true; }

void leave_capture(Driver& d, const std::shared_ptr<Capture>& capture) {
  for (const auto& weak : capture->streams)
    if (const auto stream = weak.lock()) {
      stream->capture = nullptr;
      stream->tips.clear();
    }
  d.captures.erase(capture);
}

// Implements the rules of cuThreadExchangeStreamCaptureMode: the call conflicts with this thread's captures that are
// not relaxed and with other threads' global ones.
void ApiCall::unsafe_in_capture() {
  if (thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED) return;
  bool found = false;
  for (const auto& capture : driver.captures) {
    const bool same_thread = capture->thread == std::this_thread::get_id();
    const bool conflicts =
        same_thread ? capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED
                    : capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL && thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (!conflicts) continue;
    invalidate(*capture);
    found = true;
  }
  require(!found, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}

namespace {

// The legacy default stream would have to wait for work that is only being captured.
void check_implicit(const Context& context, const Stream& stream) {
  if (&stream != context.legacy.get()) return;
  bool found = false;
  for (const auto& weak : context.blocking)
    if (const auto other = weak.lock(); other && other->capture) {
      invalidate(*other->capture);
      found = true;
    }
  require(!found, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
}

}  // namespace

std::shared_ptr<Job> enqueue(ApiCall& c, const std::shared_ptr<Stream>& stream, Work work,
                             std::vector<std::shared_ptr<Job>> after) {
  const auto context = stream->context.lock();
  check_implicit(*context, *stream);
  if (stream->capture) {
    require(!stream->capture->invalid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    if (std::holds_alternative<CallbackWork>(work) || std::holds_alternative<FreeWork>(work)) {
      invalidate(*stream->capture);
      fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    auto node = stream->capture->graph->add(std::move(work), stream->tips);
    c.driver.objects[node->handle] = node;
    stream->tips = {node};
    return nullptr;
  }
  auto job = std::make_shared<Job>();
  job->context = context;
  job->work = std::move(work);
  job->after = predecessors(*context, *stream);
  job->after.insert(job->after.end(), after.begin(), after.end());
  stream->last = job;
  c.driver.submit(job);
  return job;
}

}  // namespace vgpu::driver

namespace {

// For operations that a capturing stream does not support.
std::shared_ptr<Stream> uncaptured(ApiCall& c, CUstream handle) {
  auto stream = stream_of(c, handle);
  if (stream->capture) {
    invalidate(*stream->capture);
    fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  }
  c.unsafe_in_capture();
  check_implicit(*stream->context.lock(), *stream);
  return stream;
}

// The jobs that the host waits for when it waits for a stream.
std::vector<std::shared_ptr<Job>> work_of(const Stream& stream) {
  const auto context = stream.context.lock();
  if (&stream == context->legacy.get()) return predecessors(*context, stream);
  return {stream.last};
}

bool is_before(const std::shared_ptr<Node>& node, const std::vector<std::shared_ptr<Node>>& tips) {
  std::set<Node*> seen;
  std::vector<std::shared_ptr<Node>> open = tips;
  while (!open.empty()) {
    const auto next = open.back();
    open.pop_back();
    if (next == node) return true;
    if (seen.insert(next.get()).second) open.insert(open.end(), next->after.begin(), next->after.end());
  }
  return false;
}

CUresult create(CUstream* out, unsigned flags, int priority) {
  return with_context([&](ApiCall& c) {
    require(out && flags <= CU_STREAM_NON_BLOCKING);
    auto stream = c.driver.create<Stream>();
    stream->context = c.context;
    stream->flags = flags;
    stream->priority = std::clamp(priority, -5, 0);
    stream->id = ++c.driver.ids;
    std::erase_if(c.context->blocking, [](const auto& weak) { return weak.expired(); });
    if (!flags) c.context->blocking.push_back(stream);
    *out = handle_of<CUstream>(*stream);
  });
}

void capture_info(ApiCall& c, CUstream handle, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                  const CUgraphNode** nodes, size_t* count) {
  require(status != nullptr);
  const auto stream = stream_of(c, handle);
  const auto& capture = stream->capture;
  *status = !capture           ? CU_STREAM_CAPTURE_STATUS_NONE
            : capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                               : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  if (!capture || capture->invalid) return;
  if (id) *id = capture->id;
  if (graph) *graph = handle_of<CUgraph>(*capture->graph);
  if (count) *count = stream->tips.size();
  if (nodes) {
    static thread_local std::vector<CUgraphNode> handles;  // valid until the next call
    handles.clear();
    for (const auto& tip : stream->tips) handles.push_back(handle_of<CUgraphNode>(*tip));
    *nodes = handles.data();
  }
}

}  // namespace

CUresult cuStreamCreate(CUstream* out, unsigned int flags) { return create(out, flags, 0); }
CUresult cuStreamCreateWithPriority(CUstream* out, unsigned int flags, int priority) {
  return create(out, flags, priority);
}

CUresult cuStreamDestroy_v2(CUstream handle) {
  return with_context([&](ApiCall& c) {
    require(handle != nullptr && handle != CU_STREAM_LEGACY && handle != CU_STREAM_PER_THREAD,
            CUDA_ERROR_INVALID_HANDLE);
    const auto stream = c.driver.get<Stream>(handle);
    if (stream->capture) invalidate(*stream->capture);
    // The stream's work continues, and the legacy default stream still waits for it.
    if (const auto context = stream->context.lock(); context && !stream->flags && stream->last && !stream->last->done) {
      auto join = std::make_shared<Job>();
      join->context = context;
      join->after = {stream->last, context->legacy->last};
      context->legacy->last = join;
      c.driver.submit(join);
    }
    c.driver.forget(*stream);
  });
}

CUresult cuStreamQuery(CUstream handle) {
  return with_context([&](ApiCall& c) {
    const auto stream = uncaptured(c, handle);
    for (const auto& job : work_of(*stream)) {
      if (!job || job->done) continue;
      c.driver.want(job);
      fail(CUDA_ERROR_NOT_READY);
    }
    c.wait(nullptr, *stream->context.lock());
  });
}
CUresult cuStreamSynchronize(CUstream handle) {
  return with_context([&](ApiCall& c) {
    const auto stream = uncaptured(c, handle);
    const auto context = stream->context.lock();
    for (const auto& job : work_of(*stream)) c.driver.wait(c.lock, job);
    c.wait(nullptr, *context);
  });
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned int flags) {
  return with_context([&](ApiCall& c) {
    require(flags <= CU_EVENT_WAIT_EXTERNAL);
    const auto stream = stream_of(c, handle);
    const auto event = c.driver.get<StreamEvent>(event_handle);
    if (event->capture && c.driver.captures.contains(event->capture)) {
      const auto context = stream->context.lock();
      if (stream == context->legacy) {
        invalidate(*event->capture);
        fail(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
      }
      if (stream->capture && stream->capture != event->capture) {
        invalidate(*stream->capture);
        invalidate(*event->capture);
        fail(CUDA_ERROR_STREAM_CAPTURE_MERGE);
      }
      require(!event->capture->invalid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
      if (!stream->capture) {
        stream->capture = event->capture;
        stream->capture->streams.push_back(stream);
      }
      for (const auto& tip : event->tips)
        if (std::find(stream->tips.begin(), stream->tips.end(), tip) == stream->tips.end()) stream->tips.push_back(tip);
      return;
    }
    if (stream->capture) {
      invalidate(*stream->capture);
      fail(CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    }
    if (event->job && !event->job->done) enqueue(c, stream, Nothing{}, {event->job});
  });
}

CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void* data, unsigned int flags) {
  return with_context([&](ApiCall& c) {
    require(callback && flags == 0);
    enqueue(c, stream_of(c, handle), CallbackWork{callback, handle, data});
  });
}

CUresult cuStreamGetFlags(CUstream handle, unsigned int* flags) {
  return with_context([&](ApiCall& c) {
    require(flags != nullptr);
    *flags = stream_of(c, handle)->flags;
  });
}
CUresult cuStreamGetPriority(CUstream handle, int* priority) {
  return with_context([&](ApiCall& c) {
    require(priority != nullptr);
    *priority = stream_of(c, handle)->priority;
  });
}
CUresult cuStreamGetId(CUstream handle, unsigned long long* id) {
  return with_context([&](ApiCall& c) {
    require(id != nullptr);
    *id = stream_of(c, handle)->id;
  });
}
CUresult cuStreamGetCtx(CUstream handle, CUcontext* out) {
  return with_context([&](ApiCall& c) {
    require(out != nullptr);
    *out = handle_of<CUcontext>(*stream_of(c, handle)->context.lock());
  });
}
CUresult cuStreamGetDevice(CUstream handle, CUdevice* device) {
  return with_context([&](ApiCall& c) {
    require(device != nullptr);
    *device = stream_of(c, handle)->context.lock()->device->ordinal;
  });
}

// --- capture ---------------------------------------------------------------------------------------------------------

CUresult cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode) {
  return with_context([&](ApiCall& c) {
    require(mode >= CU_STREAM_CAPTURE_MODE_GLOBAL && mode <= CU_STREAM_CAPTURE_MODE_RELAXED);
    const auto stream = stream_of(c, handle);
    require(stream != c.context->legacy, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    require(!stream->capture, CUDA_ERROR_ILLEGAL_STATE);
    auto capture = std::make_shared<Capture>();
    capture->graph = c.driver.create<Graph>();
    capture->mode = mode;
    capture->thread = std::this_thread::get_id();
    capture->origin = stream.get();
    capture->id = ++c.driver.ids;
    capture->streams.push_back(stream);
    stream->capture = capture;
    c.driver.captures.insert(capture);
  });
}
CUresult cuStreamBeginCapture(CUstream handle) {
  return cuStreamBeginCapture_v2(handle, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph* out) {
  return with_context([&](ApiCall& c) {
    require(out != nullptr);
    const auto stream = stream_of(c, handle);
    const auto capture = stream->capture;
    require(capture != nullptr, CUDA_ERROR_ILLEGAL_STATE);
    *out = nullptr;
    if (capture->origin != stream.get()) {
      invalidate(*capture);
      fail(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    }
    require(capture->mode == CU_STREAM_CAPTURE_MODE_RELAXED || capture->thread == std::this_thread::get_id(),
            CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    bool joined = true;
    for (const auto& weak : capture->streams)
      if (const auto other = weak.lock())
        for (const auto& tip : other->tips) joined = joined && is_before(tip, stream->tips);
    leave_capture(c.driver, capture);
    if (!capture->invalid && joined) {
      *out = handle_of<CUgraph>(*capture->graph);
      return;
    }
    for (const auto& node : capture->graph->nodes) c.driver.forget(*node);
    c.driver.forget(*capture->graph);
    fail(capture->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  });
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* status) {
  return with_context([&](ApiCall& c) {
    check_implicit(*c.context, *stream_of(c, handle));
    capture_info(c, handle, status, nullptr, nullptr, nullptr, nullptr);
  });
}
CUresult cuStreamGetCaptureInfo(CUstream handle, CUstreamCaptureStatus* status, cuuint64_t* id) {
  return with_context([&](ApiCall& c) { capture_info(c, handle, status, id, nullptr, nullptr, nullptr); });
}
CUresult cuStreamGetCaptureInfo_v2(CUstream handle, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                                   const CUgraphNode** nodes, size_t* count) {
  return with_context([&](ApiCall& c) { capture_info(c, handle, status, id, graph, nodes, count); });
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  return with_driver([&](ApiCall&) {
    require(mode && *mode >= CU_STREAM_CAPTURE_MODE_GLOBAL && *mode <= CU_STREAM_CAPTURE_MODE_RELAXED);
    std::swap(*mode, thread_mode);
  });
}
