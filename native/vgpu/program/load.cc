#include "program/load.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>

#include "program/decoding.h"
#include "program/registers.h"
#include "ptx/parser.h"

namespace vgpu {
namespace {

uint32_t round_up(uint64_t value, uint64_t to) { return static_cast<uint32_t>((value + to - 1) / to * to); }

struct Global {
  uint64_t address = 0;
  Space space = Space::global;
  bool dynamic_shared = false;
};

const std::unordered_map<std::string_view, Special>& special_names() {
  static const std::unordered_map<std::string_view, Special> names{
      {"%tid.x", Special::tid_x}, {"%tid.y", Special::tid_y}, {"%tid.z", Special::tid_z},
      {"%ntid.x", Special::ntid_x}, {"%ntid.y", Special::ntid_y}, {"%ntid.z", Special::ntid_z},
      {"%ctaid.x", Special::ctaid_x}, {"%ctaid.y", Special::ctaid_y}, {"%ctaid.z", Special::ctaid_z},
      {"%nctaid.x", Special::nctaid_x}, {"%nctaid.y", Special::nctaid_y}, {"%nctaid.z", Special::nctaid_z},
      {"%laneid", Special::laneid}, {"%warpid", Special::warpid}, {"%nwarpid", Special::nwarpid},
      {"%smid", Special::smid}, {"%nsmid", Special::nsmid}, {"%gridid", Special::gridid},
      {"%lanemask_eq", Special::lanemask_eq}, {"%lanemask_le", Special::lanemask_le},
      {"%lanemask_lt", Special::lanemask_lt}, {"%lanemask_ge", Special::lanemask_ge},
      {"%lanemask_gt", Special::lanemask_gt}, {"%dynamic_smem_size", Special::dynamic_smem_size},
      {"%total_smem_size", Special::total_smem_size}, {"%aggr_smem_size", Special::aggr_smem_size},
      {"%reserved_smem_offset_begin", Special::reserved_smem_offset_begin},
      {"%reserved_smem_offset_end", Special::reserved_smem_offset_end},
      {"%reserved_smem_offset_cap", Special::reserved_smem_offset_cap},
      {"%cluster_ctaid.x", Special::cluster_ctaid_x}, {"%cluster_ctaid.y", Special::cluster_ctaid_y},
      {"%cluster_ctaid.z", Special::cluster_ctaid_z}, {"%cluster_nctaid.x", Special::cluster_nctaid_x},
      {"%cluster_nctaid.y", Special::cluster_nctaid_y}, {"%cluster_nctaid.z", Special::cluster_nctaid_z},
      {"%clusterid.x", Special::clusterid_x}, {"%clusterid.y", Special::clusterid_y},
      {"%clusterid.z", Special::clusterid_z}, {"%nclusterid.x", Special::nclusterid_x},
      {"%nclusterid.y", Special::nclusterid_y}, {"%nclusterid.z", Special::nclusterid_z},
      {"%cluster_ctarank", Special::cluster_ctarank}, {"%cluster_nctarank", Special::cluster_nctarank}};
  return names;
}

bool is_float(Type t) { return t == Type::f32 || t == Type::f64 || t == Type::f16 || t == Type::f16x2; }

RegisterClass class_of(Type t) {
  if (t == Type::pred) return RegisterClass::predicate;
  switch (bytes_of(t)) {
    case 4: return RegisterClass::bytes4;
    case 8: return RegisterClass::bytes8;
    case 16: return RegisterClass::bytes16;
    default: return RegisterClass::bytes2;  // 8-bit registers are 16 bits wide
  }
}

constexpr unsigned kBytesOfClass[] = {0, 2, 4, 8, 16};

// Virtual registers as Op holds them until they get a place: kinds told apart by the upper bits.
constexpr uint32_t kConstant = 0x40000000u, kSpecial = 0x80000000u, kKind = 0xc0000000u;

}  // namespace

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

// The module's names, shared by its routines.
struct ModuleContext {
  Program& program;
  std::unordered_map<std::string_view, Global> globals;
  std::unordered_map<std::string_view, uint32_t> routines;
  uint32_t shared_bytes = 0;  // of variables of the module and of its functions
  uint32_t dynamic_alignment = 16;
};

class RoutineBuilder {
 public:
  RoutineBuilder(ModuleContext& context, const Function& f, Routine& r) : context_(context), f_(f), r_(r) {}

