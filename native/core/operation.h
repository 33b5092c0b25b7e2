#pragma once
// An operation together with its arguments, for code that works with any operation: the binding, the queue and the
// devices. engine/operation_of.h derives the classes from the contracts.
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "core/device.h"
#include "core/op.h"

namespace caracal {

// An argument of an enum type: choose(member, i) sets it to the enumerator called names[i].
struct Choice {
  std::span<const char* const> names;
  void (*choose)(void* member, size_t index);
  void* member;
};

// The address of an argument, by its kind.
using FieldPointer =
    std::variant<Tensor*, std::optional<Tensor>*, std::vector<Tensor>*, bool*, int64_t*, double*,
                 std::optional<int64_t>*, std::optional<double>*, std::vector<int64_t>*, std::vector<double>*, Choice>;

class Operation {
 public:
  struct FieldInfo {
    const char* name;
    Access access;
    Layout layout;
    bool required;
    FieldPointer (*locate)(Operation& op);
  };

  virtual ~Operation() = default;
  virtual const char* name() const = 0;
  virtual std::span<const FieldInfo> fields() const = 0;
  virtual Outputs check() const = 0;
  // Runs it, or puts it on the device's stream. Called only by jobs; the outputs have memory and no input has a fault.
  virtual void run(Device& device, std::span<Tensor> out) const = 0;

  // Calls fn(tensor, name, access) for each tensor among the arguments.
  template <class Fn>
  void for_each_tensor(Fn&& fn) const {
    for (const FieldInfo& field : fields())
      for_each_tensor_of(field, [&](const Tensor& t) { fn(t, field.name, field.access); });
  }
  // Calls fn(tensor) for each tensor of an argument.
  template <class Fn>
  void for_each_tensor_of(const FieldInfo& field, Fn&& fn) const {
    const FieldPointer at = field.locate(const_cast<Operation&>(*this));
    if (const auto* tensor = std::get_if<Tensor*>(&at)) {
      fn(std::as_const(**tensor));
    } else if (const auto* optional = std::get_if<std::optional<Tensor>*>(&at)) {
      if (**optional) fn(std::as_const(***optional));
    } else if (const auto* list = std::get_if<std::vector<Tensor>*>(&at)) {
      for (const Tensor& t : **list) fn(t);
    }
  }
};

}  // namespace caracal
