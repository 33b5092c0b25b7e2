// Making, viewing, reading and dropping tensors.
#include "node/tensor_functions.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "core/dtype.h"
#include "node/bind.h"

namespace caracal::node {

// V8 is told of a storage's bytes when the first handle to them comes, and when the last one goes: views share them.
static void account(Napi::Env env, Storage& storage, int handles) {
  const bool held = storage.handles > 0;
  storage.handles += handles;
  if (storage.owner || held == (storage.handles > 0)) return;
  const int64_t bytes = static_cast<int64_t>(storage.bytes);
  Napi::MemoryManagement::AdjustExternalMemory(env, held ? -bytes : bytes);
}

static void drop(Napi::Env env, TensorHandle& handle) {
  if (handle.tensor.storage) account(env, *handle.tensor.storage, -1);
  handle.tensor.storage.reset();
}

Napi::Object make_handle(Napi::Env env, Tensor tensor) {
  auto* h = new TensorHandle{TensorHandle::kMagic, std::move(tensor)};
  account(env, *h->tensor.storage, 1);
  auto external = Napi::External<TensorHandle>::New(env, h, [](Napi::Env e, TensorHandle* handle) {
    drop(e, *handle);
    handle->magic = 0;
    delete handle;
  });
  Napi::Object o = Napi::Object::New(env);
  const Tensor& t = h->tensor;
  Napi::Array shape = Napi::Array::New(env, t.shape.rank());
  for (int i = 0; i < t.shape.rank(); i++) shape[static_cast<uint32_t>(i)] = static_cast<double>(t.shape[i]);
  o.Set("handle", external);
  o.Set("dtype", dtype_name(t.dtype));
  o.Set("shape", shape);
  return o;
}

namespace {

template <class From>
void convert_elements(const From* from, size_t n, DType to, std::byte* out) {
  auto all = [&](auto* p, auto convert) {
    for (size_t i = 0; i < n; i++) p[i] = convert(from[i]);
  };
  switch (to) {
    case DType::f32: return all(reinterpret_cast<float*>(out), [](From v) { return static_cast<float>(v); });
    case DType::bf16: return all(reinterpret_cast<bf16*>(out), [](From v) { return to_bf16(static_cast<float>(v)); });
    case DType::f16: return all(reinterpret_cast<f16*>(out), [](From v) { return to_f16(static_cast<float>(v)); });
    case DType::f8e4m3:
      return all(reinterpret_cast<f8e4m3*>(out), [](From v) { return to_f8e4m3(static_cast<float>(v)); });
    default: break;
  }
  throw Error(code::kDtypeMismatch, std::string("floating point values cannot fill a tensor of ") + dtype_name(to));
}

Napi::TypedArray values_for(const Shape& shape, const Napi::Value& v) {
  if (!v.IsTypedArray()) bad_argument("values", "a TypedArray");
  const auto values = v.As<Napi::TypedArray>();
  if (static_cast<int64_t>(values.ElementLength()) != shape.elements())
    throw Error(code::kShapeMismatch, "shape " + shape.str() + " has " + std::to_string(shape.elements()) +
                                          " elements, but " + std::to_string(values.ElementLength()) + " values came");
  return values;
}

// Copies a TypedArray's elements, converting floats; arrays whose element is as wide as the dtype's are taken as raw.
void fill(const Napi::TypedArray& values, const Tensor& t, std::byte* out) {
  const auto* bytes = static_cast<const std::byte*>(values.ArrayBuffer().Data()) + values.ByteOffset();
  const size_t n = values.ElementLength();
  switch (values.TypedArrayType()) {
    case napi_float32_array:
      if (t.dtype == DType::f32) break;
      return convert_elements(reinterpret_cast<const float*>(bytes), n, t.dtype, out);
    case napi_float64_array: return convert_elements(reinterpret_cast<const double*>(bytes), n, t.dtype, out);
    case napi_uint16_array:
      if (t.dtype != DType::bf16 && t.dtype != DType::f16)
        throw Error(code::kDtypeMismatch,
                    "a Uint16Array holds raw bf16 or f16, not " + std::string(dtype_name(t.dtype)));
      break;
    case napi_uint8_array:
    case napi_uint8_clamped_array:
      if (t.dtype != DType::u8 && t.dtype != DType::f8e4m3)
        throw Error(code::kDtypeMismatch,
                    "a Uint8Array holds u8 or raw f8e4m3, not " + std::string(dtype_name(t.dtype)));
      break;
    case napi_int32_array:
      if (t.dtype == DType::i32) break;
      throw Error(code::kDtypeMismatch, "an Int32Array holds i32, not " + std::string(dtype_name(t.dtype)));
    default:
      throw Error(code::kDtypeMismatch,
                  "values must be a Float32Array, Float64Array, Int32Array, Uint16Array (raw bf16, f16) or Uint8Array");
  }
  if (n > 0) std::memcpy(out, bytes, t.bytes());
}

// Fills a tensor on its device's queue.
Recording::Job filling(const Tensor& t, std::function<void()> fill) {
  return [t, fill = std::move(fill)] {
    t.storage->fault.reset();
    try {
      materialize(*t.storage);
      fill();
    } catch (const Error& e) {
      t.storage->fault = std::make_shared<Error>(e);
    }
    return t.storage->fault;
  };
}

// At once, even while operations are recorded: values that come from JavaScript are a graph's constants.
void submit_filling(const Tensor& t, std::function<void()> fill) {
  t.storage->device->submit(filling(t, std::move(fill)));
}

// tensorFrom(device, dtype, shape, values)
Napi::Value tensor_from(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto& device = open_device(info[0]);
    DType dtype;
    read(info[1], "dtype", dtype);
    const Shape shape = read_shape(info[2], "shape");
    const Napi::TypedArray values = values_for(shape, info[3]);
    Tensor t = new_tensor(*device, {dtype, shape});
    if (device->backend() == Device::Backend::cpu) {
      materialize(*t.storage);
      fill(values, t, t.storage->data);
    } else {
      const std::shared_ptr<std::byte[]> bytes(new std::byte[t.bytes()]);
      fill(values, t, bytes.get());
      submit_filling(t, [t, bytes] { t.storage->device->write(t, bytes.get()); });
    }
    return make_handle(info.Env(), std::move(t));
  });
}