  void build() {
    r_.shared_bytes = context_.shared_bytes;
    r_.shared_alignment = context_.dynamic_alignment;
    lay_out_parameters();
    declare();
    for (uint32_t i = 0; i < f_.instructions.size(); i++) decode(i);
    end_with_return();
    place_registers();
  }

 private:
  friend class Decoding;

  struct Symbol {
    enum class Kind : uint8_t { reg, local, shared, param } kind = Kind::reg;
    Type type = Type::b32;
    uint32_t at = 0;     // virtual register, or offset
    uint32_t size = 0;
    uint32_t count = 0;  // of a numbered range of registers; 0: one
  };
  using Names = std::unordered_map<std::string_view, Symbol>;

  // --- declarations -------------------------------------------------------------------------------------------------

  void lay_out_parameters() {
    uint64_t offset = 0;
    r_.parameters = lay_out(f_.parameters, offset);
    r_.results = lay_out(f_.results, offset);
    (r_.entry ? r_.parameter_bytes : r_.argument_bytes) = static_cast<uint32_t>(offset);
  }

  uint32_t grow(uint32_t& total, const Variable& v) {
    const uint32_t at = round_up(total, v.alignment);
    if (v.size > (1u << 30) - at) throw PtxError{v.line, "variable " + std::string(v.name) + " is too large"};
    total = at + static_cast<uint32_t>(v.size);
    return at;
  }

  void declare() {
    names_.resize(f_.scopes.size());
    labels_.resize(f_.scopes.size());
    auto add = [&](size_t scope, std::string_view name, Symbol symbol, uint32_t line) {
      if (!names_[scope].emplace(name, symbol).second)
        throw PtxError{line, "'" + std::string(name) + "' is declared twice"};
    };
    for (const auto* list : {&r_.parameters, &r_.results})
      for (size_t i = 0; i < list->size(); i++) {
        const auto& v = list == &r_.parameters ? f_.parameters[i] : f_.results[i];
        add(0, v.name, {Symbol::Kind::param, v.type, (*list)[i].offset, (*list)[i].size, 0}, v.line);
      }
    for (size_t s = 0; s < f_.scopes.size(); s++) {
      const Scope& scope = f_.scopes[s];
      for (const auto& reg : scope.registers) {
        const auto first = static_cast<uint32_t>(classes_.size());
        if (first + std::max(reg.count, 1u) > (1u << 26)) throw PtxError{reg.line, "too many registers"};
        classes_.resize(first + std::max(reg.count, 1u), class_of(reg.type));
        add(s, reg.name, {Symbol::Kind::reg, reg.type, first, 0, reg.count}, reg.line);
      }
      for (const auto& v : scope.variables) {
        if (v.space == Space::shared) {
          const uint32_t at = r_.entry ? grow(r_.shared_bytes, v) : grow(context_.shared_bytes, v);
          add(s, v.name, {Symbol::Kind::shared, v.type, at, static_cast<uint32_t>(v.size), 0}, v.line);
        } else if (v.space == Space::local) {
          add(s, v.name, {Symbol::Kind::local, v.type, grow(r_.local_bytes, v), static_cast<uint32_t>(v.size), 0}, v.line);
        } else {
          add(s, v.name, {Symbol::Kind::param, v.type, grow(r_.argument_bytes, v), static_cast<uint32_t>(v.size), 1}, v.line);
        }
      }
      for (const auto& label : scope.labels) {
        if (!labels_[s].emplace(label.name, label.instruction).second)
          throw PtxError{f_.line, "label '" + std::string(label.name) + "' is defined twice"};
      }
    }
  }

