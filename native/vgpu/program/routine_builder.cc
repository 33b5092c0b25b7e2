#include "program/routine_builder.h"

#include <algorithm>

namespace vgpu {

std::vector<Parameter> lay_out(const std::vector<Variable>& list, uint64_t& offset) {
  std::vector<Parameter> out;
  for (const auto& v : list) {
    offset = round_up(offset, v.alignment);
    out.push_back({std::string(v.name), static_cast<uint32_t>(offset), static_cast<uint32_t>(v.size)});
    offset += v.size;
    if (offset > 65536) throw PtxError{v.line, "the parameters are too large"};
  }
  return out;
}

uint32_t add_shared_variable(ModuleContext& context, const Variable& v) {
  if (v.size > 1u << 30) throw PtxError{v.line, "variable " + std::string(v.name) + " is too large"};
  context.shared_variables.push_back({static_cast<uint32_t>(v.size), v.alignment});
  return static_cast<uint32_t>(context.shared_variables.size()) - 1;
}

void RoutineBuilder::build() {
  r_.reserved_shared = context_.reserved_shared;
  r_.shared_alignment = context_.dynamic_alignment;
  lay_out_parameters();
  declare();
  for (uint32_t i = 0; i < f_.instructions.size(); i++) decode(i);
  end_with_return();
  place_registers();
}

// --- names -----------------------------------------------------------------------------------------------------------

void RoutineBuilder::lay_out_parameters() {
  uint64_t offset = 0;
  r_.parameters = lay_out(f_.parameters, offset);
  r_.results = lay_out(f_.results, offset);
  (r_.entry ? r_.parameter_bytes : r_.argument_bytes) = static_cast<uint32_t>(offset);
}

void RoutineBuilder::declare(size_t scope, std::string_view name, Symbol symbol, uint32_t line) {
  if (!names_[scope].emplace(name, symbol).second)
    throw PtxError{line, "'" + std::string(name) + "' is declared twice"};
}

void RoutineBuilder::declare_variable(size_t scope, const Variable& v) {
  const bool shared = v.space == Space::shared, local = v.space == Space::local;
  if (shared && !r_.entry) {
    const uint32_t index = add_shared_variable(context_, v);
    return declare(scope, v.name, {Symbol::Kind::shared, v.type, index, static_cast<uint32_t>(v.size), 0}, v.line);
  }
  uint32_t& total = shared ? r_.shared_bytes : local ? r_.local_bytes : r_.argument_bytes;
  const uint32_t at = round_up(total, v.alignment);
  if (v.size > (1u << 30) - at) throw PtxError{v.line, "variable " + std::string(v.name) + " is too large"};
  total = at + static_cast<uint32_t>(v.size);
  const auto kind = shared ? Symbol::Kind::shared : local ? Symbol::Kind::local : Symbol::Kind::param;
  const uint32_t address = shared ? r_.reserved_shared + at : at;
  declare(scope, v.name, {kind, v.type, address, static_cast<uint32_t>(v.size), kind == Symbol::Kind::param}, v.line);
}

void RoutineBuilder::declare() {
  names_.resize(f_.scopes.size());
  labels_.resize(f_.scopes.size());
  for (const auto* list : {&r_.parameters, &r_.results})
    for (size_t i = 0; i < list->size(); i++) {
      const auto& v = list == &r_.parameters ? f_.parameters[i] : f_.results[i];
      declare(0, v.name, {Symbol::Kind::param, v.type, (*list)[i].offset, (*list)[i].size, 0}, v.line);
    }
  for (size_t s = 0; s < f_.scopes.size(); s++) {
    const Scope& scope = f_.scopes[s];
    for (const auto& reg : scope.registers) {
      const auto first = static_cast<uint32_t>(classes_.size());
      if (first + std::max(reg.count, 1u) > (1u << 26)) throw PtxError{reg.line, "too many registers"};
      classes_.resize(first + std::max(reg.count, 1u), class_of(reg.type));
      declare(s, reg.name, {Symbol::Kind::reg, reg.type, first, 0, reg.count}, reg.line);
    }
    for (const auto& v : scope.variables) declare_variable(s, v);
    for (const auto& label : scope.labels)
      if (!labels_[s].emplace(label.name, label.instruction).second)
        throw PtxError{f_.line, "label '" + std::string(label.name) + "' is defined twice"};
  }
}

bool RoutineBuilder::find(std::string_view name, int32_t scope, Symbol& out) const {
  std::string_view stem = name;
  uint64_t number = 0, ten = 1;
  while (!stem.empty() && stem.back() >= '0' && stem.back() <= '9' && ten < 1000000000000ull) {
    number += ten * static_cast<uint64_t>(stem.back() - '0');
    ten *= 10;
    stem.remove_suffix(1);
  }
  // %r07 does not belong to %r<…>.
  const bool numbered = stem.size() < name.size() && !(name.size() - stem.size() > 1 && name[stem.size()] == '0');
  for (int32_t s = scope; s >= 0; s = f_.scopes[static_cast<size_t>(s)].parent) {
    const Names& names = names_[static_cast<size_t>(s)];
    const auto whole = names.find(name);
    if (whole != names.end() && !(whole->second.kind == Symbol::Kind::reg && whole->second.count > 0)) {
      out = whole->second;
      return true;
    }
    if (!numbered) continue;
    const auto found = names.find(stem);
    if (found != names.end() && found->second.kind == Symbol::Kind::reg && number < found->second.count) {
      out = found->second;
      out.at += static_cast<uint32_t>(number);
      return true;
    }
  }
  return false;
}

// --- instructions ----------------------------------------------------------------------------------------------------

void RoutineBuilder::decode(uint32_t index) {
  const Instruction& in = f_.instructions[index];
  Decoding d(*this, in, f_.scope_of[index]);
  op_index_ = index;
  ends_ = false;
  if (!in.guard.empty()) {
    Symbol symbol;
    if (!find(in.guard, f_.scope_of[index], symbol) || symbol.kind != Symbol::Kind::reg || symbol.type != Type::pred)
      d.fail("the guard @" + std::string(in.guard) + " is not a predicate register");
    d.op().guard = symbol.at;
    d.op().guard_negated = in.guard_negated;
    flow_.uses.push_back({index, symbol.at, false});
  }
  const Decoder decoder = find_decoder(in.head);
  if (!decoder) d.fail("unknown instruction");
  decoder(d);
  if (d.more()) d.fail("unexpected modifier ." + std::string(d.peek()));
  add(d, in.line, in.location, ends_ && in.guard.empty());
}

void RoutineBuilder::add(const Decoding& d, uint32_t line, int32_t location, bool ends) {
  r_.ops.push_back(d.op_);
  r_.lines.push_back(line);
  r_.locations.push_back(location);
  r_.classes.push_back(d.class_);
  r_.texts.emplace_back(d.in_.head);
  flow_.ends.push_back(ends);
}

// Control that runs off the end of the body returns.
void RoutineBuilder::end_with_return() {
  Decoding d(*this, implicit_return_, 0);
  op_index_ = static_cast<uint32_t>(r_.ops.size());
  find_decoder("ret")(d);
  add(d, f_.instructions.empty() ? f_.line : f_.instructions.back().line, -1, true);
  flow_.ops = static_cast<uint32_t>(r_.ops.size());
}

// --- virtual registers -----------------------------------------------------------------------------------------------

void RoutineBuilder::record(uint32_t reg, bool write) {
  if ((reg & kKind) != 0) return;
  // Under a guard the other lanes keep the old value, so the write is also a read.
  const bool guarded = op_index_ < f_.instructions.size() && !f_.instructions[op_index_].guard.empty();
  if (write && guarded) flow_.uses.push_back({op_index_, reg, false});
  flow_.uses.push_back({op_index_, reg, write});
}

uint32_t RoutineBuilder::carry(bool write) {
  if (carry_ == kNone) {
    carry_ = static_cast<uint32_t>(classes_.size());
    classes_.push_back(RegisterClass::predicate);
  }
  record(carry_, write);
  return carry_;
}

uint32_t RoutineBuilder::constant(uint64_t bits, unsigned bytes) {
  if (bytes < 8) bits &= (uint64_t{1} << bytes * 8) - 1;
  const auto [at, fresh] = constants_.try_emplace({bits, bytes}, static_cast<uint32_t>(constant_list_.size()));
  if (fresh) constant_list_.push_back({bits, bytes});
  return kConstant | at->second;
}

uint32_t RoutineBuilder::special(Special which, unsigned bytes, int64_t addend, uint32_t variable) {
  for (uint32_t i = 0; i < r_.specials.size(); i++) {
    const auto& s = r_.specials[i];
    if (s.which == which && s.bytes == bytes && s.addend == addend && s.variable == variable) return kSpecial | i;
  }
  r_.specials.push_back({which, 0, bytes, addend, variable});
  return kSpecial | static_cast<uint32_t>(r_.specials.size() - 1);
}

uint32_t RoutineBuilder::place_specials() {
  uint32_t end = 0;
  for (auto& s : r_.specials) {
    s.offset = end;
    end += kLanes * s.bytes;
  }
  return round_up(end, 64);
}

uint32_t RoutineBuilder::place_constants(uint32_t end, std::vector<uint32_t>& slots) {
  r_.constants_begin = end;
  for (const auto& [bits, bytes] : constant_list_) {
    slots.push_back(end);
    end += kLanes * bytes;
    for (int lane = 0; lane < kLanes; lane++) {
      const uint64_t words[2] = {bits, 0};
      const auto* from = reinterpret_cast<const std::byte*>(words);
      r_.constants.insert(r_.constants.end(), from, from + bytes);
    }
  }
  return round_up(end, 64);
}

void RoutineBuilder::place_registers() {
  std::vector<uint32_t> constant_slots;
  const uint32_t begin = place_constants(place_specials(), constant_slots);
  uint32_t end = begin;
  for (const uint32_t op : late_waits_)
    for (const uint32_t reg : late_) {
      flow_.uses.push_back({op, reg, false});
      flow_.uses.push_back({op, reg, true});
    }
  if (!late_waits_.empty())
    std::stable_sort(flow_.uses.begin(), flow_.uses.end(),
                     [](const RegisterUse& a, const RegisterUse& b) { return a.op < b.op; });
  const auto slots = pack_registers(flow_, classes_, begin, end);
  r_.frame_bytes = end;
  r_.registers = (end - begin + 127) / 128;
  auto fix = [&](uint32_t& field) {
    if (field == kNone) return;
    const uint32_t index = field & ~kKind;
    field = (field & kKind) == kSpecial    ? r_.specials[index].offset
            : (field & kKind) == kConstant ? constant_slots[index]
                                           : slots[index];
  };
  for (Op& op : r_.ops) {
    fix(op.d);
    fix(op.a);
    fix(op.b);
    fix(op.c);
    fix(op.e);
    fix(op.guard);
    for (uint32_t i = 0; i < op.count; i++) fix(r_.lists[op.list + i]);
  }
}

}  // namespace vgpu
