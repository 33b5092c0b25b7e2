#pragma once
// The syntax tree of a PTX module: functions, variables, and instructions with their operands, not yet interpreted.
// Every string_view points into the module's text, which the Module owns.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ptx/types.h"

namespace vgpu {

// The reason why a module cannot be loaded. `line` counts from 1 in the PTX text; it is 0 if no single line is at
// fault.
struct PtxError {
  uint32_t line;
  std::string message;
};

// A source location given by `.loc`. `inlined_at` is the index of the location it was inlined into, or -1.
struct SourceLocation {
  uint32_t file, line;
  int32_t inlined_at;
};

struct Operand {
  enum class Kind : uint8_t {
    name,     // register, special register, variable, function or label: `name` (+ `value`)
    integer,  // `value`
    f32,      // 0f…: bits in `value`
    f64,      // 0d… or a decimal float: bits in `value`
    address,  // [name + value], [value], or [name, {parts}] with coordinates in `parts`
    list,     // {a, b, …} or (a, b, …): `parts`
    pair,     // a|b: `parts`
    sink,     // _
  };
  Kind kind;
  bool negated = false;  // !name
  uint32_t line = 0;
  std::string_view name;
  int64_t value = 0;
  std::vector<Operand> parts;
};

struct Instruction {
  std::string_view guard;  // the register of @p or @!p; empty if there is none
  bool guard_negated = false;
  std::string_view head;  // opcode and modifiers as written
  std::vector<Operand> operands;
  uint32_t line;
  int32_t location;  // index into Module::locations, or -1
};

struct Variable {
  Space space;
  Type type;
  std::string_view name;
  uint32_t alignment;  // bytes
  uint64_t size;       // bytes; 0 for an array without a length
  bool external = false;
  bool array = false;
  uint32_t line = 0;
  struct Address {  // the address of `symbol` + `addend`, stored at `offset`
    uint64_t offset;
    std::string_view symbol;
    int64_t addend;
    bool generic;
  };
  std::vector<uint8_t> bytes;  // initial value; the remainder is zero
  std::vector<Address> addresses;
};

// One register, or `count` registers named name0 … name(count - 1).
struct RegisterDeclaration {
  Type type;
  std::string_view name;
  uint32_t count;  // 0: a single register without a number
  uint32_t line;
};

// { … }: names declared inside hide outer names.
struct Scope {
  int32_t parent;
  std::vector<RegisterDeclaration> registers;
  std::vector<Variable> variables;  // .local, .shared, .param
  struct Label {
    std::string_view name;
    uint32_t instruction;  // index of the instruction that follows
  };
  std::vector<Label> labels;
};

struct LaunchBounds {
  uint32_t max_threads[3] = {0, 0, 0};       // .maxntid; 0: none
  uint32_t required_threads[3] = {0, 0, 0};  // .reqntid
  uint32_t cluster[3] = {0, 0, 0};           // .reqnctapercluster
  uint32_t min_blocks = 0, max_registers = 0;
  bool explicit_cluster = false;
};

struct Function {
  std::string_view name;
  bool entry = false;
  bool defined = false;
  bool noreturn = false;
  std::vector<Variable> parameters, results;
  LaunchBounds bounds;
  std::vector<Scope> scopes;  // the body is scope 0
  std::vector<Instruction> instructions;
  std::vector<int32_t> scope_of;  // per instruction
  // Tables of .branchtargets and .calltargets, and call prototypes, are declared as labels.
  struct Table {
    std::string_view name;
    int32_t scope;
    std::vector<std::string_view> targets;
  };
  std::vector<Table> tables;
  struct Prototype {
    std::string_view name;
    std::vector<Variable> parameters, results;
  };
  std::vector<Prototype> prototypes;
  uint32_t line = 0;
};

struct Module {
  std::unique_ptr<const std::string> text;
  uint32_t version_major = 0, version_minor = 0;
  std::string_view target;  // sm_80, sm_90a, …
  uint32_t compute = 0;     // 80, 90, …
  std::vector<Variable> variables;
  std::vector<std::unique_ptr<Function>> functions;
  std::vector<SourceLocation> locations;
  std::vector<std::string> files;  // indexed by .file number
};

}  // namespace vgpu
