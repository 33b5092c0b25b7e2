#pragma once
// Tables of enumerators' names: an option that is a string in JavaScript is an enum in C++.
#include <cstddef>
#include <span>
#include <string_view>

#include "core/activation.h"
#include "core/dtype.h"

namespace caracal {

// Whether an enumerator has this value. Compilers print all other values as a cast: (caracal::DType)6.
template <auto value>
constexpr bool is_enumerator() {
  constexpr std::string_view function = __PRETTY_FUNCTION__;
  return function[function.rfind("= ") + 2] != '(';
}

// Whether a table is as long as its enum, whose enumerators count from 0.
template <class E, size_t N>
constexpr bool one_name_each(const char* const (&)[N]) {
  return is_enumerator<static_cast<E>(N - 1)>() && !is_enumerator<static_cast<E>(N)>();
}

// A specialisation lists the names of the enumerators in order.
template <class E>
struct EnumNames;

// Those that an option may choose. Codes are no dtype of a plain tensor.
template <>
struct EnumNames<DType> {
  static constexpr std::span<const char* const> names{kDTypeNames, kTensorDTypes};
};
static_assert(one_name_each<DType>(kDTypeNames), "dtype_name() indexes kDTypeNames with any DType");

template <>
struct EnumNames<Activation> {
  static constexpr auto& names = kActivationNames;
};
static_assert(one_name_each<Activation>(kActivationNames), "every Activation needs a name for JavaScript");

}  // namespace caracal
