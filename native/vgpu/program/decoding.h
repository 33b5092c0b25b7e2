#pragma once
// One instruction on its way to an Op. The decoder of an opcode takes the modifiers one by one in the order that PTX
// prescribes, then the operands; what it does not take is an error, so nothing is ever ignored.
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

  // Takes the next modifier if it is this one.
  bool take(std::string_view modifier);
  // The index of the next modifier among these, which is taken; -1 if it is none of them.
  int take_any(std::initializer_list<std::string_view> modifiers);
  // As take_any, and an error if it is none of them.
  int one_of(std::initializer_list<std::string_view> modifiers);
  bool more() const { return next_ < pieces_.size(); }
  std::string_view peek() const { return more() ? pieces_[next_] : std::string_view{}; }
  // The next modifier, a type among these.
  Type type(std::initializer_list<Type> allowed);

  // --- operands -----------------------------------------------------------------------------------------------------

  const Instruction& instruction() const { return in_; }
  size_t operands() const { return in_.operands.size(); }
  const Operand& operand(size_t i) const;
  // All modifiers must be taken and there must be this many operands.
  void expect(size_t least, size_t most);
  void expect(size_t count) { expect(count, count); }

  // A register of exactly the type's width, or a constant: 32 lanes of it.
  uint32_t read(size_t i, Type type) { return read(operand(i), type); }
  uint32_t read(const Operand& o, Type type);
  uint32_t write(size_t i, Type type) { return write(operand(i), type); }
  uint32_t write(const Operand& o, Type type);
  // As for ld, st and cvt: the register may be wider than the type. `bytes` receives its width.
  uint32_t read_wide(const Operand& o, Type type, unsigned& bytes);
  uint32_t write_wide(const Operand& o, Type type, unsigned& bytes);
  // A register that is both.
  uint32_t update(size_t i, Type type);

  uint32_t write_predicate(const Operand& o);
  // `negated` receives whether it is !p.
  uint32_t read_predicate(const Operand& o, bool& negated);
  bool is_predicate(const Operand& o) const;

  // [base + offset]: op.a is the base, 64 bits or (flag kBase32) 32 bits wide, op.imm the offset. Of a constant address
  // the base is a constant.
  static constexpr uint8_t kBase32 = 0x80;
  void address(size_t i, Space space);
  // As address, into any register fields.
  void address(const Operand& o, Space space, uint32_t& base, int64_t& offset, bool& base32);
  // A .param address: where it stands in the parameters of a kernel (`kernel`) or in the argument memory of the frame.
  struct ParamPlace {
    bool kernel;
    int64_t offset;
    uint32_t size;
  };
  bool param_place(const Operand& o, ParamPlace& out) const;

  int64_t immediate(size_t i, int64_t least, int64_t most) const;
  bool is_immediate(size_t i) const { return operand(i).kind == Operand::Kind::integer; }
  // The index of the instruction after a label.
  uint32_t target(std::string_view label) const;
  const Function::Table& table(std::string_view name) const;
  const Function::Prototype* prototype(std::string_view name) const;
  // The index of a routine of the module, or kNone.
  uint32_t routine(std::string_view name) const;
  const Function& function(uint32_t routine) const;
  // The index of the call in the routine's list.
  int64_t add_call(Call call);
  // As add_call: the targets of a brx.idx.
  int64_t add_branch_table(std::vector<uint32_t> targets);
  const Module& module() const;
  // An error unless the module's .target has what the ISA introduces with this architecture (Target ISA Notes).
  // `exact`: it is of sm_90a and its like only.
  void needs(uint32_t compute, bool exact = false) const;

  // A constant as a register.
  uint32_t constant(uint64_t bits, unsigned bytes);
  // A register of the emulator's own.
  uint32_t temporary(unsigned bytes);
  // The carry flag CC.CF, held as a predicate.
  uint32_t read_carry();
  uint32_t write_carry();

  // Control never goes on to the instruction that follows (unless a guard says so).
  void ends_flow();

  // The register is written by this instruction, but as late as by one that waits for such.
  void writes_late(uint32_t reg);
  void waits_for_late();

  // Further registers, in order: op.list and op.count.
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

// Parameters one after the other, each at its alignment, from `offset` on, which is moved behind them.
std::vector<Parameter> lay_out(const std::vector<Variable>& list, uint64_t& offset);

using Decoder = void (*)(Decoding&);
// Some opcodes mean integer, floating or half-precision arithmetic, by their type, which comes last.
enum class Domain : uint8_t { any, integer, floating, half };
struct Opcode {
  std::string_view name;
  Decoder decode;
  Domain domain = Domain::any;
};
// The decoder of an instruction by its head; null if there is none. (instructions/list.cc)
Decoder find_decoder(std::string_view head);

}  // namespace vgpu
