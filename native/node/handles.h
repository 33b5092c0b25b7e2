#pragma once
// Native objects that JavaScript holds. Every kind has a type tag, so the addon refuses an object of another kind or of
// another addon instead of misreading its memory.
#include <napi.h>

#include <memory>
#include <string>

#include "core/device.h"
#include "engine/mapped_file.h"

namespace caracal::node {

// An argument's name for messages, with the operation that takes it, if any.
struct Argument {
  Argument(const char* name, const char* operation = nullptr) : name(name), operation(operation) {}
  const char* name;
  const char* operation;
};

// @throws INVALID_ARGUMENT
[[noreturn]] void bad_argument(Argument argument, const std::string& expected, const Napi::Value& actual);

// A Tensor. Disposing it resets the storage, which frees the bytes but not this object.
struct TensorHandle {
  static constexpr const char* kWhat = "a Tensor";
  static constexpr napi_type_tag kTag{0x6361726163616c01, 0x9d4f1c7a52e84b01};
  Tensor tensor;
};

// A Device. Null once it has been disposed.
struct DeviceHandle {
  static constexpr const char* kWhat = "a Device";
  static constexpr napi_type_tag kTag{0x6361726163616c02, 0x9d4f1c7a52e84b02};
  std::shared_ptr<Device> device;
};

// A Graph. Empty once it has been disposed.
struct GraphHandle {
  static constexpr const char* kWhat = "a Graph";
  static constexpr napi_type_tag kTag{0x6361726163616c03, 0x9d4f1c7a52e84b03};
  std::shared_ptr<Device> device;
  std::shared_ptr<Graph> graph;
  Jobs drop;  // the job that frees the graph, made in advance: a finalizer can report no lack of memory
};

struct FileHandle {
  static constexpr const char* kWhat = "a mapped file";
  static constexpr napi_type_tag kTag{0x6361726163616c04, 0x9d4f1c7a52e84b04};
  std::shared_ptr<MappedFile> file;
};

// Hands a handle to JavaScript. When it is garbage-collected, drop(env, handle) runs before the handle is deleted.
template <class H, class Drop>
Napi::External<H> wrap(Napi::Env env, H handle, Drop drop) {
  auto owned = std::make_unique<H>(std::move(handle));
  auto external = Napi::External<H>::New(env, owned.get(), [drop](Napi::Env e, H* h) {
    drop(e, *h);
    delete h;
  });
  owned.release();
  external.TypeTag(&H::kTag);
  return external;
}

// The handle in an argument. @throws INVALID_ARGUMENT for a value of another kind
template <class H>
H& unwrap(const Napi::Value& v, Argument argument) {
  if (!v.IsExternal() || !v.As<Napi::External<H>>().CheckTypeTag(&H::kTag)) bad_argument(argument, H::kWhat, v);
  return *v.As<Napi::External<H>>().Data();
}

// The tensor in an argument. @throws INVALID_ARGUMENT, DISPOSED
inline Tensor open_tensor(const Napi::Value& v, Argument argument) {
  const TensorHandle& h = unwrap<TensorHandle>(v, argument);
  if (!h.tensor.storage) {
    const std::string tensor =
        argument.operation ? std::string(argument.operation) + ": " + argument.name : "the tensor";
    throw Error(
        code::kDisposed,
        tensor + " was disposed: create it outside of the scope or `using` block that ended, or dispose it later",
        {{"argument", argument.name}});
  }
  return h.tensor;
}

// The device in an argument. @throws INVALID_ARGUMENT, DISPOSED
inline std::shared_ptr<Device> open_device(const Napi::Value& v) {
  const DeviceHandle& h = unwrap<DeviceHandle>(v, "device");
  if (!h.device) throw Error(code::kDisposed, "the device was disposed: open another with Device.open()");
  return h.device;
}

}  // namespace caracal::node
