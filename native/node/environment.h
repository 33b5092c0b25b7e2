#pragma once
// The state of one Node environment (the main thread or a worker thread). Environments share nothing and nothing is
// static, so the addon works in worker threads and survives their termination.
#include <napi.h>

#include <functional>
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

  // Runs `work` as a job of the device. The function that it returns runs on the event loop and creates the promise's
  // value. The promise is rejected if either throws, or if the queue is shut down before the job began.
  using MakeValue = std::function<Napi::Value(Napi::Env)>;
  Napi::Promise run_async(Napi::Env env, Device& device, std::function<MakeValue()> work);

 private:
  struct Pending;
  struct Settled {
    uint64_t id;
    MakeValue make_value;  // empty: rejected with `error`
    Error error{"", ""};
  };
  void settle_all(Napi::Env env);
  void close();

  napi_env env_;
  napi_threadsafe_function wake_ = nullptr;
  std::vector<std::weak_ptr<Device>> devices_;
  std::map<uint64_t, Napi::Promise::Deferred> promises_;  // event loop only
  uint64_t next_id_ = 0;
  std::shared_ptr<struct Mailbox> mailbox_;
  friend struct Mailbox;
};

Napi::Error to_js(Napi::Env env, const Error& error);

}  // namespace caracal::node
