#pragma once
// The parts of an operation's contract. A contract is a struct with
//   kName     the name under which JavaScript calls it,
//   kFields   the table of its arguments, from which the binding fills them and the queue finds the tensors,
//   check()   which validates the arguments before any memory is touched, and returns the outputs to create.
#include <optional>
#include <tuple>
#include <vector>

#include "core/enum_names.h"
#include "core/tensor.h"

namespace caracal {

struct OutputSpec {
  DType dtype;
  Shape shape;
  Layout layout = Layout::rows;
  size_t bytes = 0;  // of a packed layout; 0 means the dense size
};
using Outputs = std::vector<OutputSpec>;

enum class Access { in, inout };  // inout: the tensor is written in place (a cache, a streaming state)

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

}  // namespace caracal
