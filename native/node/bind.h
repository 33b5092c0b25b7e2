#pragma once
// Binds an operation in one line: reads its arguments, checks them, makes the outputs and puts the work on the queue
// of the device that the tensors are on.
#include "cpu/dispatch.h"
#include "cuda/dispatch.h"
#include "node/convert.h"
#include "node/environment.h"

namespace caracal::node {

Napi::Object make_handle(Napi::Env env, Tensor tensor);

// Runs a C++ function for JavaScript; its Error becomes a JavaScript error with the same code.
template <class Fn>
Napi::Value guarded(const Napi::CallbackInfo& info, Fn&& fn) {
  try {
    return fn();
  } catch (const Error& e) {
    throw to_js(info.Env(), e);
  } catch (const std::bad_alloc&) {
    throw to_js(info.Env(), Error(code::kOutOfMemory, "out of memory"));
  } catch (const std::length_error& e) {
    throw to_js(info.Env(), Error(code::kInvalidArgument, std::string("an argument is too long: ") + e.what()));
  }
}

using DevicePointer = std::shared_ptr<Device>;

// What a JavaScript Device holds; null once it was disposed.
inline DevicePointer& device_pointer(const Napi::Value& v) {
  if (!v.IsExternal()) bad_argument("device", "a Device");
  return *v.As<Napi::External<DevicePointer>>().Data();
}

inline DevicePointer& open_device(const Napi::Value& v) {
  DevicePointer& device = device_pointer(v);
  if (!device) throw Error(code::kDisposed, "the device was disposed: open another with Device.open()");
  return device;
}

inline Tensor new_tensor(Device& device, const OutputSpec& spec) {
  if (!spec.shape.countable())
    throw Error(code::kShapeMismatch, "the result's shape " + spec.shape.str() + " has too many elements");
  Tensor t;
  t.dtype = spec.dtype;
  t.shape = spec.shape;
  t.layout = spec.layout;
  const size_t bytes = spec.bytes ? spec.bytes : t.bytes();
  if (bytes > device.capacity())
    throw Error(code::kOutOfMemory, "a tensor of shape " + spec.shape.str() + " takes " + std::to_string(bytes) +
                                        " bytes; the device has " + std::to_string(device.capacity()));
  t.storage = std::make_shared<Storage>(device.shared_from_this(), bytes);
  return t;
}

template <class Op>
std::shared_ptr<Device> device_of(const Op& op) {
  std::shared_ptr<Device> device;
  const char* first = nullptr;
  for_each_tensor(op, [&](const Tensor& t, const char* name, Access) {
    if (!device) {
      device = t.storage->device;
      first = name;
    } else if (device != t.storage->device) {
      throw Error(code::kDeviceMismatch, std::string(Op::kName) + ": " + name + " is on another device than " + first +
                                             ": make both tensors with the same Device");
    }
  });
  if (!device) throw Error(code::kInvalidArgument, std::string(Op::kName) + " needs at least one tensor");
  return device;
}

// On the device's queue. What went wrong with an input goes on to the outputs, and surfaces when one of them is read.
template <class Op>
std::shared_ptr<const Error> execute(Device& device, const Op& op, std::span<Tensor> out) {
  std::shared_ptr<const Error> fault;
  for (Tensor& t : out) t.storage->fault.reset();  // of the replay before
  try {
    for_each_tensor(op, [&](const Tensor& t, const char*, Access) {
      if (!fault) fault = t.storage->fault;
      if (!fault) materialize(*t.storage);
    });
    if (!fault) {
      for (Tensor& t : out) materialize(*t.storage);
      if (device.backend() == Device::Backend::cuda)
        cuda_run(static_cast<CudaDevice&>(device), op, out);
      else
        cpu_run(static_cast<CpuDevice&>(device), op, out);
    }
  } catch (const Error& e) {
    fault = std::make_shared<Error>(e);
  } catch (const std::exception& e) {
    fault = std::make_shared<Error>(code::kOutOfMemory, std::string(Op::kName) + ": " + e.what());
  }
  if (!fault) return nullptr;
  for (Tensor& t : out) t.storage->fault = fault;
  for_each_tensor(op, [&](const Tensor& t, const char*, Access access) {
    if (access == Access::inout) t.storage->fault = fault;
  });
  return fault;
}

// Puts an operation on its device's queue, or where it is recorded.
template <class Op>
void submit(Device& device, Op op, std::vector<Tensor> out) {
  Recording* recording = device.recording.get();
  if (recording) {
    for_each_tensor(op, [&](const Tensor& t, const char*, Access access) {
      access == Access::inout ? recording->writes_in_place(t.storage) : recording->reads(t.storage);
    });
    for (const Tensor& t : out) recording->makes(t.storage);
  }
  // The queue may outlive every JavaScript reference to the device, but not the device itself.
  auto job = [&device, op = std::move(op), out = std::move(out)]() mutable { return execute(device, op, out); };
  if (recording)
    recording->jobs.push_back(std::move(job));
  else
    device.submit(std::move(job));
}

template <class Op>
Napi::Value call(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    Op op = read_fields<Op>(info[0]);
    const std::shared_ptr<Device> device = device_of(op);
    std::vector<Tensor> out;
    for (const OutputSpec& spec : op.check()) out.push_back(new_tensor(*device, spec));
    Napi::Array handles = Napi::Array::New(info.Env(), out.size());
    for (uint32_t i = 0; i < out.size(); i++) handles[i] = make_handle(info.Env(), out[i]);
    submit(*device, std::move(op), std::move(out));
    return handles;
  });
}

template <class Op>
void bind(Napi::Env env, Napi::Object exports) {
  exports.Set(Op::kName, Napi::Function::New(env, call<Op>, Op::kName));
}

}  // namespace caracal::node
