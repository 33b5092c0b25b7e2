#pragma once
// What an operation's contract is made of. A contract is a struct with
//   kName     the name it is bound under,
//   kFields   the table of its arguments: the binding fills them from a JavaScript object, and the queue finds the
//             tensors in it,
//   check()   everything that can be wrong, said before any memory is touched; returns the outputs to make.
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

// An option that is a string in JavaScript is an enum here; a specialisation lists the enumerators' names in order.
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

// Calls fn(tensor, name, access) for every tensor that is present among the arguments.
template <class Op, class Fn>
void for_each_tensor(const Op& op, Fn&& fn) {
  std::apply(
      [&](const auto&... f) {
        (
            [&] {
              const auto& v = op.*(f.member);
              using V = std::decay_t<decltype(v)>;
              if constexpr (std::is_same_v<V, Tensor>) {
                fn(v, f.name, f.access);
              } else if constexpr (std::is_same_v<V, std::optional<Tensor>>) {
                if (v) fn(*v, f.name, f.access);
              } else if constexpr (std::is_same_v<V, std::vector<Tensor>>) {
                for (const Tensor& t : v) fn(t, f.name, f.access);
              }
            }(),
            ...);
      },
      Op::kFields);
}

}  // namespace caracal