// write(tensor, values): in the queue's order
Napi::Value write_tensor(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Tensor t = handle_of(info[0], "tensor").tensor;
    if (t.layout != Layout::rows) throw Error(code::kInvalidArgument, "a packed weight cannot be written to");
    if (t.storage->owner)
      throw Error(code::kInvalidArgument, "a tensor that is a file mapped into memory is read-only");
    if (t.storage->device->recording)
      throw Error(code::kInvalidArgument, "write: not while a graph is captured; write before a replay");
    const Napi::TypedArray values = values_for(t.shape, info[1]);
    const std::shared_ptr<std::byte[]> bytes(new std::byte[t.bytes()]);
    fill(values, t, bytes.get());
    // Whatever went wrong with the tensor before stays: its other rows may be missing.
    const bool whole = t.bytes() == t.storage->bytes;
    t.storage->device->submit([t, bytes, whole] {
      if (whole) t.storage->fault.reset();
      if (t.storage->fault) return;
      filling(t, [t, bytes] { t.storage->device->write(t, bytes.get()); })();
    });
    return info.Env().Undefined();
  });
}

// clearError(tensor): after the operations that are queued
Napi::Value clear_error(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Tensor t = handle_of(info[0], "tensor").tensor;
    t.storage->device->submit([t] {
      Storage& storage = *t.storage;
      if (!storage.data && storage.bytes > 0) return;  // it never had its memory
      try {
        storage.device->synchronize();  // an error that is yet to come out is cleared, too
        storage.fault.reset();
      } catch (const Error&) {  // the GPU is lost, and the contents with it
      }
    });
    return info.Env().Undefined();
  });
}

// zeros(device, dtype, shape)
Napi::Value zeros(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto& device = open_device(info[0]);
    DType dtype;
    read(info[1], "dtype", dtype);
    Tensor t = new_tensor(*device, {dtype, read_shape(info[2], "shape")});
    auto clear = [t] { t.storage->device->clear(t); };
    if (Recording* recording = device->recording.get()) {
      recording->makes(t.storage);
      recording->jobs.push_back(filling(t, clear));
    } else {
      submit_filling(t, clear);
    }
    return make_handle(info.Env(), std::move(t));
  });
}

// view(tensor, firstElement, shape): the same bytes, from a row on, with another shape
Napi::Value view(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    Tensor t = handle_of(info[0], "tensor").tensor;
    int64_t first;
    read(info[1], "first", first);
    const Shape shape = read_shape(info[2], "shape");
    if (t.layout != Layout::rows) throw Error(code::kInvalidArgument, "a packed weight has no views");
    if (first < 0 || first + shape.elements() > t.shape.elements())
      throw Error(code::kShapeMismatch, "a view of " + shape.str() + " from element " + std::to_string(first) +
                                            " does not fit in " + t.shape.str());
    t.offset += static_cast<size_t>(first) * dtype_bytes(t.dtype);
    t.shape = shape;
    return make_handle(info.Env(), std::move(t));
  });
}

Napi::Value dispose(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    if (!info[0].IsExternal()) bad_argument("tensor", "a Tensor");
    auto* h = info[0].As<Napi::External<TensorHandle>>().Data();
    drop(info.Env(), *h);
    return info.Env().Undefined();
  });
}

template <class T>
void widen(const std::byte* from, size_t n, float* out) {
  const auto* p = reinterpret_cast<const T*>(from);
  for (size_t i = 0; i < n; i++)
    if constexpr (std::is_integral_v<T>)
      out[i] = static_cast<float>(p[i]);
    else
      out[i] = to_float(p[i]);
}

void to_float32(DType dtype, const std::byte* from, size_t n, float* out) {
  switch (dtype) {
    case DType::f32: return widen<float>(from, n, out);
    case DType::bf16: return widen<bf16>(from, n, out);
    case DType::f16: return widen<f16>(from, n, out);
    case DType::f8e4m3: return widen<f8e4m3>(from, n, out);
    case DType::i32: return widen<int32_t>(from, n, out);
    case DType::u8: return widen<uint8_t>(from, n, out);
  }
}

