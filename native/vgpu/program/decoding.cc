#include "program/decoding.h"

#include "program/routine_builder.h"

namespace vgpu {

Decoding::Decoding(RoutineBuilder& routine, const Instruction& in, int32_t scope)
    : routine_(routine), in_(in), scope_(scope) {
  std::string_view remaining = in.head;
  for (;;) {
    const size_t dot = remaining.find('.');
    pieces_.push_back(remaining.substr(0, dot));
    if (dot == remaining.npos) break;
    remaining.remove_prefix(dot + 1);
  }
}

void Decoding::fail(const std::string& message) const {
  throw PtxError{in_.line, std::string(in_.head) + ": " + message};
}

bool Decoding::take(std::string_view modifier) {
  if (!more() || pieces_[next_] != modifier) return false;
  next_++;
  // These need sm_90 wherever they appear, as a scope or as a state space.
  if (modifier == "cluster" || modifier == "shared::cluster") needs(90);
  return true;
}

int Decoding::take_any(std::initializer_list<std::string_view> modifiers) {
  int i = 0;
  for (auto m : modifiers) {
    if (take(m)) return i;
    i++;
  }
  return -1;
}

int Decoding::one_of(std::initializer_list<std::string_view> modifiers) {
  const int i = take_any(modifiers);
  if (i >= 0) return i;
  std::string list;
  for (auto m : modifiers) list += (list.empty() ? "." : ", .") + std::string(m);
  fail("expected one of " + list + (more() ? ", got ." + std::string(peek()) : std::string(" next")));
}

Type Decoding::type(std::initializer_list<Type> allowed) {
  const auto found = more() ? type_named(peek()) : std::nullopt;
  if (found)
    for (Type t : allowed)
      if (t == *found) {
        next_++;
        return t;
      }
  std::string list;
  for (Type t : allowed) list += (list.empty() ? "." : ", .") + std::string(name_of(t));
  fail("expected a type of " + list + (more() ? ", got ." + std::string(peek()) : std::string(" next")));
}

const Operand& Decoding::operand(size_t i) const {
  if (i >= in_.operands.size()) fail("operand " + std::to_string(i + 1) + " is missing");
  return in_.operands[i];
}

void Decoding::expect(size_t min, size_t max) {
  if (more()) fail("unexpected modifier ." + std::string(peek()));
  if (operands() < min || operands() > max)
    fail("takes " + std::to_string(min) + (max > min ? " to " + std::to_string(max) : "") + " operands, got " +
         std::to_string(operands()));
}

int64_t Decoding::immediate(size_t i, int64_t min, int64_t max) const {
  const Operand& o = operand(i);
  if (o.kind != Operand::Kind::integer || o.value < min || o.value > max)
    fail("operand " + std::to_string(i + 1) + " must be a constant from " + std::to_string(min) + " to " +
         std::to_string(max));
  return o.value;
}

uint32_t Decoding::target(std::string_view label) const {
  for (int32_t s = scope_; s >= 0; s = routine_.f_.scopes[static_cast<size_t>(s)].parent) {
    const auto& labels = routine_.labels_[static_cast<size_t>(s)];
    if (const auto found = labels.find(label); found != labels.end()) {
      routine_.flow_.jumps.push_back({routine_.op_index_, found->second});
      return found->second;
    }
  }
  fail("unknown label " + std::string(label));
}

const Function::Table& Decoding::table(std::string_view name) const {
  for (const auto& t : routine_.f_.tables)
    if (t.name == name) return t;
  fail("unknown table " + std::string(name));
}

const Function::Prototype* Decoding::prototype(std::string_view name) const {
  for (const auto& p : routine_.f_.prototypes)
    if (p.name == name) return &p;
  return nullptr;
}

uint32_t Decoding::routine(std::string_view name) const {
  const auto found = routine_.context_.routines.find(name);
  return found == routine_.context_.routines.end() ? kNone : found->second;
}

const Function& Decoding::function(uint32_t routine) const { return *module().functions[routine]; }

int64_t Decoding::add_call(Call call) {
  routine_.r_.calls.push_back(std::move(call));
  return static_cast<int64_t>(routine_.r_.calls.size()) - 1;
}

int64_t Decoding::add_branch_table(std::vector<uint32_t> targets) {
  routine_.r_.branch_tables.push_back(std::move(targets));
  return static_cast<int64_t>(routine_.r_.branch_tables.size()) - 1;
}

const Module& Decoding::module() const { return routine_.context_.program.module; }

void Decoding::needs(uint32_t compute, bool exact) const {
  const Module& m = module();
  const bool has = exact ? m.compute == compute && m.target.back() == 'a' : m.compute >= compute;
  if (!has)
    fail("needs .target sm_" + std::to_string(compute) + (exact ? "a" : " or higher") + ", the module's is " +
         std::string(m.target));
}

uint32_t Decoding::constant(uint64_t bits, unsigned bytes) { return routine_.constant(bits, bytes); }

uint32_t Decoding::temporary(unsigned bytes) {
  const auto reg = static_cast<uint32_t>(routine_.classes_.size());
  routine_.classes_.push_back(bytes == 0   ? RegisterClass::predicate
                              : bytes == 4 ? RegisterClass::bytes4
                              : bytes == 8 ? RegisterClass::bytes8
                              : bytes > 8  ? RegisterClass::bytes16
                                           : RegisterClass::bytes2);
  routine_.record(reg, true);
  return reg;
}

uint32_t Decoding::read_carry() { return routine_.carry(false); }
uint32_t Decoding::write_carry() { return routine_.carry(true); }

void Decoding::writes_late(uint32_t reg) { routine_.late_.push_back(reg); }
void Decoding::waits_for_late() { routine_.late_waits_.push_back(routine_.op_index_); }

void Decoding::ends_flow() { routine_.ends_ = true; }

void Decoding::append(uint32_t slot) {
  auto& lists = routine_.r_.lists;
  if (op_.count == 0) op_.list = static_cast<uint32_t>(lists.size());
  lists.push_back(slot);
  op_.count++;
}

}  // namespace vgpu
