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
      const uint32_t at = round_up(context.shared_bytes, v.alignment);
      g.address = context.reserved_shared + at;
      context.shared_bytes = static_cast<uint32_t>(at + v.size);
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
        address = found->second.address;
      } else if (const auto f = context.routines.find(a.symbol); f != context.routines.end()) {
        address = f->second + 1;
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
  allocate_globals(context, memory);
  // Functions come first: their shared variables precede those of the kernels.
  for (const bool entries : {false, true})
    for (size_t i = 0; i < module.functions.size(); i++) {
      const Function& f = *module.functions[i];
      if (f.entry == entries && f.defined) RoutineBuilder(context, f, *program->routines[i]).build();
    }
  return program;
}

}  // namespace vgpu
