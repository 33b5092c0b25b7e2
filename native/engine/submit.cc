#include "engine/submit.h"

#include "core/check.h"

namespace caracal {
namespace {

std::shared_ptr<Device> device_of(const Operation& op) {
  std::shared_ptr<Device> device;
  const char* first = nullptr;
  op.for_each_tensor([&](const Tensor& t, const char* name, Access) {
    if (!device) {
      device = t.storage->device;
      first = name;
    } else if (device != t.storage->device) {
      throw Error(code::kDeviceMismatch,
                  std::string(op.name()) + ": " + name + " is on another device than " + first +
                      ": create both tensors with the same Device",
                  {{"operation", op.name()}, {"argument", name}});
    }
  });
  if (!device)
    throw Error(code::kInvalidArgument, std::string(op.name()) + ": the arguments must have at least one tensor",
                {{"operation", op.name()}});
  return device;
}

// A write to the pages of a mapped file would end the process.
void refuse_read_only(const Operation& op) {
  op.for_each_tensor([&](const Tensor& t, const char* name, Access access) {
    if (access == Access::inout && t.storage->read_only)
      throw Error(
          code::kInvalidArgument,
          std::string(op.name()) + ": " + name +
              " is written in place, but it is a tensor of a mapped file, which is read-only: pass a copy, such "
              "as concatRows([tensor])",
          {{"operation", op.name()}, {"argument", name}});
  });
}

// Refuses packed weights that an argument does not take.
void check_layouts(const Operation& op) {
  for (const Operation::FieldInfo& field : op.fields())
    op.for_each_tensor_of(field, [&](const Tensor& t) {
      if (!t.packed() || t.layout == field.layout) return;
      std::string expected = layout_text(Layout::rows);
      if (field.layout != Layout::rows) expected += std::string(" or ") + layout_text(field.layout);
      Checker{op.name()}.mismatch(code::kInvalidArgument, field.name, "must be", expected, layout_text(t.layout));
    });
}

// Runs in a job of the device. The fault of an input becomes that of the outputs, and surfaces when one of them is
// read.
std::shared_ptr<const Error> execute(Device& device, const Operation& op, std::span<Tensor> out) {
  std::shared_ptr<const Error> fault;
  for (Tensor& t : out) t.storage->fault.reset();  // from the previous replay
  try {
    op.for_each_tensor([&](const Tensor& t, const char*, Access) {
      if (!fault) fault = t.storage->fault;
      if (!fault) materialize(*t.storage);
    });
    if (!fault) {
      for (Tensor& t : out) materialize(*t.storage);
      op.run(device, out);
    }
  } catch (...) {
    fault = current_fault(op.name());
  }
  try {
    op.for_each_tensor([&](const Tensor& t, const char*, Access) {
      if (auto lost = t.storage->lost()) fault = std::move(lost);  // also if the operation failed: for this reason
    });
  } catch (...) {
    fault = current_fault(op.name());
  }
  if (!fault) return nullptr;
  for (Tensor& t : out) t.storage->fault = fault;
  op.for_each_tensor([&](const Tensor& t, const char*, Access access) {
    if (access == Access::inout) t.storage->fault = fault;
  });
  return fault;
}

}  // namespace

Tensor new_tensor(Device& device, const OutputSpec& spec) {
  if (!spec.shape.countable())
    throw Error(code::kShapeMismatch, "the result's shape " + spec.shape.str() + " has too many elements");
  Tensor t;
  t.dtype = spec.dtype;
  t.shape = spec.shape;
  t.layout = spec.layout;
  t.groups = spec.groups;
  t.scales = spec.scales;
  const size_t bytes = spec.bytes ? spec.bytes : t.bytes();
  if (bytes > device.capacity())
    throw Error(code::kOutOfMemory,
                "a tensor of shape " + spec.shape.str() + " takes " + std::to_string(bytes) +
                    " bytes; the device has " + std::to_string(device.capacity()),
                {{"bytes", static_cast<double>(bytes)}, {"capacity", static_cast<double>(device.capacity())}});
  t.storage = std::make_shared<Storage>(device.shared_from_this(), bytes);
  return t;
}

std::vector<Tensor> submit(std::unique_ptr<const Operation> operation) {
  const std::shared_ptr<const Operation> op = std::move(operation);
  const std::shared_ptr<Device> device = device_of(*op);
  refuse_read_only(*op);
  check_layouts(*op);
  std::vector<Tensor> out;
  for (const OutputSpec& spec : op->check()) out.push_back(new_tensor(*device, spec));
  Recording* recording = device->recording.get();
  if (recording) {
    op->for_each_tensor([&](const Tensor& t, const char*, Access access) {
      access == Access::inout ? recording->writes_in_place(t.storage) : recording->reads(t.storage);
    });
    for (const Tensor& t : out) recording->makes(t.storage);
  }
  // A reference suffices: the device stops its queue before it is destroyed.
  auto job = [&device = *device, op, out]() mutable { return execute(device, *op, out); };
  if (recording)
    recording->jobs.push_back(std::move(job));
  else
    device->submit(std::move(job));
  return out;
}

Recording::Job filling(const Tensor& t, std::function<void()> fill) {
  return [t, fill = std::move(fill)] {
    t.storage->fault.reset();
    try {
      materialize(*t.storage);
      fill();
    } catch (...) {
      t.storage->fault = current_fault("filling a tensor");
    }
    return t.storage->fault;
  };
}

}  // namespace caracal
