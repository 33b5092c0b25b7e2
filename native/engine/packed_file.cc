#include "engine/packed_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/packed_weight.h"

namespace caracal {
namespace {

constexpr int64_t kAlignment = 64;  // of the memory that a device allocates, which the kernels rely on

[[noreturn]] void refuse(const PackedSpec& spec, const std::string& problem) {
  throw Error(code::kInvalidArgument, std::string("no operation packs a ") + dtype_name(spec.dtype) + " weight " +
                                          spec.shape.str() + " like this: " + problem);
}

void check_scales(const PackedSpec& spec) {
  const auto [group, dtype] = spec.scales;
  if (!is_affine(spec.dtype)) {
    if (group != 0) refuse(spec, "it has no groups of scales");
    return;
  }
  if (group != 32 && group != 64 && group != 128) refuse(spec, "groups have 32, 64 or 128 elements");
  if (spec.shape[-1] % group != 0) refuse(spec, "its rows are not whole groups");
  if (dtype != DType::f32 && dtype != DType::bf16 && dtype != DType::f16) refuse(spec, "its scales are no floats");
}

size_t matrix_bytes(const PackedSpec& spec) {
  const bool is_float = spec.dtype == DType::f32 || spec.dtype == DType::bf16;
  if (!is_float && spec.dtype != DType::f8e4m3 && !is_affine(spec.dtype)) refuse(spec, "its dtype is none of weights");
  const bool has_experts = spec.layout == Layout::experts;
  if (spec.shape.rank() != (has_experts ? 3 : 2)) refuse(spec, "its layout has another rank");
  if (!is_float && spec.shape[-1] == 0) refuse(spec, "it has no columns");
  if (has_experts && spec.shape[0] == 0) refuse(spec, "it has no experts");
  if (spec.groups != 1) refuse(spec, "it has no groups");
  check_scales(spec);
  return packed_bytes(has_experts ? spec.shape[0] : 1, spec.shape[-2], spec.shape[-1], spec.dtype, spec.scales);
}

size_t conv_bytes(const PackedSpec& spec) {
  const auto& [dtype, layout, shape, groups, scales] = spec;
  if (dtype != DType::f32 && dtype != DType::bf16) refuse(spec, "its dtype is none of convolutions");
  if (shape.rank() != 3) refuse(spec, "its layout has another rank");
  check_scales(spec);
  if (groups < 1 || groups > 1 << 20) refuse(spec, "its groups are out of range");
  if (layout == Layout::conv_transpose1d) {
    if (groups != 1) refuse(spec, "it has no groups");
    return packed_bytes(1, shape[1] * shape[2], shape[0], dtype);
  }
  if (shape[0] % groups != 0) refuse(spec, "its groups do not divide its channels");
  if (groups > 1 && groups == shape[0] && shape[1] == 1) refuse(spec, "it is depthwise");
  return packed_bytes(groups, shape[0] / groups, shape[1] * shape[2], dtype);
}

}  // namespace

size_t packed_storage_bytes(const PackedSpec& spec) {
  switch (spec.layout) {
    case Layout::matrix:
    case Layout::experts: return matrix_bytes(spec);
    case Layout::conv1d:
    case Layout::conv_transpose1d: return conv_bytes(spec);
    case Layout::rows: break;
  }
  refuse(spec, "it is a plain tensor");
}

Tensor map_packed(const std::shared_ptr<Device>& device, const std::shared_ptr<MappedFile>& file, int64_t offset,
                  const PackedSpec& spec) {
  if (device->backend() != Device::Backend::cpu)
    throw Error(code::kInvalidArgument, "packed weights in files have the layout of the CPU backend");
  const size_t bytes = packed_storage_bytes(spec);
  if (offset < 0 || offset % kAlignment != 0)
    throw Error(code::kInvalidArgument, "a packed weight at offset " + std::to_string(offset) + " is not aligned");
  if (bytes > file->bytes() || static_cast<size_t>(offset) > file->bytes() - bytes)
    throw Error(code::kIoError,
                "a packed weight of " + std::to_string(bytes) + " bytes at offset " + std::to_string(offset) +
                    " does not fit in the " + std::to_string(file->bytes()) + " bytes of " + file->path(),
                {{"path", file->path()}});
  Tensor t;
  t.dtype = spec.dtype;
  t.layout = spec.layout;
  t.shape = spec.shape;
  t.groups = spec.groups;
  t.scales = spec.scales;
  t.storage = std::make_shared<Storage>(device, bytes);
  t.storage->read_only = true;
  t.storage->data = const_cast<std::byte*>(file->data()) + offset;
  t.storage->borrowed = file;
  return t;
}

void write_packed(const Tensor& t, const Descriptor& file, int64_t offset) {
  Storage& storage = *t.storage;
  if (storage.fault) throw *storage.fault;
  materialize(storage);
  for (size_t done = 0; done < storage.bytes;) {
    const ssize_t written =
        pwrite(file, storage.data + done, storage.bytes - done, static_cast<off_t>(offset) + static_cast<off_t>(done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0)
      throw Error(code::kIoError, std::string("packed weights cannot be written: ") +
                                      (written < 0 ? std::strerror(errno) : "the file takes no more bytes"));
    done += static_cast<size_t>(written);
  }
  storage.fault = std::make_shared<Error>(code::kDisposed, "the packed weight was moved to a file", ErrorDetails{});
  if (storage.data == nullptr || storage.borrowed) return;
  storage.device->release(storage.data, storage.bytes);
  storage.data = nullptr;
}

}  // namespace caracal