  // The symbol a name means in a scope; of a numbered register its own.
  bool find(std::string_view name, int32_t scope, Symbol& out) const {
    std::string_view stem = name;
    uint64_t number = 0, ten = 1;
    while (!stem.empty() && stem.back() >= '0' && stem.back() <= '9' && ten < 1000000000000ull) {
      number += ten * static_cast<uint64_t>(stem.back() - '0');
      ten *= 10;
      stem.remove_suffix(1);
      if (name[stem.size()] == '0' && name.size() - stem.size() > 1) continue;  // %r07 is not %r<…>
    }
    const bool numbered = stem.size() < name.size() && !(name.size() - stem.size() > 1 && name[stem.size()] == '0');
    for (int32_t s = scope; s >= 0; s = f_.scopes[static_cast<size_t>(s)].parent) {
      const Names& names = names_[static_cast<size_t>(s)];
      if (const auto found = names.find(name); found != names.end() && !(found->second.kind == Symbol::Kind::reg && found->second.count > 0)) {
        out = found->second;
        return true;
      }
      if (!numbered) continue;
      if (const auto found = names.find(stem); found != names.end() && found->second.kind == Symbol::Kind::reg && number < found->second.count) {
        out = found->second;
        out.at += static_cast<uint32_t>(number);
        return true;
      }
    }
    return false;
  }

  // --- instructions -------------------------------------------------------------------------------------------------

  void decode(uint32_t index) {
    const Instruction& in = f_.instructions[index];
    Decoding d(*this, in, f_.scope_of[index]);
    op_index_ = index;
    ends_ = false;
    if (!in.guard.empty()) {
      Symbol symbol;
      if (!find(in.guard, f_.scope_of[index], symbol) || symbol.kind != Symbol::Kind::reg || symbol.type != Type::pred)
        d.fail("the guard @" + std::string(in.guard) + " is no predicate register");
      d.op().guard = symbol.at;
      d.op().guard_negated = in.guard_negated;
      flow_.uses.push_back({index, symbol.at, false});
    }
    const Decoder decoder = find_decoder(in.head);
    if (!decoder) d.fail("unknown instruction");
    decoder(d);
    if (d.more()) d.fail("unexpected modifier ." + std::string(d.peek()));
    r_.ops.push_back(d.op_);
    r_.lines.push_back(in.line);
    r_.places.push_back(in.place);
    r_.classes.push_back(d.class_);
    r_.texts.emplace_back(in.head);
    flow_.ends.push_back(ends_ && in.guard.empty());
  }

  // Control that runs off the end of a body returns.
  void end_with_return() {
    Decoding d(*this, implicit_return_, 0);
    op_index_ = static_cast<uint32_t>(r_.ops.size());
    find_decoder("ret")(d);
    r_.ops.push_back(d.op_);
    r_.lines.push_back(f_.instructions.empty() ? f_.line : f_.instructions.back().line);
    r_.places.push_back(-1);
    r_.classes.push_back(d.class_);
    r_.texts.emplace_back("ret");
    flow_.ends.push_back(true);
    flow_.ops = static_cast<uint32_t>(r_.ops.size());
  }

  void record(uint32_t reg, bool write) {
    if ((reg & kKind) != 0) return;
    // Under a guard the other lanes keep what was there.
    if (write && !f_guard().empty()) flow_.uses.push_back({op_index_, reg, false});
    flow_.uses.push_back({op_index_, reg, write});
  }
  std::string_view f_guard() const {
    return op_index_ < f_.instructions.size() ? f_.instructions[op_index_].guard : std::string_view{};
  }

  uint32_t carry(bool write) {
    if (carry_ == kNone) {
      carry_ = static_cast<uint32_t>(classes_.size());
      classes_.push_back(RegisterClass::predicate);
    }
    record(carry_, write);
    return carry_;
  }

  uint32_t constant(uint64_t bits, unsigned bytes) {
    if (bytes < 8) bits &= (uint64_t{1} << bytes * 8) - 1;
    const auto [at, fresh] = constants_.try_emplace({bits, bytes}, static_cast<uint32_t>(constant_list_.size()));
    if (fresh) constant_list_.push_back({bits, bytes});
    return kConstant | at->second;
  }

  uint32_t special(Special which, unsigned bytes, int64_t addend = 0) {
    for (uint32_t i = 0; i < r_.specials.size(); i++)
      if (r_.specials[i].which == which && r_.specials[i].bytes == bytes && r_.specials[i].addend == addend) return kSpecial | i;
    r_.specials.push_back({which, 0, bytes, addend});
    return kSpecial | static_cast<uint32_t>(r_.specials.size() - 1);
  }

  // --- places -------------------------------------------------------------------------------------------------------

