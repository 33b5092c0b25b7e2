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

Napi::Promise Environment::run_async(Napi::Env env, Device& device, std::function<void()> work, Napi::Object kept) {
  // All that can fail for lack of memory is done before the job is submitted.
  auto pending = std::make_shared<Pending>(mailbox_, next_id_++);
  const uint64_t id = pending->letter.front().id;
  Promised& promised = promises_[id];
  napi_value promise = nullptr;
  try {
    if (!kept.IsEmpty()) promised.kept = Napi::Persistent(kept);
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
    if (napi_create_promise(env, &promised.deferred, &promise) != napi_ok) throw Napi::Error::New(env);
  } catch (...) {
    promises_.erase(id);
    throw;
  }
  if (promises_.size() == 1) napi_ref_threadsafe_function(env_, wake_);  // a pending promise keeps the process alive
  return Napi::Promise(env, promise);
}

void Environment::settle_all(Napi::Env env) noexcept {
  std::list<Settled> settled;
  {
    std::lock_guard lock(mailbox_->mutex);
    settled.swap(mailbox_->settled);
  }
  for (Settled& s : settled) {
    const auto it = promises_.find(s.id);
    if (it == promises_.end()) continue;
    const napi_deferred deferred = it->second.deferred;
    promises_.erase(it);
    if (promises_.empty()) napi_unref_threadsafe_function(env_, wake_);
    settle(env, deferred, s.error.get(), env.Undefined());
  }
}

namespace {

// A JavaScript exception that nobody is there to catch would end the process.
void clear_exception(napi_env env) noexcept {
  bool pending = false;
  napi_value exception = nullptr;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending)
    napi_get_and_clear_last_exception(env, &exception);
}

napi_value string_of(napi_env env, std::string_view value) noexcept {
  napi_value v = nullptr;
  napi_create_string_utf8(env, value.data(), value.size(), &v);
  return v;
}

// Unlike the functions of node/define.h this throws nothing.
void define_property(napi_env env, napi_value object, const char* name, napi_value value) noexcept {
  const napi_property_descriptor property{name,   nullptr, nullptr, nullptr, nullptr, value, napi_default_jsproperty,
                                          nullptr};
  if (value != nullptr) napi_define_properties(env, object, 1, &property);
}

}  // namespace

// It uses N-API itself, since node-addon-api reports failures by exceptions, which take memory, and sets properties
// (see node/define.h).
napi_value to_js(napi_env env, const Error& error) noexcept {
  napi_value e = nullptr, details = nullptr;
  if (napi_create_error(env, nullptr, string_of(env, error.what()), &e) != napi_ok) {
    napi_get_undefined(env, &e);
    return e;
  }
  define_property(env, e, "code", string_of(env, error.code()));
  if (napi_create_object(env, &details) != napi_ok) return e;
  for (const auto& [name, value] : error.details()) {
    napi_value v = nullptr;
    if (const auto* words = std::get_if<std::string>(&value))
      v = string_of(env, *words);
    else
      napi_create_double(env, *std::get_if<double>(&value), &v);
    define_property(env, details, name, v);
  }
  define_property(env, e, "details", details);
  return e;
}

// N-API frees the deferred whatever comes of it, even if it reports a failure: the exception of a getter `then` which a
// program has put on the value's prototype, and with which the promise is then rejected.
void settle(napi_env env, napi_deferred deferred, const Error* error, napi_value value) noexcept {
  if (error)
    napi_reject_deferred(env, deferred, to_js(env, *error));
  else
    napi_resolve_deferred(env, deferred, value);
  clear_exception(env);
}

std::shared_ptr<const Error> fault_of_call() noexcept {
  try {
    try {
      throw;
    } catch (const std::length_error& e) {
      return std::make_shared<Error>(code::kInvalidArgument, std::string("an argument is too long: ") + e.what());
    }
  } catch (...) {
    return current_fault("the call");
  }
}

}  // namespace caracal::node
