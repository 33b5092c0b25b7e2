#pragma once
// The state of one Node environment (the main thread or a worker thread). Environments share nothing and nothing is
// static, so the addon works in worker threads and survives their termination.
#include <napi.h>

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "core/device.h"

namespace caracal::node {

class Environment {
 public:
  explicit Environment(Napi::Env env);
  ~Environment();
  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  // Makes the environment shut the device down when it is torn down.
  void own(const std::shared_ptr<Device>& device) {
    std::erase_if(devices_, [](const auto& d) { return d.expired(); });
    devices_.push_back(device);
  }

  // Runs `work` as a job of the device, and then fulfils the promise with undefined. It is rejected if the work throws,
  // or if the queue is shut down before the job began. `kept` is an object that lives until then, so the work may write
  // to the memory of an ArrayBuffer.
  Napi::Promise run_async(Napi::Env env, Device& device, std::function<void()> work, Napi::Object kept = {});

  // A Float64Array into which describe() writes, since the properties of an object would cost more than the whole call.
  Napi::Value description_array() const { return description_array_.Value(); }
  double* description() const { return description_; }

 private:
  struct Pending;
  struct Settled {
    uint64_t id;
    std::shared_ptr<const Error> error;  // null if the promise is fulfilled
  };
  struct Promised {
    napi_deferred deferred = nullptr;
    Napi::ObjectReference kept;
  };
  void settle_all(Napi::Env env) noexcept;
  void close();

  napi_env env_;
  napi_threadsafe_function wake_ = nullptr;
  std::vector<std::weak_ptr<Device>> devices_;
  std::map<uint64_t, Promised> promises_;  // event loop only
  uint64_t next_id_ = 0;
  std::shared_ptr<struct Mailbox> mailbox_;
  Napi::ObjectReference description_array_;
  double* description_;
  friend struct Mailbox;
};

// The JavaScript error with the same message, code and details. What of it cannot be made is left out.
napi_value to_js(napi_env env, const Error& error) noexcept;

// Settles a promise: rejects it if there is an error, and otherwise fulfils it. Nobody may use `deferred` afterwards.
void settle(napi_env env, napi_deferred deferred, const Error* error, napi_value value) noexcept;

// The exception that is being handled, as the error of an exported function; called in catch blocks.
std::shared_ptr<const Error> fault_of_call() noexcept;

}  // namespace caracal::node
