#pragma once
// Turns one instruction into an Op. An opcode's decoder takes the modifiers one by one in the order that PTX
// prescribes, then the operands. Anything left over is an error, so nothing is ever ignored.
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "program/program.h"

namespace vgpu {

class RoutineBuilder;

class Decoding {
 public:
  Decoding(RoutineBuilder& routine, const Instruction& in, int32_t scope);

  // --- modifiers ----------------------------------------------------------------------------------------------------

  // Takes the next modifier if it is `modifier`.
  bool take(std::string_view modifier);
  // Takes the next modifier if it is one of `modifiers` and returns its index; otherwise returns -1.
  int take_any(std::initializer_list<std::string_view> modifiers);
  // As take_any, but fails if the next modifier is none of them.
  int one_of(std::initializer_list<std::string_view> modifiers);
  bool more() const { return next_ < pieces_.size(); }
  std::string_view peek() const { return more() ? pieces_[next_] : std::string_view{}; }
  // Takes the next modifier, which must be one of these types.
  Type type(std::initializer_list<Type> allowed);

  // --- operands -----------------------------------------------------------------------------------------------------

  const Instruction& instruction() const { return in_; }
  size_t operands() const { return in_.operands.size(); }
  const Operand& operand(size_t i) const;
  // Fails unless all modifiers have been taken and the number of operands is in range.
  void expect(size_t min, size_t max);
  void expect(size_t count) { expect(count, count); }

  // A register of exactly the type's width, or a constant. Returns the slot of its 32 lanes.
  uint32_t read(size_t i, Type type) { return read(operand(i), type); }
  uint32_t read(const Operand& o, Type type);
  uint32_t write(size_t i, Type type) { return write(operand(i), type); }
  uint32_t write(const Operand& o, Type type);
  // As above, but the register may be wider than the type, as in ld, st and cvt. `bytes` receives its width.
  uint32_t read_wide(const Operand& o, Type type, unsigned& bytes);
  uint32_t write_wide(const Operand& o, Type type, unsigned& bytes);
  // A register that the instruction both reads and writes.
  uint32_t update(size_t i, Type type);

  uint32_t write_predicate(const Operand& o);
  // `negated` receives whether the operand is written !p.
  uint32_t read_predicate(const Operand& o, bool& negated);
  bool is_predicate(const Operand& o) const;

  // [base + offset]: op.a is the base, 64 bits wide or (flag kBase32) 32, and op.imm the offset. A constant address has
  // a constant base.
  static constexpr uint8_t kBase32 = 0x80;
  void address(size_t i, Space space);
  // As above, with the results in any fields.
  void address(const Operand& o, Space space, uint32_t& base, int64_t& offset, bool& base32);
  // The location of a .param address: in the parameters of the kernel (`kernel`) or in the argument memory of the
  // frame.
  struct ParamLocation {
    bool kernel;
    int64_t offset;
    uint32_t size;
  };
  bool param_location(const Operand& o, ParamLocation& out) const;

  int64_t immediate(size_t i, int64_t min, int64_t max) const;
  bool is_immediate(size_t i) const { return operand(i).kind == Operand::Kind::integer; }
  // The index of the instruction that follows a label.
  uint32_t target(std::string_view label) const;
  const Function::Table& table(std::string_view name) const;
  const Function::Prototype* prototype(std::string_view name) const;
  // The index of a routine of the module; kNone if there is none of that name.
  uint32_t routine(std::string_view name) const;
  const Function& function(uint32_t routine) const;
  // Adds a call to the routine and returns its index.
  int64_t add_call(Call call);
  // Adds the targets of a brx.idx and returns the index of their table.
  int64_t add_branch_table(std::vector<uint32_t> targets);
  const Module& module() const;
  // Fails unless the module's .target supports a feature that the ISA introduces with this architecture (Target ISA
  // Notes). `exact`: the feature exists only in sm_90a and the like.
  void needs(uint32_t compute, bool exact = false) const;

  // The slot of a constant.
  uint32_t constant(uint64_t bits, unsigned bytes);
  // A register that the PTX does not name.
  uint32_t temporary(unsigned bytes);
  // The carry flag CC.CF, held as a predicate.
  uint32_t read_carry();
  uint32_t write_carry();

  // Control never continues to the next instruction, unless the guard is false.
  void ends_flow();

  // This instruction writes the register, but the value may arrive as late as the next instruction that waits for late
  // writes.
  void writes_late(uint32_t reg);
  void waits_for_late();

  // Appends a register to op.list and op.count.
  void append(uint32_t slot);

  Op& op() { return op_; }
  void run(Handler handler, OpClass counted) {
    op_.run = handler;
    class_ = counted;
  }

  [[noreturn]] void fail(const std::string& message) const;

 private:
  friend class RoutineBuilder;
  uint32_t bind(const Operand& o, Type type, unsigned* bytes, bool writes);
  uint32_t bind_register(const Operand& o, Type type, unsigned* bytes, bool writes);
  uint32_t variable_address(const Operand& o, unsigned bytes);
  uint32_t special_register(const Operand& o, unsigned bytes);
  uint32_t module_address(const Operand& o, unsigned bytes);

  RoutineBuilder& routine_;
  const Instruction& in_;
  int32_t scope_;
  std::vector<std::string_view> pieces_;
  size_t next_ = 1;
  Op op_;
  OpClass class_ = OpClass::other;
};

// Lays out parameters one after the other, each at its alignment, from `offset` on, and advances `offset` past them.
std::vector<Parameter> lay_out(const std::vector<Variable>& list, uint64_t& offset);

using Decoder = void (*)(Decoding&);
// Some opcodes mean integer, floating-point or half-precision arithmetic, depending on their type, the last modifier.
enum class Domain : uint8_t { any, integer, floating, half };
struct Opcode {
  std::string_view name;
  Decoder decode;
  Domain domain = Domain::any;
};
// The decoder of an instruction, found by its head; null if there is none. (instructions/list.cc)
Decoder find_decoder(std::string_view head);

}  // namespace vgpu
