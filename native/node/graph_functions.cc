// Recording operations, replaying them, and running some of them beside others.
#include "node/bind.h"
#include "node/tensor_functions.h"

namespace caracal::node {
namespace {

// What a JavaScript Graph holds; empty once it was disposed.
struct GraphHandle {
  DevicePointer device;
  std::shared_ptr<Graph> graph;

  ~GraphHandle() { drop(); }
  // On the device's queue, after the replays that are on it.
  void drop() {
    if (!graph) return;
    try {
      device->submit([graph = std::move(graph)] {});
    } catch (const Error&) {  // nothing runs there any more
    }
    graph.reset();
    device.reset();
  }
};

GraphHandle& graph_of(const Napi::Value& v) {
  if (!v.IsExternal()) bad_argument("graph", "a Graph");
  return *v.As<Napi::External<GraphHandle>>().Data();
}

// beginRecording(device)
Napi::Value begin_recording(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    Device& device = *open_device(info[0]);
    if (device.recording) throw Error(code::kInvalidArgument, "a graph is being captured already on this device");
    device.recording = std::make_unique<Recording>();
    return info.Env().Undefined();
  });
}

// endRecording(device): the graph
Napi::Value end_recording(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const DevicePointer& device = open_device(info[0]);
    const std::unique_ptr<Recording> recording = std::move(device->recording);
    if (!recording) throw Error(code::kInvalidArgument, "no graph is being captured on this device");
    auto* handle = new GraphHandle{device, device->make_graph(std::move(*recording))};
    return Napi::External<GraphHandle>::New(info.Env(), handle, [](Napi::Env, GraphHandle* h) { delete h; });
  });
}

// replay(graph)
Napi::Value replay(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const GraphHandle& h = graph_of(info[0]);
    if (!h.graph) throw Error(code::kDisposed, "the graph was disposed");
    if (h.device->recording) throw Error(code::kInvalidArgument, "replay: not while a graph is captured");
    h.device->submit([graph = h.graph] { graph->replay(); });
    return info.Env().Undefined();
  });
}

// disposeGraph(graph)
Napi::Value dispose_graph(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    graph_of(info[0]).drop();
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
  const std::pair<const char*, Napi::Value (*)(const Napi::CallbackInfo&)> functions[] = {
      {"beginRecording", begin_recording}, {"endRecording", end_recording}, {"replay", replay},
      {"disposeGraph", dispose_graph},     {"beginFork", begin_fork},       {"endFork", end_fork},
  };
  for (const auto& [name, fn] : functions) exports.Set(name, Napi::Function::New(env, fn, name));
}

}  // namespace caracal::node
