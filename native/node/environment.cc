#include "node/environment.h"

namespace caracal::node {

// Receives the results of jobs. It outlives the environment, so a late job finds a closed mailbox instead of freed
// memory.
struct Mailbox {
  std::mutex mutex;
  std::list<Environment::Settled> settled;
  napi_threadsafe_function wake = nullptr;  // null once the environment is being torn down

  void post(std::list<Environment::Settled>& one) noexcept {
    std::lock_guard lock(mutex);
    if (wake == nullptr) return;
    settled.splice(settled.end(), one);
    napi_call_threadsafe_function(wake, nullptr, napi_tsfn_nonblocking);
  }
};

// A promise that is not settled yet. If the last copy is dropped unsettled, the queue was shut down. The letter is
// written in advance, so that a promise can be settled when there is no memory left.
struct Environment::Pending {
  std::shared_ptr<Mailbox> mailbox;
  std::list<Settled> letter;

  Pending(std::shared_ptr<Mailbox> m, uint64_t id) : mailbox(std::move(m)), letter{{id, kDropped}} {}
  Pending(const Pending&) = delete;
  void settle(std::shared_ptr<const Error> error) noexcept {
    letter.front().error = std::move(error);
    mailbox->post(letter);
  }
  ~Pending() {
    if (!letter.empty()) mailbox->post(letter);
  }

  static inline const auto kDropped = std::make_shared<const Error>(
      code::kDisposed, "the device was disposed before the result was read: await reads, then dispose it");
};

Environment::Environment(Napi::Env env) : env_(env), mailbox_(std::make_shared<Mailbox>()) {
  auto drain = [](napi_env e, napi_value, void* self, void*) {
    if (e != nullptr) static_cast<Environment*>(self)->settle_all(Napi::Env(e));
  };
  napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "caracal"), 0, 1, nullptr, nullptr,
                                  this, drain, &wake_);
  napi_unref_threadsafe_function(env, wake_);
  mailbox_->wake = wake_;
  auto description = Napi::Float64Array::New(env, 3 + Shape::kMaxRank);
  description_ = description.Data();
  description_array_ = Napi::Persistent(description.As<Napi::Object>());
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
  for (auto& weak : devices_) {
    if (auto device = weak.lock()) {
      device->recording.reset();
      device->shutdown();
    }
  }
  promises_.clear();
  description_array_.Reset();
}

Napi::Promise Environment::run_async(Napi::Env env, Device& device, std::function<void()> work, Napi::Object result) {
  auto pending = std::make_shared<Pending>(mailbox_, next_id_++);
  const uint64_t id = pending->letter.front().id;
  // submit() throws for a disposed device, so the promise is created only afterwards: it could otherwise be rejected
  // unhandled. A result that arrives before that waits in the mailbox for the event loop, which runs on this thread.
  device.submit([pending = std::move(pending), work = std::move(work)] {
    std::shared_ptr<const Error> error;
    try {
      work();
    } catch (...) {
      error = current_fault("read");
    }
    pending->settle(std::move(error));
  });
  auto deferred = Napi::Promise::Deferred::New(env);
  if (promises_.empty()) napi_ref_threadsafe_function(env_, wake_);  // a pending promise keeps the process alive
  promises_.emplace(id, Promised{deferred, result.IsEmpty() ? Napi::ObjectReference() : Napi::Persistent(result)});
  return deferred.Promise();
}

void Environment::settle_all(Napi::Env env) {
  std::list<Settled> settled;
  {
    std::lock_guard lock(mailbox_->mutex);
    settled.swap(mailbox_->settled);
  }
  for (Settled& s : settled) {
    auto it = promises_.find(s.id);
    if (it == promises_.end()) continue;
    const Napi::Promise::Deferred deferred = it->second.deferred;
    const Napi::ObjectReference result = std::move(it->second.result);
    promises_.erase(it);
    if (promises_.empty()) napi_unref_threadsafe_function(env_, wake_);
    try {
      if (s.error)
        deferred.Reject(to_js(env, *s.error).Value());
      else
        deferred.Resolve(result.IsEmpty() ? env.Undefined() : Napi::Value(result.Value()));
    } catch (const Napi::Error& e) {  // the error could not be created
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
