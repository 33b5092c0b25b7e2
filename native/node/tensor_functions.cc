// Creates, views, writes, reads and disposes tensors.
#include <cstring>

#include "engine/convert.h"
#include "engine/submit.h"
#include "node/functions.h"

namespace caracal::node {

// Tells V8 about a storage's bytes when the first of its handles is created and when the last one is gone, since views
// share the bytes.
static void account(Napi::Env env, Storage& storage, int handles) {
  const bool held = storage.handles > 0;
  storage.handles += handles;
  if (storage.borrowed || held == (storage.handles > 0)) return;
  const int64_t bytes = static_cast<int64_t>(storage.bytes);
  Napi::MemoryManagement::AdjustExternalMemory(env, held ? -bytes : bytes);
}

static void drop_tensor(Napi::Env env, TensorHandle& handle) {
  if (handle.tensor.storage) account(env, *handle.tensor.storage, -1);
  handle.tensor.storage.reset();
}

Napi::Value handle_of(Napi::Env env, Tensor tensor) {
  const std::shared_ptr<Storage> storage = tensor.storage;
  const Napi::Value handle = wrap(env, TensorHandle{std::move(tensor)}, drop_tensor);
  account(env, *storage, 1);
  return handle;
}

namespace {

Napi::TypedArray values_for(const Shape& shape, const Napi::Value& v) {
  if (!v.IsTypedArray()) bad_argument("values", "a TypedArray", v);
  const auto values = v.As<Napi::TypedArray>();
  // Other threads can change it while it is read.
  if (!values.ArrayBuffer().IsArrayBuffer())
    throw Error(code::kInvalidArgument, "values must not be a view of a SharedArrayBuffer: pass a copy, values.slice()",
                {{"argument", "values"}, {"expected", "a view of an ArrayBuffer"}, {"actual", "a SharedArrayBuffer"}});
  if (static_cast<int64_t>(values.ElementLength()) != shape.elements())
    throw Error(code::kShapeMismatch,
                "shape " + shape.str() + " has " + std::to_string(shape.elements()) + " elements, got " +
                    std::to_string(values.ElementLength()) + " values",
                {{"argument", "values"},
                 {"expected", std::to_string(shape.elements())},
                 {"actual", std::to_string(values.ElementLength())}});
  return values;
}

std::string array_name(napi_typedarray_type type) {
  switch (type) {
    case napi_int8_array: return "Int8Array";
    case napi_int16_array: return "Int16Array";
    case napi_uint32_array: return "Uint32Array";
    case napi_bigint64_array: return "BigInt64Array";
    case napi_biguint64_array: return "BigUint64Array";
    default: return "TypedArray of another type";
  }
}

HostType host_type(const Napi::TypedArray& values) {
  switch (values.TypedArrayType()) {
    case napi_float32_array: return HostType::f32;
    case napi_float64_array: return HostType::f64;
    case napi_int32_array: return HostType::i32;
    case napi_uint16_array: return HostType::u16;
    case napi_uint8_array:
    case napi_uint8_clamped_array: return HostType::u8;
    default: {
      const std::string expected =
          "a Float32Array, Float64Array, Int32Array, Uint16Array (raw bf16, f16) or Uint8Array";
      const std::string actual = "a " + array_name(values.TypedArrayType());
      throw Error(code::kDtypeMismatch, "values must be " + expected + ", got " + actual,
                  {{"argument", "values"}, {"expected", expected}, {"actual", actual}});
    }
  }
}

void fill(const Napi::TypedArray& values, const Tensor& t, std::byte* out) {
  const auto* bytes = static_cast<const std::byte*>(values.ArrayBuffer().Data()) + values.ByteOffset();
  from_host(host_type(values), bytes, values.ElementLength(), t.dtype, out);
}

// A copy of values on their way to a device. Its memory is kept for the next ones: the system takes several times as
// long to hand out new memory as the copy does.
struct HostCopy {
  HostCopy(const Napi::TypedArray& values, const Tensor& t)
      : device(t.storage->device), bytes({device->host_memory()}, t.bytes()) {
    fill(values, t, bytes.data());
  }

