// The driver API, as far as it goes.
#include <cstring>
#include <memory>
#include <string>

#include "machine/launch.h"
#include "program/load.h"

namespace vgpu {
namespace {

struct Globals : GlobalAllocator {
  explicit Globals(Memory& m) : memory(m) {}
  Memory& memory;
  uint64_t allocate(const Variable& v) override {
    return memory.allocate(v.size, v.alignment, std::string(v.name), v.space == Space::constant)->address;
  }
  void write(uint64_t address, const void* data, size_t bytes) override {
    const Allocation* a = memory.find(address);
    std::memcpy(a->host + (address - a->address), data, bytes);
  }
};

Limits limits;
Memory memory(uint64_t{1} << 44, uint64_t{16} << 30);
std::string last_report, printed;

struct Kernel {
  const Program* program;
  const Routine* routine;
};

}  // namespace
}  // namespace vgpu

using namespace vgpu;
#define API extern "C" __attribute__((visibility("default")))

API int cuInit(unsigned) {
  if (const char* cc = getenv("CARACAL_VGPU_COMPUTE")) limits.compute = static_cast<uint32_t>(atof(cc) * 10 + 0.5);
  if (limits.compute >= 90) limits.shared_per_block_optin = 227 * 1024;
  return 0;
}
// What the last error was about, at length.
API const char* caracalVgpuReport() { return last_report.c_str(); }
// What kernels printed since the last call.
API const char* caracalVgpuPrinted() {
  static std::string out;
  out = std::move(printed);
  printed.clear();
  return out.c_str();
}
API int cuModuleLoadData(void** module, const void* image) {
  Globals globals(memory);
  try {
    *module = load_program(static_cast<const char*>(image), limits.compute, globals).release();
    return 0;
  } catch (PtxError& e) {
    last_report = "PTX line " + std::to_string(e.line) + ": " + e.message;
    return 218;
  }
}
API int cuModuleGetFunction(void** function, void* module, const char* name) {
  auto* program = static_cast<Program*>(module);
  const Routine* r = program->find(name);
  if (!r) return 500;
  *function = new Kernel{program, r};
  return 0;
}
API int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
  const Allocation* a = memory.allocate(bytes, 256);
  if (!a) return 2;
  *address = a->address;
  return 0;
}
API int cuMemFree_v2(uint64_t address) { return memory.release(address) ? 0 : 1; }
API int cuMemcpyHtoD_v2(uint64_t to, const void* from, size_t bytes) {
  const Allocation* a = memory.find(to);
  if (!a || a->freed || bytes > a->address + a->size - to) return 1;
  std::memcpy(a->host + (to - a->address), from, bytes);
  return 0;
}
API int cuMemcpyDtoH_v2(void* to, uint64_t from, size_t bytes) {
  const Allocation* a = memory.find(from);
  if (!a || a->freed || bytes > a->address + a->size - from) return 1;
  std::memcpy(to, a->host + (from - a->address), bytes);
  return 0;
}
API int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                       void*, void** parameters, void**) {
  auto* f = static_cast<Kernel*>(function);
  std::vector<std::byte> block(f->routine->parameter_bytes);
  for (size_t i = 0; i < f->routine->parameters.size(); i++) {
    const auto& p = f->routine->parameters[i];
    std::memcpy(block.data() + p.offset, parameters[i], p.size);
  }
  LaunchShape shape{{gx, gy, gz}, {bx, by, bz}, {1, 1, 1}, shared, false};
  const auto& cluster = f->routine->bounds.cluster;
  if (cluster[0]) std::memcpy(shape.cluster, cluster, sizeof cluster);
  Options options;
  options.threads = 2;
  options.instruction_budget = 200'000'000;
  options.print = [](std::string_view text) { printed += text; };
  Launch launch(*f->program, *f->routine, shape, std::move(block), memory, limits, options);
  if (auto report = launch.run()) {
    last_report = report->text();
    switch (report->kind) {
      case FaultKind::illegal_address: return 700;
      case FaultKind::misaligned_address: return 716;
      case FaultKind::invalid_address_space: return 717;
      case FaultKind::illegal_instruction: return 715;
      case FaultKind::hardware_stack_error: return 714;
      case FaultKind::assertion: return 710;
      case FaultKind::timeout: return 702;
      default: return 719;
    }
  }
  return 0;
}
