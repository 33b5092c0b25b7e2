#pragma once
// Declares kernels for host and device. An operation's .kernels.h declares each kernel once,
//
//   inline constexpr Kernel<GemmOperands, float*> kRouterLogits{"router_logits"};
//
// the .cu defines its entries with CARACAL_KERNEL, and the .cuda.cc launches them with Cuda::launch. If the parameters
// differ, neither side compiles.
#include <string_view>
#include <type_traits>

namespace caracal {

// If the entries differ only in element types, a pointer to elements is declared as void* or const void*, and a struct
// template over the element type as S<void>.
template <class... Parameters>
struct Kernel {
  std::string_view name;  // of the entry; the entries of a kernel with variants are called <name>_<variant>
};

template <class Declared, class Actual>
struct SameParameter : std::is_same<Declared, Actual> {};
template <class T>
struct SameParameter<void*, T*> : std::bool_constant<!std::is_const_v<T>> {};
template <class T>
struct SameParameter<const void*, const T*> : std::true_type {};
template <template <class> class S, class T>
struct SameParameter<S<void>, S<T>> : std::bool_constant<sizeof(S<void>) == sizeof(S<T>)> {};

template <class Declared, class Entry>
struct IsEntryOf : std::false_type {};
template <class... Declared, class... Actual>
  requires(sizeof...(Declared) == sizeof...(Actual))
struct IsEntryOf<Kernel<Declared...>, void(Actual...)>
    : std::bool_constant<(SameParameter<Declared, Actual>::value && ...)> {};

constexpr bool names_entry(std::string_view kernel, std::string_view entry) {
  return entry == kernel || (entry.substr(0, kernel.size()) == kernel && entry.substr(kernel.size(), 1) == "_");
}

// Starts the definition of an entry; the body follows. `attributes` are its __launch_bounds__, or empty.
#define CARACAL_KERNEL(kernel, entry, attributes, ...)                                                               \
  extern "C" __global__ void attributes entry(__VA_ARGS__);                                                          \
  static_assert(::caracal::IsEntryOf<std::remove_cv_t<decltype(kernel)>, decltype(entry)>::value,                    \
                "the parameters of " #entry " are not those that the host passes: see the declaration of " #kernel); \
  static_assert(::caracal::names_entry(kernel.name, #entry), #entry " is not named after " #kernel);                 \
  extern "C" __global__ void attributes entry(__VA_ARGS__)

}  // namespace caracal
