// Records operations, replays them, and forks the queue.
#include "node/functions.h"

namespace caracal::node {
namespace {

// Frees the graph in a job of the device, after the queued replays.
void drop_graph(GraphHandle& h) noexcept {
  if (!h.graph) return;
  h.graph.reset();
  try {
    h.device->submit(std::move(h.drop));
  } catch (...) {  // the queue has been shut down, whether or not there is memory to say so
  }
  h.drop.clear();
  h.device.reset();
}

// beginRecording(device)
Napi::Value begin_recording(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const std::shared_ptr<Device> device = open_device(info[0]);
    if (device->recording) throw Error(code::kInvalidArgument, "the device is already capturing a graph");
    device->recording = std::make_unique<Recording>();
    return info.Env().Undefined();
  });
}

// endRecording(device): the graph
Napi::Value end_recording(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const std::shared_ptr<Device> device = open_device(info[0]);
    const std::unique_ptr<Recording> recording = std::move(device->recording);
    if (!recording) throw Error(code::kInvalidArgument, "the device is not capturing a graph");
    GraphHandle h{device, device->make_graph(std::move(*recording)), {}};
    h.drop.push_back([graph = h.graph] {});
    return wrap(info.Env(), std::move(h), [](Napi::Env, GraphHandle& dropped) { drop_graph(dropped); });
  });
}

// replay(graph)
Napi::Value replay(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const GraphHandle& h = unwrap<GraphHandle>(info[0], "graph");
    if (!h.graph) throw Error(code::kDisposed, "the graph was disposed: capture it again");
    if (h.device->recording) throw Error(code::kInvalidArgument, "replay() cannot be called during a capture");
    h.device->submit([graph = h.graph] { graph->replay(); });
    return info.Env().Undefined();
  });
}

// disposeGraph(graph)
Napi::Value dispose_graph(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    drop_graph(unwrap<GraphHandle>(info[0], "graph"));
    return info.Env().Undefined();
  });
}

void submit_control(Device& device, void (Device::*control)()) {
  if (device.recording)
    device.recording->jobs.push_back([&device, control]() -> std::shared_ptr<const Error> {
      (device.*control)();
      return nullptr;
    });
  else
    device.submit([&device, control] { (device.*control)(); });
}

// beginFork(device)
Napi::Value begin_fork(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    submit_control(*open_device(info[0]), &Device::begin_fork);
    return info.Env().Undefined();
  });
}

// endFork(device)
Napi::Value end_fork(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    submit_control(*open_device(info[0]), &Device::end_fork);
    return info.Env().Undefined();
  });
}

}  // namespace

void export_graph_functions(Napi::Env env, Napi::Object exports) {
  const Function functions[] = {
      {"beginRecording", begin_recording}, {"endRecording", end_recording}, {"replay", replay},
      {"disposeGraph", dispose_graph},     {"beginFork", begin_fork},       {"endFork", end_fork},
  };
  export_functions(env, exports, functions);
}

}  // namespace caracal::node