  const std::shared_ptr<Device> device;  // destroyed after the memory that it owns
  const Temporary<std::byte> bytes;
};

// Submits even while operations are recorded, since values from JavaScript are constants of a graph.
void submit_filling(const Tensor& t, std::function<void()> fill) {
  t.storage->device->submit(filling(t, std::move(fill)));
}

// tensorFrom(device, dtype, shape, values)
Napi::Value tensor_from(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const DType dtype = read_dtype(info[1]);
    const Shape shape = read_shape(info[2]);
    const std::shared_ptr<Device> device = open_device(info[0]);
    const Napi::TypedArray values = values_for(shape, info[3]);
    Tensor t = new_tensor(*device, {dtype, shape});
    if (device->backend() == Device::Backend::cpu) {
      materialize(*t.storage);
      fill(values, t, t.storage->data);
    } else {
      const auto copy = std::make_shared<HostCopy>(values, t);
      submit_filling(t, [t, copy] { copy->device->write(t, copy->bytes.data()); });
    }
    return handle_of(info.Env(), std::move(t));
  });
}

// write(tensor, values)
Napi::Value write_tensor(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Tensor t = open_tensor(info[0], "tensor");
    if (t.packed()) throw Error(code::kInvalidArgument, "a packed weight cannot be written");
    if (t.storage->read_only) throw Error(code::kInvalidArgument, "a tensor of a mapped file is read-only");
    if (t.storage->device->recording)
      throw Error(code::kInvalidArgument, "write() cannot be called during a capture: write before a replay");
    const Napi::TypedArray values = values_for(t.shape, info[1]);
    const auto copy = std::make_shared<HostCopy>(values, t);
    // Writing a view does not clear an earlier fault, since the other rows may still be invalid.
    const bool whole = t.bytes() == t.storage->bytes;
    auto write = filling(t, [t, copy] { copy->device->write(t, copy->bytes.data()); });
    t.storage->device->submit([t, whole, write = std::move(write)] {
      if (whole || !t.storage->fault) write();
    });
    return info.Env().Undefined();
  });
}

// clearError(tensor)
Napi::Value clear_error(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Tensor t = open_tensor(info[0], "tensor");
    t.storage->device->submit([t] {
      Storage& storage = *t.storage;
      if (!storage.data && storage.bytes > 0) return;  // its memory could not be allocated
      try {
        storage.device->synchronize();  // also clears an error that the GPU has not reported yet
        storage.fault.reset();
      } catch (const std::exception&) {  // the GPU is lost, and with it the contents
      }
    });
    return info.Env().Undefined();
  });
}

// zeros(device, dtype, shape)
Napi::Value zeros(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const DType dtype = read_dtype(info[1]);
    const Shape shape = read_shape(info[2]);
    const std::shared_ptr<Device> device = open_device(info[0]);
    Tensor t = new_tensor(*device, {dtype, shape});
    auto clear = [t] { t.storage->device->clear(t); };
    if (Recording* recording = device->recording.get()) {
      recording->makes(t.storage);
      recording->jobs.push_back(filling(t, clear));
    } else {
      submit_filling(t, clear);
    }
    return handle_of(info.Env(), std::move(t));
  });
}

// view(tensor, firstElement, shape): shares the bytes of the tensor
Napi::Value view(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    int64_t first = 0;
    read(info[1], "first", first);
    const Shape shape = read_shape(info[2]);
    Tensor t = open_tensor(info[0], "tensor");
    if (t.packed()) throw Error(code::kInvalidArgument, "a packed weight has no views");
    if (first < 0 || first + shape.elements() > t.shape.elements())
      throw Error(code::kShapeMismatch,
                  "a view of shape " + shape.str() + " from element " + std::to_string(first) +
                      " does not fit in a tensor of shape " + t.shape.str(),
                  {{"argument", "shape"}, {"expected", t.shape.str()}, {"actual", shape.str()}});
    t.offset += static_cast<size_t>(first) * dtype_bytes(t.dtype);
    t.shape = shape;
    return handle_of(info.Env(), std::move(t));
  });
}

Napi::Value dispose(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    drop_tensor(info.Env(), unwrap<TensorHandle>(info[0], "tensor"));
    return info.Env().Undefined();
  });
}

