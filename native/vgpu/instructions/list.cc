#include "instructions/list.h"

#include <string>
#include <unordered_map>

namespace vgpu {
namespace {

Domain domain_of(std::string_view head) {
  switch (type_named(head.substr(head.rfind('.') + 1)).value_or(Type::pred)) {
    case Type::f16:
    case Type::f16x2:
    case Type::bf16:
    case Type::bf16x2: return Domain::half;
    case Type::f32:
    case Type::f64: return Domain::floating;
    default: return Domain::integer;
  }
}

}  // namespace

Decoder find_decoder(std::string_view head) {
  struct Entry {
    Decoder of[4] = {};  // indexed by Domain
  };
  static const auto table = [] {
    std::unordered_map<std::string_view, Entry> all;
    for (const auto chapter :
         {async_copy_opcodes(), atomic_opcodes(), barrier_opcodes(), bit_opcodes(), cluster_opcodes(),
          comparison_opcodes(), control_opcodes(), conversion_opcodes(), fence_opcodes(), floating_opcodes(),
          half_opcodes(), integer_opcodes(), logic_opcodes(), matrix_opcodes(), memory_opcodes(), move_opcodes(),
          warp_opcodes(), wgmma_opcodes(), wmma_opcodes()})
      for (const Opcode& o : chapter) all[o.name].of[static_cast<size_t>(o.domain)] = o.decode;
    return all;
  }();
  const auto found = table.find(head.substr(0, head.find('.')));
  if (found == table.end()) return nullptr;
  const auto& of = found->second.of;
  return of[0] ? of[0] : of[static_cast<size_t>(domain_of(head))];
}

}  // namespace vgpu
