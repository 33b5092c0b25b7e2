#include "program/load.h"

#include <algorithm>
#include <cstring>

#include "program/routine_builder.h"
#include "ptx/parser.h"

namespace vgpu {
namespace {

void allocate_globals(ModuleContext& context, GlobalAllocator& memory) {
  Program& program = context.program;
  for (const Variable& v : program.module.variables) {
    ModuleContext::Global g{0, v.space, false};
    if (v.space == Space::shared && v.external) {
      g.dynamic_shared = true;
      context.dynamic_alignment = std::max(context.dynamic_alignment, v.alignment);
    } else if (v.space == Space::shared) {
      g.address = add_shared_variable(context, v);
    } else {
      if (v.external)
        throw PtxError{v.line,
                       "variable " + std::string(v.name) + " is defined in another module: linking is not supported"};
      g.address = memory.allocate(v);
      program.globals.push_back({std::string(v.name), g.address, v.size, v.space});
    }
    if (!context.globals.emplace(v.name, g).second)
      throw PtxError{v.line, "variable " + std::string(v.name) + " is defined twice"};
  }
  for (const Variable& v : program.module.variables) {
    if (v.space == Space::shared) continue;
    std::vector<uint8_t> bytes = v.bytes;
    for (const auto& a : v.addresses) {
      uint64_t address;
      if (const auto found = context.globals.find(a.symbol); found != context.globals.end()) {
        if (found->second.space == Space::shared)
          throw PtxError{v.line,
                         "the initial value of " + std::string(v.name) + " is the address of a shared variable"};
        address = found->second.address;
      } else if (const auto f = context.routines.find(a.symbol); f != context.routines.end()) {
        address = f->second + 1;
        context.address_taken[f->second] = true;
      } else {
        throw PtxError{v.line,
                       "unknown name " + std::string(a.symbol) + " in the initial value of " + std::string(v.name)};
      }
      address += static_cast<uint64_t>(a.addend);
      std::memcpy(bytes.data() + a.offset, &address, 8);
    }
    bytes.resize(v.size);
    if (v.size > 0) memory.write(context.globals.at(v.name).address, bytes.data(), bytes.size());
  }
}

// Which shared variables a kernel uses, itself or in functions that it may call.
std::vector<bool> shared_variables_of(const ModuleContext& context, const Routine& kernel) {
  std::vector<bool> used(context.shared_variables.size()), visited(context.program.routines.size());
  std::vector<uint32_t> open;
  auto visit = [&](uint32_t routine) {
    if (!visited[routine]) open.push_back(routine);
    visited[routine] = true;
  };
  visit(kernel.number);
  while (!open.empty()) {
    const Routine& routine = *context.program.routines[open.back()];
    open.pop_back();
    for (const auto& s : routine.specials)
      if (s.which == Special::shared_variable) used[s.variable] = true;
    for (const Call& call : routine.calls) {
      if (call.routine != kNone) visit(call.routine);
      for (uint32_t r = 0; call.routine == kNone && r < visited.size(); r++)
        if (context.address_taken[r]) visit(r);
    }
  }
  return used;
}

// Places the shared variables that a kernel uses after its own.
void place_shared(const ModuleContext& context, Routine& kernel) {
  const std::vector<bool> used = shared_variables_of(context, kernel);
  kernel.shared_variables.assign(used.size(), kNone);
  for (size_t i = 0; i < used.size(); i++) {
    if (!used[i]) continue;
    const auto& v = context.shared_variables[i];
    const uint32_t at = round_up(kernel.shared_bytes, v.alignment);
    if (uint64_t{at} + v.bytes > 1u << 30)
      throw PtxError{0, "the shared variables of " + kernel.name + " are too large"};
    kernel.shared_variables[i] = kernel.reserved_shared + at;
    kernel.shared_bytes = at + v.bytes;
  }
}

}  // namespace

std::unique_ptr<Program> load_program(std::string ptx, uint32_t device_compute, GlobalAllocator& memory) {
  auto program = std::make_unique<Program>();
  program->module = parse_ptx(std::move(ptx));
  const Module& module = program->module;
  const bool exact = module.target.back() == 'a';
  if (exact ? module.compute != device_compute : module.compute > device_compute)
    throw PtxError{
        0, "the module is for " + std::string(module.target) + ", the device is sm_" + std::to_string(device_compute)};
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
    if ((f->bounds.cluster[0] || f->bounds.explicit_cluster) && module.compute < 90)
      throw PtxError{f->line, "clusters need .target sm_90 or higher, the module's is " + std::string(module.target)};
  }
  // Shared memory that the system reserves. It is set aside only for modules that ask for its offset.
  if (module.text->find("%reserved_smem_offset_") != std::string::npos) context.reserved_shared = 1024;
  context.address_taken.resize(module.functions.size());
  allocate_globals(context, memory);
  for (size_t i = 0; i < module.functions.size(); i++)
    if (module.functions[i]->defined) RoutineBuilder(context, *module.functions[i], *program->routines[i]).build();
  for (const auto& routine : program->routines)
    if (routine->entry) place_shared(context, *routine);
  return program;
}

}  // namespace vgpu
