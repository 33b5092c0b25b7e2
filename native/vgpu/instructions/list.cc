#include "instructions/list.h"

#include <string>
#include <unordered_map>

namespace vgpu {
namespace {

bool ends_in_float(std::string_view head) {
  const auto type = type_named(head.substr(head.rfind('.') + 1));
  return type && (*type == Type::f16 || *type == Type::f16x2 || *type == Type::bf16 || *type == Type::bf16x2 ||
                  *type == Type::f32 || *type == Type::f64);
}

}  // namespace

Decoder find_decoder(std::string_view head) {
  struct Entry {
    Decoder any = nullptr, integer = nullptr, floating = nullptr;
  };
  static const auto table = [] {
    std::unordered_map<std::string_view, Entry> all;
    for (const auto chapter : {barrier_opcodes(), comparison_opcodes(), control_opcodes(), conversion_opcodes(), floating_opcodes(),
                               integer_opcodes(), logic_opcodes(), memory_opcodes(), move_opcodes()})
      for (const Opcode& o : chapter) {
        Entry& e = all[o.name];
        (o.domain == Domain::any ? e.any : o.domain == Domain::integer ? e.integer : e.floating) = o.decode;
      }
    return all;
  }();
  const auto found = table.find(head.substr(0, head.find('.')));
  if (found == table.end()) return nullptr;
  const Entry& e = found->second;
  return e.any ? e.any : ends_in_float(head) ? e.floating : e.integer;
}

}  // namespace vgpu
