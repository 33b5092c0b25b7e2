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
  int64_t groups = 1;
  GroupScales scales = {};  // of a packed q4 or q8
};
using Outputs = std::vector<OutputSpec>;

enum class Access { in, inout };  // inout: the tensor is written in place (a cache, a streaming state)

// A tensor is plain, or has the field's layout: check() sees no weight that was packed for something else.
template <class Op, class T>
struct Field {
  const char* name;
  T Op::* member;
  Access access = Access::in;
  Layout layout = Layout::rows;
  bool required = false;
};
template <class Op, class T>
constexpr Field<Op, T> field(const char* name, T Op::* member, Access access = Access::in) {
  return {name, member, access};
}
// A weight, plain or packed.
template <class Op, class T>
constexpr Field<Op, T> packable(const char* name, T Op::* member, Layout layout) {
  return {name, member, Access::in, layout};
}
// An argument that is not a tensor and has no default. (A Tensor is always required.)
template <class Op, class T>
constexpr Field<Op, T> required(const char* name, T Op::* member) {
  return {name, member, Access::in, Layout::rows, true};
}

}  // namespace caracal
