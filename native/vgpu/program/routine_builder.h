#pragma once
// Builds a Routine from a function of a module: names, virtual registers and their flow, constants.
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "program/decoding.h"
#include "program/registers.h"

namespace vgpu {

inline uint32_t round_up(uint64_t value, uint64_t to) { return static_cast<uint32_t>((value + to - 1) / to * to); }

inline RegisterClass class_of(Type t) {
  if (t == Type::pred) return RegisterClass::predicate;
  switch (bytes_of(t)) {
    case 4: return RegisterClass::bytes4;
    case 8: return RegisterClass::bytes8;
    case 16: return RegisterClass::bytes16;
    default: return RegisterClass::bytes2;  // 8-bit registers are 16 bits wide
  }
}

// The special register of this name. %clock and the like are handled elsewhere. (special_registers.cc)
std::optional<Special> special_named(std::string_view name);

// The module's names, which all its routines share.
struct ModuleContext {
  struct Global {
    uint64_t address = 0;  // the index of a shared variable
    Space space = Space::global;
    bool dynamic_shared = false;
  };
  Program& program;
  std::unordered_map<std::string_view, Global> globals;
  std::unordered_map<std::string_view, uint32_t> routines;
  uint32_t reserved_shared = 0;  // see Routine
  uint32_t dynamic_alignment = 16;
  // Shared variables of the module and its functions. Their addresses depend on the kernel, since a kernel has only those
  // that it uses, itself or in functions that it may call.
  struct SharedVariable {
    uint32_t bytes, alignment;
  };
  std::vector<SharedVariable> shared_variables;
  std::vector<bool> address_taken;  // per routine: it may be called through a pointer
};

// Returns the index in ModuleContext::shared_variables.
uint32_t add_shared_variable(ModuleContext& context, const Variable& v);

class RoutineBuilder {
 public:
  RoutineBuilder(ModuleContext& context, const Function& f, Routine& r) : context_(context), f_(f), r_(r) {}
  void build();

 private:
  friend class Decoding;

  struct Symbol {
    enum class Kind : uint8_t { reg, local, shared, param } kind = Kind::reg;
    Type type = Type::b32;
    uint32_t at = 0;  // virtual register, offset, or index of a shared variable of a function
    uint32_t size = 0;
    uint32_t count = 0;  // registers in a numbered range; 0: a single register
  };
  using Names = std::unordered_map<std::string_view, Symbol>;

  // --- names (routine_builder.cc) ------------------------------------------------------------------------------------

  void lay_out_parameters();
  void declare();
  void declare(size_t scope, std::string_view name, Symbol symbol, uint32_t line);
  void declare_variable(size_t scope, const Variable& v);
  // Finds the symbol of a name in a scope. For a numbered register that is the register itself.
  bool find(std::string_view name, int32_t scope, Symbol& out) const;

  // --- instructions -------------------------------------------------------------------------------------------------

  void decode(uint32_t index);
  void end_with_return();
  void add(const Decoding& d, uint32_t line, int32_t location, bool ends);

  // --- virtual registers --------------------------------------------------------------------------------------------

  // Virtual registers as an Op holds them until they are placed; the upper bits tell the kinds apart.
  static constexpr uint32_t kConstant = 0x40000000u, kSpecial = 0x80000000u, kKind = 0xc0000000u;

  // Notes that the current instruction reads or writes a register.
  void record(uint32_t reg, bool write);
  uint32_t carry(bool write);
  uint32_t constant(uint64_t bits, unsigned bytes);
  uint32_t special(Special which, unsigned bytes, int64_t addend = 0, uint32_t variable = kNone);

  void place_registers();
  uint32_t place_specials();
  uint32_t place_constants(uint32_t end, std::vector<uint32_t>& slots);

  struct PairHash {
    size_t operator()(const std::pair<uint64_t, unsigned>& p) const {
      return p.first * 0x9e3779b97f4a7c15ull ^ p.second;
    }
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
  uint32_t carry_ = kNone;                   // CC.CF, created when an instruction first uses it
  std::unordered_map<std::pair<uint64_t, unsigned>, uint32_t, PairHash> constants_;
  std::vector<std::pair<uint64_t, unsigned>> constant_list_;
  const Instruction implicit_return_{{}, false, "ret", {}, 0, -1};
};

}  // namespace vgpu
