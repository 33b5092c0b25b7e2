#pragma once
// The parts of an operation's contract. A contract is a struct with
//   kName     the name under which JavaScript calls it,
//   kFields   the table of its arguments: the binding fills them from a JavaScript object, and the queue finds the
//             tensors in it,
//   check()   which reports everything that can be wrong before memory is touched, and returns the outputs to make.
#include <optional>
#include <tuple>
#include <vector>

#include "core/activation.h"
#include "core/tensor.h"

namespace caracal {

struct OutputSpec {
  DType dtype;
  Shape shape;
  Layout layout = Layout::rows;
  size_t bytes = 0;  // 0: the dense size; packed layouts say their own
};
using Outputs = std::vector<OutputSpec>;

enum class Access { in, inout };  // inout: written in place (a cache, a streaming state)

template <class Op, class T>
struct Field {
  const char* name;
  T Op::* member;
  Access access = Access::in;
};
template <class Op, class T>
constexpr Field<Op, T> field(const char* name, T Op::* member, Access access = Access::in) {
  return {name, member, access};
}

// An option that is a string in JavaScript is an enum here; a specialisation lists the names of the enumerators in order.
template <class E>
struct EnumNames;

template <>
struct EnumNames<DType> {
  static constexpr auto& names = kDTypeNames;
};

template <>
struct EnumNames<Activation> {
  static constexpr auto& names = kActivationNames;
};

}  // namespace caracal
