// Opening, asking, waiting for and closing devices.
#include "cpu/cpu_device.h"
#include "node/bind.h"
#include "node/tensor_functions.h"

namespace caracal::node {
namespace {

using DevicePointer = std::shared_ptr<Device>;

DevicePointer& pointer_of(const Napi::Value& v) {
  if (!v.IsExternal()) bad_argument("device", "a Device");
  return *v.As<Napi::External<DevicePointer>>().Data();
}

CpuDevice& cpu_device_of(const Napi::Value& v) {
  DevicePointer& device = pointer_of(v);
  if (!device) throw Error(code::kDisposed, "the device was disposed: open another with Device.open()");
  return static_cast<CpuDevice&>(*device);
}

// openCpu({ threads?, isa? })
Napi::Value open_cpu(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const auto options = info[0].As<Napi::Object>();
    int64_t threads = available_threads();
    std::string isa;
    if (!options.Get("threads").IsUndefined()) read(options.Get("threads"), "threads", threads);
    if (!options.Get("isa").IsUndefined()) read(options.Get("isa"), "isa", isa);
    if (threads < 1 || threads > 1024) bad_argument("threads", "between 1 and 1024, got " + std::to_string(threads));
    auto device = CpuDevice::open(static_cast<int>(threads), choose_isa(isa));
    Environment::of(info.Env()).own(device);
    return Napi::External<DevicePointer>::New(info.Env(), new DevicePointer(device), [](Napi::Env, DevicePointer* p) {
      if (*p) (*p)->shutdown();  // never on the queue's own thread
      delete p;
    });
  });
}

Napi::Value device_info(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    CpuDevice& d = cpu_device_of(info[0]);
    Napi::Object o = Napi::Object::New(info.Env());
    o.Set("isa", kIsaNames[static_cast<int>(d.isa())]);
    o.Set("threads", d.threads());
    o.Set("capacity", static_cast<double>(d.capacity()));
    return o;
  });
}

Napi::Value device_memory(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const MemoryStatistics s = cpu_device_of(info[0]).allocator().statistics();
    Napi::Object o = Napi::Object::New(info.Env());
    o.Set("inUse", static_cast<double>(s.in_use));
    o.Set("peak", static_cast<double>(s.peak));
    o.Set("cached", static_cast<double>(s.cached));
    return o;
  });
}

Napi::Value synchronize(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    return Environment::of(info.Env()).run_async(info.Env(), cpu_device_of(info[0]), [] {
      return Environment::MakeValue([](Napi::Env env) { return env.Undefined(); });
    });
  });
}

Napi::Value close_device(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    DevicePointer& device = pointer_of(info[0]);
    if (device) device->shutdown();
    device.reset();
    return info.Env().Undefined();
  });
}

}  // namespace

void export_device_functions(Napi::Env env, Napi::Object exports) {
  const std::pair<const char*, Napi::Value (*)(const Napi::CallbackInfo&)> functions[] = {
      {"openCpu", open_cpu},       {"deviceInfo", device_info},   {"deviceMemory", device_memory},
      {"synchronize", synchronize}, {"closeDevice", close_device},
  };
  for (const auto& [name, fn] : functions) exports.Set(name, Napi::Function::New(env, fn, name));
}

}  // namespace caracal::node
