// Opens, describes, waits for and closes devices.
#include <algorithm>

#include "cpu/cpu_device.h"
#include "cuda/cuda_device.h"
#include "node/functions.h"

namespace caracal::node {
namespace {

// Opens or closes a device on a thread of libuv, since a driver and a running job may take seconds. The promise is
// fulfilled with the device's handle, or with undefined.
class DeviceWork : public Napi::AsyncWorker {
 public:
  using Work = std::function<std::shared_ptr<Device>()>;
  static Napi::Promise run(Napi::Env env, const char* what, Work work) {
    return (new DeviceWork(env, what, std::move(work)))->start();
  }

  // Lets no further job begin, and leaves the rest to a thread.
  static Napi::Promise close(Napi::Env env, DeviceHandle& h) {
    if (h.device) {
      h.device->refuse_jobs();
      h.device->recording.reset();  // whose tensors would keep the device, and themselves, for ever
    }
    auto* work = new DeviceWork(env, "closing the device", [device = h.device] {
      if (device) device->shutdown();
      return nullptr;
    });
    h.device.reset();  // not before: if there is no memory for the work, the device can be closed later
    return work->start();
  }

 private:
  DeviceWork(Napi::Env env, const char* what, Work work) : AsyncWorker(env, what), what_(what), work_(std::move(work)) {
    if (napi_create_promise(env, &deferred_, &promise_) != napi_ok) throw Napi::Error::New(env);
  }

  Napi::Promise start() {
    Queue();
    return Napi::Promise(Env(), promise_);
  }

  void Execute() override {
    try {
      device_ = work_();
    } catch (...) {
      error_ = current_fault(what_);
    }
    work_ = nullptr;  // with the last handle of a closed device
  }

  // What it threw would go to nobody: an exception of JavaScript to the handlers of uncaught ones, another to terminate().
  void OnOK() noexcept override {
    napi_value value = Env().Undefined();
    try {
      if (device_) value = handle();
    } catch (...) {
      error_ = current_fault(what_);
    }
    settle(Env(), deferred_, error_.get(), value);
  }

  Napi::Value handle() {
    Environment::of(Env()).own(device_);
    return wrap(Env(), DeviceHandle{std::move(device_)}, [](Napi::Env, DeviceHandle& h) {
      if (!h.device) return;
      h.device->recording.reset();
      h.device->shutdown();  // here, so that the last owner need not stop the queue from its own thread
    });
  }

  const char* const what_;
  Work work_;
  napi_deferred deferred_ = nullptr;
  napi_value promise_ = nullptr;  // valid during the call that starts the work
  std::shared_ptr<Device> device_;
  std::shared_ptr<const Error> error_;
};

// Reads an option if it is given, and returns whether it is.
template <class T>
bool read_option(const Napi::Object& options, const char* name, T& out) {
  const Napi::Value value = options.Get(name);
  if (value.IsUndefined()) return false;
  read(value, name, out);
  return true;
}

Napi::Value number(const Napi::CallbackInfo& info, int64_t n) {
  return Napi::Number::New(info.Env(), static_cast<double>(n));
}

// openCpu({ threads?, isa? }): Promise
Napi::Value open_cpu(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Napi::Object options = read_options(info[0]);
    int64_t threads = available_threads();
    std::string isa;
    read_option(options, "threads", threads);
    read_option(options, "isa", isa);
    if (threads < 1 || threads > 1024) bad_argument("threads", "in [1, 1024]", number(info, threads));
    return DeviceWork::run(info.Env(), "opening the device", [threads, isa = choose_isa(isa)] {
      return CpuDevice::open(static_cast<int>(threads), isa);
    });
  });
}

// openCuda({ ordinal?, memoryLimit?, cacheMemory? }): Promise
Napi::Value open_cuda(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Napi::Object given = read_options(info[0]);
    CudaDevice::Options options;
    int64_t ordinal = 0, limit = 0;
    read_option(given, "ordinal", ordinal);
    if (read_option(given, "memoryLimit", limit)) {
      if (limit < 1) bad_argument("memoryLimit", "positive", number(info, limit));
      options.memory_limit = static_cast<size_t>(limit);
    }
    read_option(given, "cacheMemory", options.cache_memory);
    options.ordinal = static_cast<int>(std::clamp<int64_t>(ordinal, -1, INT32_MAX));
    return DeviceWork::run(info.Env(), "opening the device", [options] { return CudaDevice::open(options); });
  });
}

Napi::Value device_info(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const std::shared_ptr<Device> opened = open_device(info[0]);
    Device& device = *opened;
    Napi::Object o = Napi::Object::New(info.Env());
    if (device.backend() == Device::Backend::cuda) {
      const GpuProperties& gpu = static_cast<CudaDevice&>(device).properties();
      define(o, "backend", "cuda");
      define(o, "virtual", static_cast<CudaDevice&>(device).driver().is_virtual);
      define(o, "description", gpu.name + ", compute capability " + gpu.capability());
    } else {
      const auto& cpu = static_cast<CpuDevice&>(device);
      define(o, "backend", "cpu");
      define(o, "virtual", false);
      define(o, "description",
             std::string(isa_name(cpu.isa())) + ", " + std::to_string(cpu.threads()) +
                 (cpu.threads() == 1 ? " thread" : " threads"));
      define(o, "isa", isa_name(cpu.isa()));
      define(o, "threads", cpu.threads());
    }
    define(o, "capacity", static_cast<double>(device.capacity()));
    return o;
  });
}

Napi::Value device_memory(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const MemoryStatistics s = open_device(info[0])->memory();
    Napi::Object o = Napi::Object::New(info.Env());
    define(o, "inUse", static_cast<double>(s.in_use));
    define(o, "peak", static_cast<double>(s.peak));
    define(o, "cached", static_cast<double>(s.cached));
    return o;
  });
}

Napi::Value synchronize(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const std::shared_ptr<Device> opened = open_device(info[0]);
    return Environment::of(info.Env()).run_async(info.Env(), *opened, [&device = *opened] { device.synchronize(); });
  });
}

// closeDevice(device): Promise
Napi::Value close_device(const Napi::CallbackInfo& info) {
  return guarded(
      info, [&]() -> Napi::Value { return DeviceWork::close(info.Env(), unwrap<DeviceHandle>(info[0], "device")); });
}

}  // namespace

void export_device_functions(Napi::Env env, Napi::Object exports) {
  const Function functions[] = {
      {"openCpu", open_cpu},           {"openCuda", open_cuda},      {"deviceInfo", device_info},
      {"deviceMemory", device_memory}, {"synchronize", synchronize}, {"closeDevice", close_device},
  };
  export_functions(env, exports, functions);
}

}  // namespace caracal::node