  void place_registers() {
    uint32_t end = 0;
    std::vector<uint32_t> special_places, constant_places;
    for (auto& s : r_.specials) {
      s.offset = end;
      end += kLanes * s.bytes;
    }
    end = round_up(end, 64);
    r_.constants_begin = end;
    for (const auto& [bits, bytes] : constant_list_) {
      constant_places.push_back(end);
      end += kLanes * bytes;
      for (int lane = 0; lane < kLanes; lane++) {
        const uint64_t words[2] = {bits, 0};
        const auto* from = reinterpret_cast<const std::byte*>(words);
        r_.constants.insert(r_.constants.end(), from, from + bytes);
      }
    }
    end = round_up(end, 64);
    const uint32_t begin = end;
    for (const uint32_t op : late_waits_)
      for (const uint32_t reg : late_) {
        flow_.uses.push_back({op, reg, false});
        flow_.uses.push_back({op, reg, true});
      }
    if (!late_waits_.empty())
      std::stable_sort(flow_.uses.begin(), flow_.uses.end(), [](const RegisterUse& a, const RegisterUse& b) { return a.op < b.op; });
    const auto places = pack_registers(flow_, classes_, begin, end);
    r_.frame_bytes = end;
    r_.registers = (end - begin + 127) / 128;
    auto fix = [&](uint32_t& field) {
      if (field == kNone) return;
      const uint32_t index = field & ~kKind;
      field = (field & kKind) == kSpecial    ? r_.specials[index].offset
              : (field & kKind) == kConstant ? constant_places[index]
                                             : places[index];
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

  struct PairHash {
    size_t operator()(const std::pair<uint64_t, unsigned>& p) const { return p.first * 0x9e3779b97f4a7c15ull ^ p.second; }
  };

  ModuleContext& context_;
  const Function& f_;
  Routine& r_;
  std::vector<Names> names_;
  std::vector<std::unordered_map<std::string_view, uint32_t>> labels_;
  std::vector<RegisterClass> classes_;
  RegisterFlow flow_{};
  uint32_t op_index_ = 0;
  bool ends_ = false;
  std::vector<uint32_t> late_, late_waits_;  // see Decoding::writes_late
  uint32_t carry_ = kNone;  // CC.CF, once an instruction uses it
  std::unordered_map<std::pair<uint64_t, unsigned>, uint32_t, PairHash> constants_;
  std::vector<std::pair<uint64_t, unsigned>> constant_list_;
  const Instruction implicit_return_{{}, false, "ret", {}, 0, -1};
};

// --- Decoding ---------------------------------------------------------------------------------------------------------

Decoding::Decoding(RoutineBuilder& routine, const Instruction& in, int32_t scope) : routine_(routine), in_(in), scope_(scope) {
  std::string_view rest = in.head;
  for (;;) {
    const size_t dot = rest.find('.');
    pieces_.push_back(rest.substr(0, dot));
    if (dot == rest.npos) break;
    rest.remove_prefix(dot + 1);
  }
}

void Decoding::fail(const std::string& message) const {
  throw PtxError{in_.line, std::string(in_.head) + ": " + message};
}

bool Decoding::take(std::string_view modifier) {
  if (!more() || pieces_[next_] != modifier) return false;
  next_++;
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

void Decoding::expect(size_t least, size_t most) {
  if (more()) fail("unexpected modifier ." + std::string(peek()));
  if (operands() < least || operands() > most)
    fail("takes " + std::to_string(least) + (most > least ? " to " + std::to_string(most) : "") + " operands, got " +
         std::to_string(operands()));
}

uint32_t Decoding::bind(const Operand& o, Type type, unsigned* wide, bool writes) {
  const unsigned bytes = std::max(bytes_of(type), 2u);  // 8-bit values live in 16-bit registers
  if (o.negated) fail("'!' before what is no predicate");
  switch (o.kind) {
    case Operand::Kind::sink:
      if (!writes) fail("'_' can only be written");
      if (wide) *wide = bytes;
      return temporary(bytes);
    case Operand::Kind::integer:
      if (writes) fail("a constant cannot be written");
      if (wide) *wide = bytes;
      return constant(static_cast<uint64_t>(o.value), bytes);
    case Operand::Kind::f32:
    case Operand::Kind::f64: {
      if (writes) fail("a constant cannot be written");
      uint64_t bits = static_cast<uint64_t>(o.value);
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
      } else if (bytes < 4) {
        fail("a float constant for a 16-bit operand");
      }
      if (wide) *wide = bytes;
      return constant(bits, bytes);
    }
    case Operand::Kind::name: break;
    default: fail("an operand of this form does not belong here");
  }
  RoutineBuilder::Symbol symbol;
  if (routine_.find(o.name, scope_, symbol)) {
    if (symbol.kind == RoutineBuilder::Symbol::Kind::reg) {
      if (symbol.type == Type::pred) fail("predicate " + std::string(o.name) + " where a value is meant");
      const unsigned width = kBytesOfClass[static_cast<int>(class_of(symbol.type))];
      if (wide ? width < bytes : width != bytes)
        fail("register " + std::string(o.name) + " has " + std::to_string(8 * width) + " bits, the instruction's type ." +
             std::string(name_of(type)));
      if (!wide && ((is_float(symbol.type) && is_integer(type)) || (is_float(type) && is_integer(symbol.type))))
        fail("register " + std::string(o.name) + " is declared ." + std::string(name_of(symbol.type)) +
             ", the instruction's type is ." + std::string(name_of(type)));
      if (wide) *wide = width;
      uint32_t reg = symbol.at;
      if (o.value != 0) fail("an offset to a register");
      routine_.record(reg, writes);
      return reg;
    }
    if (writes) fail("a variable's address cannot be written");
    if (wide) *wide = bytes;
    if (bytes < 4) fail("an address does not fit 16 bits");
    switch (symbol.kind) {
      case RoutineBuilder::Symbol::Kind::local:
        return routine_.special(Special::local_frame, bytes, symbol.at + o.value);
      case RoutineBuilder::Symbol::Kind::shared: return constant(static_cast<uint64_t>(symbol.at + o.value), bytes);
      default:
        if (!routine_.r_.entry || symbol.count != 0) fail("the address of an argument of a call");
        return constant(static_cast<uint64_t>(symbol.at + o.value), bytes);
    }
  }
  if (o.name[0] == '%') {
    const auto found = special_names().find(o.name);
    const bool envreg = o.name.substr(0, 7) == "%envreg";
    if (found == special_names().end() && !envreg) fail("unknown register " + std::string(o.name));
    if (writes) fail("special register " + std::string(o.name) + " cannot be written");
    if (bytes < 4) fail("special register " + std::string(o.name) + " has 32 bits");
    if (wide) *wide = bytes;
    return routine_.special(envreg ? Special::envreg : found->second, bytes);
  }
  if (writes) fail("'" + std::string(o.name) + "' is not a register");
  const auto global = routine_.context_.globals.find(o.name);
  if (global == routine_.context_.globals.end()) {
    const auto function = routine_.context_.routines.find(o.name);
    if (function == routine_.context_.routines.end()) fail("unknown name " + std::string(o.name));
    if (bytes != 8) fail("a function's address has 64 bits");
    if (wide) *wide = bytes;
    return constant(function->second + 1, 8);  // the address of a function: its number
  }
  if (wide) *wide = bytes;
  if (global->second.dynamic_shared) {
    if (bytes < 4) fail("an address does not fit 16 bits");
    return routine_.special(Special::dynamic_shared, bytes, o.value);
  }
  if (bytes < 4 || (bytes < 8 && global->second.space != Space::shared)) fail("an address of 64 bits for a smaller operand");
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
  if (o.kind == Operand::Kind::integer) {  // a constant: true unless 0
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
      if (bytes > 8) fail("an address of 128 bits");
      base32 = bytes == 4;
      if (base32 && (space == Space::global || space == Space::generic))
        fail("a 32-bit register holds no " + std::string(space == Space::global ? "global" : "generic") + " address");
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

bool Decoding::param_place(const Operand& o, ParamPlace& out) const {
  RoutineBuilder::Symbol symbol;
  if (o.kind != Operand::Kind::address && o.kind != Operand::Kind::name) return false;
  if (!routine_.find(o.name, scope_, symbol) || symbol.kind != RoutineBuilder::Symbol::Kind::param) return false;
  out = {routine_.r_.entry && symbol.count == 0, static_cast<int64_t>(symbol.at) + o.value, symbol.size};
  return true;
}

int64_t Decoding::immediate(size_t i, int64_t least, int64_t most) const {
  const Operand& o = operand(i);
  if (o.kind != Operand::Kind::integer || o.value < least || o.value > most)
    fail("operand " + std::to_string(i + 1) + " must be a constant from " + std::to_string(least) + " to " + std::to_string(most));
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

const Function& Decoding::function(uint32_t routine) const { return *routine_.context_.program.module.functions[routine]; }

int64_t Decoding::add_call(Call call) {
  routine_.r_.calls.push_back(std::move(call));
  return static_cast<int64_t>(routine_.r_.calls.size()) - 1;
}

int64_t Decoding::add_branch_table(std::vector<uint32_t> targets) {
  routine_.r_.branch_tables.push_back(std::move(targets));
  return static_cast<int64_t>(routine_.r_.branch_tables.size()) - 1;
}

const Module& Decoding::module() const { return routine_.context_.program.module; }

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

// --- modules ----------------------------------------------------------------------------------------------------------

namespace {

void allocate_globals(ModuleContext& context, GlobalAllocator& memory) {
  Program& program = context.program;
  for (const Variable& v : program.module.variables) {
    Global g{0, v.space, false};
    if (v.space == Space::shared && v.external) {
      g.dynamic_shared = true;
      context.dynamic_alignment = std::max(context.dynamic_alignment, v.alignment);
    } else if (v.space == Space::shared) {
      g.address = round_up(context.shared_bytes, v.alignment);
      context.shared_bytes = static_cast<uint32_t>(g.address + v.size);
    } else {
      if (v.external) throw PtxError{v.line, "variable " + std::string(v.name) + " is defined in another module: linking is not supported"};
      g.address = memory.allocate(v);
      program.globals.push_back({std::string(v.name), g.address, v.size, v.space});
    }
    if (!context.globals.emplace(v.name, g).second) throw PtxError{v.line, "variable " + std::string(v.name) + " is defined twice"};
  }
  for (const Variable& v : program.module.variables) {
    if (v.space == Space::shared) continue;
    std::vector<uint8_t> bytes = v.bytes;
    for (const auto& a : v.addresses) {
      uint64_t address;
      if (const auto found = context.globals.find(a.symbol); found != context.globals.end()) {
        address = found->second.address;
      } else if (const auto f = context.routines.find(a.symbol); f != context.routines.end()) {
        address = f->second + 1;
      } else {
        throw PtxError{v.line, "unknown name " + std::string(a.symbol) + " in the initial value of " + std::string(v.name)};
      }
      address += static_cast<uint64_t>(a.addend);
      std::memcpy(bytes.data() + a.offset, &address, 8);
    }
    bytes.resize(v.size);
    if (v.size > 0) memory.write(context.globals.at(v.name).address, bytes.data(), bytes.size());
  }
}

}  // namespace

std::unique_ptr<Program> load_program(std::string ptx, uint32_t device_compute, GlobalAllocator& memory) {
  auto program = std::make_unique<Program>();
  program->module = parse_ptx(std::move(ptx));
  const Module& module = program->module;
  const bool exact = module.target.back() == 'a';
  if (exact ? module.compute != device_compute : module.compute > device_compute)
    throw PtxError{0, "the module is for " + std::string(module.target) + ", the device is sm_" + std::to_string(device_compute)};
  ModuleContext context{*program, {}, {}};
  for (const auto& f : module.functions) {
    context.routines.emplace(f->name, static_cast<uint32_t>(program->routines.size()));
    program->routines.push_back(std::make_unique<Routine>());
    auto& r = *program->routines.back();
    r.name = std::string(f->name);
    r.number = static_cast<uint32_t>(program->routines.size()) - 1;
    r.entry = f->entry;
    r.noreturn = f->noreturn;
    r.bounds = f->bounds;
  }
  allocate_globals(context, memory);
  // Functions first: their shared variables come before those of the kernels.
  for (const bool entries : {false, true})
    for (size_t i = 0; i < module.functions.size(); i++) {
      const Function& f = *module.functions[i];
      if (f.entry == entries && f.defined) RoutineBuilder(context, f, *program->routines[i]).build();
    }
  return program;
}

}  // namespace vgpu