// describe(tensor): writes the indices of its dtype and layout, its rank and its shape into `description`
Napi::Value describe(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Tensor& t = unwrap<TensorHandle>(info[0], "tensor").tensor;
    double* out = Environment::of(info.Env()).description();
    *out++ = static_cast<double>(t.dtype);
    *out++ = static_cast<double>(t.layout);
    *out++ = t.shape.rank();
    for (int i = 0; i < t.shape.rank(); i++) *out++ = static_cast<double>(t.shape[i]);
    return info.Env().Undefined();
  });
}

Napi::ArrayBuffer result_buffer(const Napi::Value& v, size_t bytes) {
  if (!v.IsArrayBuffer()) bad_argument("result", "an ArrayBuffer", v);
  auto buffer = v.As<Napi::ArrayBuffer>();
  if (buffer.ByteLength() == bytes) return buffer;
  const std::string expected = std::to_string(bytes), actual = std::to_string(buffer.ByteLength());
  throw Error(code::kInvalidArgument, "result must have " + expected + " bytes, got " + actual,
              {{"argument", "result"}, {"expected", expected}, {"actual", actual}});
}

// read(tensor, asFloat32, result): Promise<void>
// Fills `result`, which nobody else may know until the promise is settled: another thread writes to its memory. The
// promise is not fulfilled with it, since that would look for a method `then` on its prototypes.
Napi::Value read_tensor(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Tensor t = open_tensor(info[0], "tensor");
    if (t.packed()) throw Error(code::kInvalidArgument, "a packed weight cannot be read back");
    const bool widened = info[1].ToBoolean() && t.dtype != DType::f32;
    const auto n = static_cast<size_t>(t.shape.elements());
    Napi::ArrayBuffer buffer = result_buffer(info[2], widened ? n * sizeof(float) : t.bytes());
    auto* out = static_cast<std::byte*>(buffer.Data());
    auto work = [t, widened, n, out] {
      if (t.storage->fault) throw *t.storage->fault;
      materialize(*t.storage);
      if (!widened) return t.storage->device->read(t, out);
      const std::unique_ptr<std::byte[]> copy(new std::byte[t.bytes()]);
      t.storage->device->read(t, copy.get());
      to_float32(t.dtype, copy.get(), n, reinterpret_cast<float*>(out));
    };
    return Environment::of(info.Env()).run_async(info.Env(), *t.storage->device, std::move(work), buffer);
  });
}

// ready(tensor): Promise<void>
Napi::Value ready(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const std::shared_ptr<Storage> storage = open_tensor(info[0], "tensor").storage;
    return Environment::of(info.Env()).run_async(info.Env(), *storage->device, [storage] {
      storage->device->synchronize();
      if (storage->fault) throw *storage->fault;
      if (const auto lost = storage->lost()) throw *lost;
    });
  });
}

// mapFile(path)
Napi::Value map_file(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    std::string path;
    read(info[0], "path", path);
    return wrap(info.Env(), FileHandle{std::make_shared<MappedFile>(path)}, [](Napi::Env, FileHandle&) {});
  });
}

// mapTensor(device, file, offset, dtype, shape)
Napi::Value map_tensor(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    int64_t offset = 0;
    read(info[2], "offset", offset);
    const DType dtype = read_dtype(info[3]);
    const Shape shape = read_shape(info[4]);
    const std::shared_ptr<Device> device = open_device(info[0]);
    const FileHandle& file = unwrap<FileHandle>(info[1], "file");
    return handle_of(info.Env(), caracal::map_tensor(device, file.file, offset, dtype, shape));
  });
}

}  // namespace

void export_tensor_functions(Napi::Env env, Napi::Object exports) {
  const Function functions[] = {
      {"tensorFrom", tensor_from}, {"zeros", zeros},          {"view", view},
      {"describe", describe},      {"dispose", dispose},      {"ready", ready},
      {"clearError", clear_error}, {"read", read_tensor},     {"write", write_tensor},
      {"mapFile", map_file},       {"mapTensor", map_tensor},
  };
  export_functions(env, exports, functions);
}

}  // namespace caracal::node
