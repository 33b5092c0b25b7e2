// Binds the operands of an instruction, names and constants, to virtual registers.
#include <cstring>

#include "program/decoding.h"
#include "program/routine_builder.h"

namespace vgpu {
namespace {

bool is_float(Type t) { return t == Type::f32 || t == Type::f64 || t == Type::f16 || t == Type::f16x2; }

// The bits of a literal for an operand of 4 or 8 bytes. PTX converts between the two formats.
uint64_t float_bits(const Operand& o, unsigned bytes) {
  auto bits = static_cast<uint64_t>(o.value);
  const bool single = o.kind == Operand::Kind::f32;
  if (single && bytes == 8) {
    float f;
    std::memcpy(&f, &bits, 4);
    const double d = f;
    std::memcpy(&bits, &d, 8);
  } else if (!single && bytes == 4) {
    double d;
    std::memcpy(&d, &bits, 8);
    const auto f = static_cast<float>(d);
    bits = 0;
    std::memcpy(&bits, &f, 4);
  }
  return bits;
}

}  // namespace

uint32_t Decoding::bind(const Operand& o, Type type, unsigned* wide, bool writes) {
  const unsigned bytes = std::max(bytes_of(type), 2u);  // 8-bit values live in 16-bit registers
  if (o.negated) fail("'!' before an operand that is not a predicate");
  if (wide) *wide = bytes;
  switch (o.kind) {
    case Operand::Kind::sink:
      if (!writes) fail("'_' can only be written");
      return temporary(bytes);
    case Operand::Kind::integer:
      if (writes) fail("a constant cannot be written");
      return constant(static_cast<uint64_t>(o.value), bytes);
    case Operand::Kind::f32:
    case Operand::Kind::f64:
      if (writes) fail("a constant cannot be written");
      if (bytes < 4) fail("a float constant cannot be a 16-bit operand");
      return constant(float_bits(o, bytes), bytes);
    case Operand::Kind::name: break;
    default: fail("an operand of this kind is not allowed here");
  }
  RoutineBuilder::Symbol symbol;
  const bool declared = routine_.find(o.name, scope_, symbol);
  if (declared && symbol.kind == RoutineBuilder::Symbol::Kind::reg) return bind_register(o, type, wide, writes);
  if (writes) fail("'" + std::string(o.name) + "' is not a register that can be written");
  return declared           ? variable_address(o, bytes)
         : o.name[0] == '%' ? special_register(o, bytes)
                            : module_address(o, bytes);
}

uint32_t Decoding::bind_register(const Operand& o, Type type, unsigned* wide, bool writes) {
  RoutineBuilder::Symbol symbol;
  routine_.find(o.name, scope_, symbol);
  if (symbol.type == Type::pred) fail("predicate " + std::string(o.name) + " where a value is expected");
  const unsigned bytes = std::max(bytes_of(type), 2u);
  const unsigned width = kRegisterBytes[static_cast<int>(class_of(symbol.type))] / kLanes;
  if (wide ? width < bytes : width != bytes)
    fail("register " + std::string(o.name) + " has " + std::to_string(8 * width) + " bits, the instruction's type ." +
         std::string(name_of(type)));
  if (!wide && ((is_float(symbol.type) && is_integer(type)) || (is_float(type) && is_integer(symbol.type))))
    fail("register " + std::string(o.name) + " is declared ." + std::string(name_of(symbol.type)) +
         ", the instruction's type is ." + std::string(name_of(type)));
  if (wide) *wide = width;
  if (o.value != 0) fail("a register cannot have an offset");
  routine_.record(symbol.at, writes);
  return symbol.at;
}

// The address of one of the function's variables.
uint32_t Decoding::variable_address(const Operand& o, unsigned bytes) {
  RoutineBuilder::Symbol symbol;
  routine_.find(o.name, scope_, symbol);
  if (bytes < 4) fail("an address does not fit in 16 bits");
  const int64_t at = symbol.at + o.value;
  if (symbol.kind == RoutineBuilder::Symbol::Kind::local) return routine_.special(Special::local_frame, bytes, at);
  if (symbol.kind == RoutineBuilder::Symbol::Kind::shared && !routine_.r_.entry)
    return routine_.special(Special::shared_variable, bytes, o.value, symbol.at);
  if (symbol.kind == RoutineBuilder::Symbol::Kind::param && (!routine_.r_.entry || symbol.count != 0))
    fail("the address of a call's argument cannot be taken");
  return constant(static_cast<uint64_t>(at), bytes);
}

uint32_t Decoding::special_register(const Operand& o, unsigned bytes) {
  const auto which = special_named(o.name);
  if (!which) fail("unknown register " + std::string(o.name));
  if (bytes < 4) fail("special register " + std::string(o.name) + " has 32 bits");
  if (o.name.find("cluster") != o.name.npos || o.name == "%aggr_smem_size") needs(90);
  return routine_.special(*which, bytes);
}

// The address of one of the module's variables or functions.
uint32_t Decoding::module_address(const Operand& o, unsigned bytes) {
  const auto global = routine_.context_.globals.find(o.name);
  if (global == routine_.context_.globals.end()) {
    const auto function = routine_.context_.routines.find(o.name);
    if (function == routine_.context_.routines.end()) fail("unknown name " + std::string(o.name));
    if (bytes != 8) fail("a function's address has 64 bits");
    routine_.context_.address_taken[function->second] = true;
    return constant(function->second + 1, 8);  // a function's address is its number plus one
  }
  if (global->second.dynamic_shared) {
    if (bytes < 4) fail("an address does not fit in 16 bits");
    return routine_.special(Special::dynamic_shared, bytes, o.value);
  }
  if (bytes < 4 || (bytes < 8 && global->second.space != Space::shared))
    fail("a 64-bit address does not fit in the operand");
  if (global->second.space == Space::shared)
    return routine_.special(Special::shared_variable, bytes, o.value, static_cast<uint32_t>(global->second.address));
  return constant(global->second.address + static_cast<uint64_t>(o.value), bytes);
}

uint32_t Decoding::read(const Operand& o, Type type) { return bind(o, type, nullptr, false); }
uint32_t Decoding::write(const Operand& o, Type type) { return bind(o, type, nullptr, true); }
uint32_t Decoding::read_wide(const Operand& o, Type type, unsigned& bytes) { return bind(o, type, &bytes, false); }
uint32_t Decoding::write_wide(const Operand& o, Type type, unsigned& bytes) { return bind(o, type, &bytes, true); }

uint32_t Decoding::update(size_t i, Type type) {
  read(i, type);
  return write(i, type);
}

bool Decoding::is_predicate(const Operand& o) const {
  RoutineBuilder::Symbol symbol;
  return o.kind == Operand::Kind::name && routine_.find(o.name, scope_, symbol) &&
         symbol.kind == RoutineBuilder::Symbol::Kind::reg && symbol.type == Type::pred;
}

uint32_t Decoding::write_predicate(const Operand& o) {
  if (o.kind == Operand::Kind::sink) return temporary(0);
  if (!is_predicate(o) || o.negated) fail("expected a predicate register");
  RoutineBuilder::Symbol symbol;
  routine_.find(o.name, scope_, symbol);
  routine_.record(symbol.at, true);
  return symbol.at;
}

uint32_t Decoding::read_predicate(const Operand& o, bool& negated) {
  negated = o.negated;
  if (o.kind == Operand::Kind::integer) {  // a constant is true unless it is 0
    negated = false;
    return routine_.constant(o.value != 0 ? ~uint64_t{0} : 0, 4);
  }
  if (!is_predicate(o)) fail("expected a predicate register");
  RoutineBuilder::Symbol symbol;
  routine_.find(o.name, scope_, symbol);
  routine_.record(symbol.at, false);
  return symbol.at;
}

void Decoding::address(size_t i, Space space) {
  bool base32 = false;
  address(operand(i), space, op_.a, op_.imm, base32);
  if (base32) op_.flags |= kBase32;
}

void Decoding::address(const Operand& o, Space space, uint32_t& base, int64_t& offset, bool& base32) {
  if (o.kind != Operand::Kind::address) fail("expected an address in brackets");
  offset = o.value;
  base32 = false;
  if (o.name.empty()) {
    base = constant(0, 8);
    return;
  }
  Operand name = o;
  name.kind = Operand::Kind::name;
  name.value = 0;
  name.parts.clear();
  RoutineBuilder::Symbol symbol;
  if (routine_.find(o.name, scope_, symbol)) {
    using K = RoutineBuilder::Symbol::Kind;
    if (symbol.kind == K::reg) {
      unsigned bytes = 0;
      base = read_wide(name, Type::b32, bytes);
      if (bytes > 8) fail("an address cannot have 128 bits");
      base32 = bytes == 4;
      if (base32 && (space == Space::global || space == Space::generic))
        fail("a 32-bit register cannot hold a " + std::string(space == Space::global ? "global" : "generic") +
             " address");
      return;
    }
    const bool fits = (symbol.kind == K::local && space == Space::local) ||
                      (symbol.kind == K::shared && space == Space::shared) ||
                      (symbol.kind == K::param && space == Space::param);
    if (!fits) fail("variable " + std::string(o.name) + " is in another state space");
  } else if (const auto global = routine_.context_.globals.find(o.name); global != routine_.context_.globals.end()) {
    const Space in = global->second.space;
    if (in != space && !(space == Space::generic && in != Space::shared))
      fail("variable " + std::string(o.name) + " is in another state space");
  }
  base = read(name, Type::b64);
}

bool Decoding::param_location(const Operand& o, ParamLocation& out) const {
  RoutineBuilder::Symbol symbol;
  if (o.kind != Operand::Kind::address && o.kind != Operand::Kind::name) return false;
  if (!routine_.find(o.name, scope_, symbol) || symbol.kind != RoutineBuilder::Symbol::Kind::param) return false;
  out = {routine_.r_.entry && symbol.count == 0, static_cast<int64_t>(symbol.at) + o.value, symbol.size};
  return true;
}

}  // namespace vgpu