// read(tensor, asFloat32): Promise<ArrayBuffer>
Napi::Value read_tensor(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Tensor t = handle_of(info[0], "tensor").tensor;
    if (t.layout != Layout::rows) throw Error(code::kInvalidArgument, "a packed weight cannot be read back");
    const bool as_float = info[1].ToBoolean();
    return Environment::of(info.Env()).run_async(info.Env(), *t.storage->device, [t, as_float] {
      if (t.storage->fault) throw *t.storage->fault;
      materialize(*t.storage);
      std::shared_ptr<std::byte[]> copy(new std::byte[t.bytes()]);
      t.storage->device->read(t, copy.get());
      size_t bytes = t.bytes();
      if (as_float && t.dtype != DType::f32) {
        const auto n = static_cast<size_t>(t.shape.elements());
        bytes = n * sizeof(float);
        std::shared_ptr<std::byte[]> wide(new std::byte[bytes]);
        to_float32(t.dtype, copy.get(), n, reinterpret_cast<float*>(wide.get()));
        copy = std::move(wide);
      }
      return Environment::MakeValue([copy, bytes](Napi::Env env) -> Napi::Value {
        Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, bytes);
        if (bytes > 0) std::memcpy(buffer.Data(), copy.get(), bytes);
        return buffer;
      });
    });
  });
}

// ready(tensor): Promise<void>
Napi::Value ready(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const std::shared_ptr<Storage> storage = handle_of(info[0], "tensor").tensor.storage;
    return Environment::of(info.Env()).run_async(info.Env(), *storage->device, [storage] {
      storage->device->synchronize();
      if (storage->fault) throw *storage->fault;
      return Environment::MakeValue([](Napi::Env env) { return env.Undefined(); });
    });
  });
}

// A file mapped read-only. Tensors made from it hold it open.
struct MappedFile {
  std::byte* data = nullptr;
  size_t bytes = 0;
  ~MappedFile() {
    if (data) munmap(data, bytes);
  }
};
using MappedFilePointer = std::shared_ptr<MappedFile>;

Napi::Value map_file(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    std::string path;
    read(info[0], "path", path);
    auto fail = [&](const char* what) {
      throw Error(code::kIoError, std::string("cannot ") + what + " " + path + ": " + std::strerror(errno));
    };
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail("open");
    struct stat st{};
    auto file = std::make_shared<MappedFile>();
    void* p = MAP_FAILED;
    if (fstat(fd, &st) == 0 && st.st_size > 0) p = mmap(nullptr, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    const int saved = errno;
    close(fd);
    errno = saved;
    if (p == MAP_FAILED) fail("map");
    file->data = static_cast<std::byte*>(p);
    file->bytes = static_cast<size_t>(st.st_size);
    return Napi::External<MappedFilePointer>::New(info.Env(), new MappedFilePointer(file),
                                                  [](Napi::Env, MappedFilePointer* f) { delete f; });
  });
}

// mapTensor(device, file, offset, dtype, shape)
Napi::Value map_tensor(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto& device = open_device(info[0]);
    if (!info[1].IsExternal()) bad_argument("file", "a mapped file");
    const MappedFilePointer& file = *info[1].As<Napi::External<MappedFilePointer>>().Data();
    int64_t offset;
    read(info[2], "offset", offset);
    Tensor t;
    read(info[3], "dtype", t.dtype);
    t.shape = read_shape(info[4], "shape");
    if (offset < 0 || static_cast<uint64_t>(offset) + t.bytes() > file->bytes)
      throw Error(code::kIoError, "a tensor of " + std::to_string(t.bytes()) + " bytes at offset " +
                                      std::to_string(offset) + " ends past the file's " + std::to_string(file->bytes));
    t.storage = std::make_shared<Storage>(device, t.bytes());
    if (device->backend() != Device::Backend::cpu) {
      submit_filling(t, [t, file, offset] { t.storage->device->write(t, file->data + offset); });
    } else if (offset % static_cast<int64_t>(dtype_bytes(t.dtype)) == 0) {  // the format promises no alignment
      t.storage->data = file->data + offset;
      t.storage->owner = file;
    } else {
      materialize(*t.storage);
      std::memcpy(t.storage->data, file->data + offset, t.bytes());
    }
    return make_handle(info.Env(), std::move(t));
  });
}

}  // namespace

void export_tensor_functions(Napi::Env env, Napi::Object exports) {
  const std::pair<const char*, Napi::Value (*)(const Napi::CallbackInfo&)> functions[] = {
      {"tensorFrom", tensor_from}, {"zeros", zeros},        {"view", view},
      {"dispose", dispose},        {"ready", ready},        {"clearError", clear_error},
      {"read", read_tensor},       {"write", write_tensor}, {"mapFile", map_file},
      {"mapTensor", map_tensor},
  };
  for (const auto& [name, fn] : functions) exports.Set(name, Napi::Function::New(env, fn, name));
}

}  // namespace caracal::node
