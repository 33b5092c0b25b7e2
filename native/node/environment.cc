#include "node/environment.h"

namespace caracal::node {

// Receives the results of jobs. It outlives the environment, so a late job finds a closed mailbox instead of freed
// memory.
struct Mailbox {
  std::mutex mutex;
  std::vector<Environment::Settled> settled;
  napi_threadsafe_function wake = nullptr;  // null once the environment is being torn down

  void post(Environment::Settled s) {
    std::lock_guard lock(mutex);
    if (wake == nullptr) return;
    settled.push_back(std::move(s));
    napi_call_threadsafe_function(wake, nullptr, napi_tsfn_nonblocking);
  }
};

// A promise that is not settled yet. If the last copy is dropped unsettled, the queue was shut down.
struct Environment::Pending {
  std::shared_ptr<Mailbox> mailbox;
  uint64_t id;
  bool done = false;

  Pending(std::shared_ptr<Mailbox> m, uint64_t i) : mailbox(std::move(m)), id(i) {}
  Pending(const Pending&) = delete;
  void settle(Settled s) {
    done = true;
    mailbox->post(std::move(s));
  }
  ~Pending() {
    if (!done)
      mailbox->post({id, nullptr, Error(code::kDisposed, "the device was disposed before the operation finished")});
  }
};

Environment::Environment(Napi::Env env) : env_(env), mailbox_(std::make_shared<Mailbox>()) {
  auto drain = [](napi_env e, napi_value, void* self, void*) {
    if (e != nullptr) static_cast<Environment*>(self)->settle_all(Napi::Env(e));
  };
  napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "caracal"), 0, 1, nullptr, nullptr,
                                  this, drain, &wake_);
  napi_unref_threadsafe_function(env, wake_);
  mailbox_->wake = wake_;
  // Hooks run in reverse order, so this one runs before Node destroys the thread-safe function.
  napi_add_env_cleanup_hook(env, [](void* self) { static_cast<Environment*>(self)->close(); }, this);
}

Environment::~Environment() = default;

void Environment::close() {
  {
    std::lock_guard lock(mailbox_->mutex);
    mailbox_->wake = nullptr;
    mailbox_->settled.clear();
  }
  for (auto& weak : devices_)
    if (auto device = weak.lock()) device->shutdown();
  promises_.clear();
}

Napi::Promise Environment::run_async(Napi::Env env, Device& device, std::function<MakeValue()> work) {
  auto pending = std::make_shared<Pending>(mailbox_, next_id_++);
  const uint64_t id = pending->id;
  // submit() throws for a disposed device, so the promise is created only afterwards: it could otherwise be rejected
  // unhandled. A result that arrives before that waits in the mailbox for the event loop, which runs on this thread.
  device.submit([pending = std::move(pending), work = std::move(work)] {
    try {
      pending->settle({pending->id, work()});
    } catch (const Error& e) {
      pending->settle({pending->id, nullptr, e});
    } catch (const std::exception& e) {
      pending->settle({pending->id, nullptr, out_of_host_memory("read", e)});
    }
  });
  auto deferred = Napi::Promise::Deferred::New(env);
  if (promises_.empty()) napi_ref_threadsafe_function(env_, wake_);  // a pending promise keeps the process alive
  promises_.emplace(id, deferred);
  return deferred.Promise();
}

void Environment::settle_all(Napi::Env env) {
  std::vector<Settled> settled;
  {
    std::lock_guard lock(mailbox_->mutex);
    settled.swap(mailbox_->settled);
  }
  for (Settled& s : settled) {
    auto it = promises_.find(s.id);
    if (it == promises_.end()) continue;
    Napi::Promise::Deferred deferred = it->second;
    promises_.erase(it);
    if (promises_.empty()) napi_unref_threadsafe_function(env_, wake_);
    try {
      if (s.make_value)
        deferred.Resolve(s.make_value(env));
      else
        deferred.Reject(to_js(env, s.error).Value());
    } catch (const Napi::Error& e) {  // the value could not be created
      try {
        deferred.Reject(e.Value());
      } catch (const Napi::Error&) {  // the environment is being torn down, and the promise with it
      }
    }
  }
}

Napi::Error to_js(Napi::Env env, const Error& error) {
  Napi::Error e = Napi::Error::New(env, error.what());
  e.Set("code", Napi::String::New(env, error.code()));
  Napi::Object details = Napi::Object::New(env);
  for (const auto& [name, value] : error.details()) {
    if (const auto* text = std::get_if<std::string>(&value))
      details.Set(name, *text);
    else
      details.Set(name, std::get<double>(value));
  }
  e.Set("details", details);
  return e;
}

}  // namespace caracal::node
