// PTX ISA, "Control Flow Instructions" and "Miscellaneous Instructions": bra, brx, call, ret, exit, trap, …
#include "instructions/lanes.h"
#include "instructions/list.h"
#include "instructions/system_calls.h"
#include "machine/block.h"

namespace vgpu {
namespace {

void run_bra(Warp& w, const Op& op) { w.jump(static_cast<uint32_t>(op.imm)); }

void bra(Decoding& i) {
  i.take("uni");
  i.expect(1);
  i.op().imm = i.target(i.operand(0).name);
  i.ends_flow();
  i.run(run_bra, OpClass::control);
}

void run_brx(Warp& w, const Op& op) {
  const auto& targets = w.split().frame->routine->branch_tables[static_cast<size_t>(op.imm)];
  const uint32_t* index = w.lanes<const uint32_t>(op.a);
  uint32_t to[kLanes] = {};
  for (int l = 0; l < kLanes; l++) {
    if (!(w.mask >> l & 1)) continue;
    if (index[l] >= targets.size()) {
      w.fault_lane = l;
      throw DeviceFault{
          {FaultKind::illegal_instruction,
           "memcheck",
           "brx.idx with index " + std::to_string(index[l]) + " in a table of " + std::to_string(targets.size()),
           {}}};
    }
    to[l] = targets[index[l]];
  }
  w.jump_to_each(to);
}

void brx(Decoding& i) {
  i.one_of({"idx"});
  i.take("uni");
  i.expect(2);
  std::vector<uint32_t> targets;
  for (const auto label : i.table(i.operand(1).name).targets) targets.push_back(i.target(label));
  i.op().a = i.read(0, Type::u32);
  i.op().imm = i.add_branch_table(std::move(targets));
  i.ends_flow();
  i.run(run_brx, OpClass::control);
}

void run_ret(Warp& w, const Op&) { w.return_lanes(); }
void run_exit(Warp& w, const Op&) { w.exit_lanes(w.mask); }

void ret(Decoding& i) {
  i.take("uni");
  i.expect(0);
  i.ends_flow();
  i.run(run_ret, OpClass::control);
}

void exit(Decoding& i) {
  i.expect(0);
  i.ends_flow();
  i.run(run_exit, OpClass::control);
}

void run_trap(Warp&, const Op&) { throw DeviceFault{{FaultKind::trap, "", "trap", {}}}; }

void trap(Decoding& i) {
  i.expect(0);
  i.ends_flow();
  i.run(run_trap, OpClass::control);
}

void brkpt(Decoding& i) {
  i.expect(0);
  i.run(run_trap, OpClass::control);
}

void run_call(Warp& w, const Op& op) {
  const Call& call = w.split().frame->routine->calls[static_cast<size_t>(op.imm)];
  w.call(*w.block.launch.program.routines[call.routine], call);
}

// Lanes with the same target call together.
void run_call_indirect(Warp& w, const Op& op) {
  const Call& call = w.split().frame->routine->calls[static_cast<size_t>(op.imm)];
  const auto& routines = w.block.launch.program.routines;
  const uint64_t* targets = w.lanes<const uint64_t>(op.a);
  for (uint32_t left = w.mask; left; left &= ~w.mask) {
    const uint64_t target = targets[__builtin_ctz(left)];
    w.mask = 0;
    for (int l = 0; l < kLanes; l++) w.mask |= static_cast<uint32_t>(targets[l] == target) << l;
    w.mask &= left;
    if (target == 0 || target > routines.size() || routines[target - 1]->entry || routines[target - 1]->ops.empty())
      throw DeviceFault{{FaultKind::illegal_instruction,
                         "memcheck",
                         "a call through a pointer that is not a function of the module",
                         {}}};
    w.call(*routines[target - 1], call);
  }
}

const std::vector<Operand>& names_of(Decoding& i, size_t operand) {
  const Operand& o = i.operand(operand);
  if (o.kind != Operand::Kind::list) i.fail("expected parameters in parentheses");
  return o.parts;
}

// call{.uni} (results), function, (arguments) [, prototype or targets];
void call(Decoding& i) {
  i.take("uni");
  i.expect(1, 4);
  size_t next = 0;
  const bool has_results = i.operand(0).kind == Operand::Kind::list;
  if (has_results) next++;
  const Operand& callee = i.operand(next++);
  static const std::vector<Operand> none;
  const auto& results = has_results ? names_of(i, 0) : none;
  const auto& arguments =
      next < i.operands() && i.operand(next).kind == Operand::Kind::list ? names_of(i, next++) : none;

  Call made;
  made.routine = i.routine(callee.name);
  const std::vector<Variable>*parameters = nullptr, *returned = nullptr;
  if (made.routine != kNone) {
    const Function& f = i.function(made.routine);
    if (f.entry) i.fail("a kernel cannot be called");
    parameters = &f.parameters;
    returned = &f.results;
  } else {
    if (next >= i.operands()) i.fail("unknown function " + std::string(callee.name));
    const auto* prototype = i.prototype(i.operand(next).name);
    if (!prototype) i.fail("unknown prototype " + std::string(i.operand(next).name));
    parameters = &prototype->parameters;
    returned = &prototype->results;
  }
  if (arguments.size() != parameters->size() || results.size() != returned->size())
    i.fail("the call and the declaration of " + std::string(callee.name) + " differ in the number of parameters");
  uint64_t offset = 0;
  auto copies = [&](const std::vector<Operand>& operands, const std::vector<Variable>& declared, bool back) {
    std::vector<Call::Copy> list;
    const auto layout = lay_out(declared, offset);
    for (size_t n = 0; n < operands.size(); n++) {
      Decoding::ParamLocation location{};
      if (!i.param_location(operands[n], location) || location.kernel)
        i.fail("argument " + std::string(operands[n].name) + " is not a .param variable");
      if (location.size != layout[n].size)
        i.fail("argument " + std::string(operands[n].name) + " differs in size from the parameter");
      const auto at = static_cast<uint32_t>(location.offset);
      list.push_back(back ? Call::Copy{layout[n].offset, at, location.size}
                          : Call::Copy{at, layout[n].offset, location.size});
    }
    return list;
  };
  made.arguments = copies(arguments, *parameters, false);
  made.results = copies(results, *returned, true);
  Handler handler = run_call;
  if (made.routine == kNone) {
    i.op().a = i.read(callee, Type::u64);
    handler = run_call_indirect;
  } else if (!i.function(made.routine).defined) {
    handler = system_call(callee.name);
    if (!handler) i.fail("function " + std::string(callee.name) + " is not defined in this module");
  }
  i.op().imm = i.add_call(std::move(made));
  i.run(handler, OpClass::control);
}

void run_nothing(Warp&, const Op&) {}
void run_yield(Warp& w, const Op&) { w.yield(); }

void nanosleep(Decoding& i) {
  i.type({Type::u32});
  i.expect(1);
  i.op().a = i.read(0, Type::u32);
  i.run(run_yield, OpClass::other);
}

void pmevent(Decoding& i) {
  i.take("mask");
  i.expect(1);
  i.immediate(0, 0, 65535);
  i.run(run_nothing, OpClass::other);
}

}  // namespace

std::span<const Opcode> control_opcodes() {
  static const Opcode table[] = {{"bra", bra},         {"brkpt", brkpt}, {"brx", brx},
                                 {"call", call},       {"exit", exit},   {"nanosleep", nanosleep},
                                 {"pmevent", pmevent}, {"ret", ret},     {"trap", trap}};
  return table;
}

}  // namespace vgpu
