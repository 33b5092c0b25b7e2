#include "driver/state.h"

using namespace vgpu;
using namespace vgpu::driver;

namespace {

std::shared_ptr<StreamEvent> recorded_outside_capture(ApiCall& c, CUevent handle) {
  auto event = c.driver.get<StreamEvent>(handle);
  if (event->capture && c.driver.captures.contains(event->capture)) {
    invalidate(*event->capture);
    fail(CUDA_ERROR_CAPTURED_EVENT);
  }
  return event;
}

}  // namespace

CUresult cuEventCreate(CUevent* out, unsigned int flags) {
  return with_context([&](ApiCall& c) {
    require(out && flags <= (CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING));
    auto event = c.driver.create<StreamEvent>();
    event->context = c.context;
    event->flags = flags;
    *out = handle_of<CUevent>(*event);
  });
}

CUresult cuEventRecordWithFlags(CUevent handle, CUstream stream_handle, unsigned int flags) {
  return with_context([&](ApiCall& c) {
    require(flags <= CU_EVENT_RECORD_EXTERNAL);
    const auto event = c.driver.get<StreamEvent>(handle);
    const auto stream = stream_of(c, stream_handle);
    require(event->context.lock() == stream->context.lock(), CUDA_ERROR_INVALID_HANDLE);
    require(!(flags && stream->capture), CUDA_ERROR_NOT_SUPPORTED);  // event record nodes are not supported
    if (stream->capture) {
      require(!stream->capture->invalid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
      event->capture = stream->capture;
      event->tips = stream->tips;
      event->job = nullptr;
      return;
    }
    event->job = enqueue(c, stream, Nothing{});
    event->capture = nullptr;
    event->tips.clear();
  });
}
CUresult cuEventRecord(CUevent event, CUstream stream) {
  return cuEventRecordWithFlags(event, stream, CU_EVENT_RECORD_DEFAULT);
}

CUresult cuEventQuery(CUevent handle) {
  return with_context([&](ApiCall& c) {
    const auto event = recorded_outside_capture(c, handle);
    c.unsafe_in_capture();
    if (!event->job || event->job->done) return;
    c.driver.want(event->job);
    fail(CUDA_ERROR_NOT_READY);
  });
}
CUresult cuEventSynchronize(CUevent handle) {
  return with_context([&](ApiCall& c) {
    const auto event = recorded_outside_capture(c, handle);
    c.unsafe_in_capture();
    c.wait(event->job, *c.context);
  });
}
CUresult cuEventDestroy_v2(CUevent handle) {
  return with_context([&](ApiCall& c) { c.driver.forget(*c.driver.get<StreamEvent>(handle)); });
}

// There is no time here. The result counts the warp instructions executed between the two events, at a nanosecond each:
// it increases like a time but means nothing.
CUresult cuEventElapsedTime_v2(float* out, CUevent from_handle, CUevent to_handle) {
  return with_context([&](ApiCall& c) {
    require(out != nullptr);
    const auto from = recorded_outside_capture(c, from_handle), to = recorded_outside_capture(c, to_handle);
    require(from->job && to->job && !((from->flags | to->flags) & CU_EVENT_DISABLE_TIMING), CUDA_ERROR_INVALID_HANDLE);
    for (const auto& event : {from, to}) {
      if (event->job->done) continue;
      c.driver.want(event->job);
      fail(CUDA_ERROR_NOT_READY);
    }
    *out = static_cast<float>(static_cast<double>(to->job->clock) - static_cast<double>(from->job->clock)) * 1e-6f;
  });
}
CUresult cuEventElapsedTime(float* out, CUevent from, CUevent to) { return cuEventElapsedTime_v2(out, from, to); }
