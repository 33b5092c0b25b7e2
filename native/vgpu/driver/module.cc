// Modules and libraries. Only PTX text is accepted. Cubins and fat binaries are refused with the error for a binary of
// another architecture, so that a loader falls back to the PTX.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "driver/state.h"
#include "program/load.h"

using namespace vgpu;
using namespace vgpu::driver;

namespace {

// The newest PTX version that a driver supports (PTX ISA, "Release Notes").
uint32_t newest_ptx(int driver_version) {
  const uint32_t major = static_cast<uint32_t>(driver_version) / 1000,
                 minor = static_cast<uint32_t>(driver_version) % 1000 / 10;
  static constexpr uint32_t of_cuda_12[] = {80, 81, 82, 83, 84, 85, 85, 86, 87, 88};
  if (major >= 13) return 90 + minor;
  return major == 12 ? of_cuda_12[std::min(minor, 9u)] : 70 + minor;
}

struct ModuleMemory : GlobalAllocator {
  ModuleMemory(Driver& d, std::shared_ptr<Context> context) : d(d), context(std::move(context)) {}
  ~ModuleMemory() override {
    for (const uint64_t address : made) d.release(address);
  }
  uint64_t allocate(const Variable& v) override {
    Memory& memory = context->device->memory;
    const Allocation* a = memory.allocate(v.size, v.alignment, std::string(v.name), v.space == Space::constant);
    require(a != nullptr, CUDA_ERROR_OUT_OF_MEMORY);
    memory.written(a->address, a->size);
    // The module keeps the context alive, not vice versa, since its memory is freed with it.
    d.holdings[a->address] = {Holding::Kind::module, v.size, nullptr, context->device, 0, nullptr, ++d.ids};
    made.push_back(a->address);
    return a->address;
  }
  void write(uint64_t address, const void* data, size_t bytes) override {
    std::byte* to = d.resolve(address, bytes);
    require(to != nullptr, CUDA_ERROR_INVALID_PTX);
    std::memcpy(to, data, bytes);
  }
  Driver& d;
  std::shared_ptr<Context> context;
  std::vector<uint64_t> made;
};

// Used to look up names in a library.
struct NoMemory : GlobalAllocator {
  uint64_t allocate(const Variable&) override { return uint64_t{1} << 32; }
  void write(uint64_t, const void*, size_t) override {}
};

std::string ptx_text(const void* image) {
  require(image != nullptr);
  const auto* bytes = static_cast<const unsigned char*>(image);
  uint32_t magic = 0;
  for (int i = 0; i < 4 && (i == 0 || bytes[i - 1]); i++) magic |= uint32_t{bytes[i]} << 8 * i;
  constexpr uint32_t kElf = 0x464c457f, kFatBinary = 0xba55ed50, kFatBinaryWrapper = 0x466243b1;
  require(magic != kElf && magic != kFatBinary && magic != kFatBinaryWrapper, CUDA_ERROR_NO_BINARY_FOR_GPU);
  return static_cast<const char*>(image);
}

std::unique_ptr<Program> parse(ApiCall& c, std::string text, GlobalAllocator& memory) {
  std::unique_ptr<Program> program;
  try {
    program = load_program(std::move(text), c.driver.settings.limits.compute, memory);
  } catch (const PtxError& e) {
    fail(CUDA_ERROR_INVALID_PTX, "PTX line " + std::to_string(e.line) + ": " + e.message);
  }
  const uint32_t version = program->module.version_major * 10 + program->module.version_minor;
  if (version > newest_ptx(c.driver.settings.driver_version))
    fail(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "PTX " + std::to_string(program->module.version_major) + "." +
                                                 std::to_string(program->module.version_minor) +
                                                 " is not supported by the driver");
  return program;
}

std::shared_ptr<LoadedModule> load_text(ApiCall& c, std::string text) {
  ModuleMemory memory(c.driver, c.context);
  auto program = parse(c, std::move(text), memory);
  auto module = c.driver.create<LoadedModule>();
  module->context = c.context;
  module->program = std::move(program);
  memory.made.clear();
  return module;
}

std::string read_file(const char* name) {
  require(name != nullptr);
  FILE* file = std::fopen(name, "rb");
  require(file != nullptr, CUDA_ERROR_FILE_NOT_FOUND);
  std::string text;
  char buffer[65536];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, file)) > 0;) text.append(buffer, n);
  std::fclose(file);
  return text;
}

// The log buffers, which receive as much of the message as fits. The other options concern a compiler that does not
// exist here.
struct Log {
  char *error = nullptr, *info = nullptr;
  size_t error_bytes = 0, info_bytes = 0;
  void **error_size = nullptr, **info_size = nullptr;

  Log(unsigned n, const CUjit_option* options, void** values) {
    require(n == 0 || (options && values));
    for (unsigned i = 0; i < n; i++) {
      const auto number = reinterpret_cast<uintptr_t>(values[i]) & UINT32_MAX;
      switch (static_cast<int>(options[i])) {
        case CU_JIT_ERROR_LOG_BUFFER: error = static_cast<char*>(values[i]); break;
        case CU_JIT_INFO_LOG_BUFFER: info = static_cast<char*>(values[i]); break;
        case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES: error_bytes = number, error_size = &values[i]; break;
        case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES: info_bytes = number, info_size = &values[i]; break;
        default: require(options[i] >= 0 && options[i] < CU_JIT_NUM_OPTIONS);
      }
    }
  }
  static void put(char* buffer, size_t bytes, void** size, const std::string& text) {
    if (buffer && bytes) std::snprintf(buffer, bytes, "%s", text.c_str());
    if (size) *size = reinterpret_cast<void*>(buffer && bytes ? std::min(text.size(), bytes - 1) : 0);
  }
  void fill(const std::string& message) const {
    put(error, error_bytes, error_size, message.empty() ? "" : "ptxas error   : " + message);
    put(info, info_bytes, info_size, "");
  }
};

template <class F>
auto logged(const Log& log, F&& load) {
  try {
    auto result = load();
    log.fill({});
    return result;
  } catch (const Failure& f) {
    log.fill(f.message);
    throw;
  }
}

const Program::Global& global_of(const Program& program, const char* name) {
  require(name != nullptr);
  for (const auto& g : program.globals)
    if (g.name == name && (g.space == Space::global || g.space == Space::constant)) return g;
  fail(CUDA_ERROR_NOT_FOUND);
}

uint32_t kernels_in(const Program& program) {
  return static_cast<uint32_t>(
      std::count_if(program.routines.begin(), program.routines.end(), [](const auto& r) { return r->entry; }));
}

std::shared_ptr<LoadedModule> instance(ApiCall& c, Library& library, const std::shared_ptr<Context>& context) {
  auto& module = library.modules[context->handle];
  if (!module) {
    const auto before = std::exchange(c.context, context);
    module = load_text(c, library.ptx);
    c.context = before;
  }
  return module;
}

CUresult load_library(CUlibrary* out, const void* code, const char* file, unsigned n, CUjit_option* options,
                      void** values) {
  return with_driver([&](ApiCall& c) {
    require(out != nullptr);
    const Log log(n, options, values);
    *out = handle_of<CUlibrary>(*logged(log, [&] {
      const std::string text = file ? read_file(file) : std::string();
      NoMemory none;
      auto ptx = ptx_text(file ? text.c_str() : code);
      auto program = parse(c, ptx, none);
      auto library = c.driver.create<Library>();
      library->ptx = std::move(ptx);
      library->program = std::move(program);
      return library;
    }));
  });
}

}  // namespace

namespace vgpu::driver {

std::shared_ptr<LoadedModule> load_module(ApiCall& c, const void* image) { return load_text(c, ptx_text(image)); }

std::shared_ptr<KernelFunction> module_function(Driver& d, const std::shared_ptr<LoadedModule>& module,
                                                std::string_view name) {
  if (const auto found = module->functions.find(name); found != module->functions.end()) return found->second;
  const Routine* routine = module->program->find(name);
  require(routine && routine->entry, CUDA_ERROR_NOT_FOUND);
  auto f = d.create<KernelFunction>();
  f->module = module;
  f->routine = routine;
  const Limits& l = d.settings.limits;
  f->max_dynamic_shared = l.shared_per_block - std::min(l.shared_per_block, routine->shared_bytes);
  const auto& b = routine->bounds;
  const uint32_t required = b.required_threads[0] * b.required_threads[1] * b.required_threads[2];
  const uint32_t thread_bound = required ? required : b.max_threads[0] * b.max_threads[1] * b.max_threads[2];
  // ptxas keeps to the bounds that a kernel declares. Without bounds this is an upper bound on what ptxas uses.
  f->registers = std::clamp(routine->registers, 16u, 255u);
  if (b.max_registers) f->registers = std::min(f->registers, b.max_registers);
  // ptxas divides an SM's registers among the maximum number of threads, rounded up to 128, and rounds down to a
  // multiple of 8.
  const uint32_t granted = (thread_bound + 127) / 128 * 128;
  if (thread_bound) f->registers = std::min(f->registers, std::max(16u, l.registers_per_sm / granted / 8 * 8));
  f->max_threads = thread_bound ? std::min(thread_bound, 1024u)
                                : std::min(1024u, l.registers_per_sm / ((f->registers + 7) / 8 * 8) / 32 * 32);
  module->functions.emplace(name, f);
  return f;
}

std::shared_ptr<KernelFunction> function_of(ApiCall& c, const void* handle, const std::shared_ptr<Context>& context) {
  if (auto f = c.driver.find<KernelFunction>(handle)) return f;
  const auto kernel = c.driver.get<Kernel>(handle);
  const auto library = kernel->library.lock();
  require(library != nullptr, CUDA_ERROR_INVALID_HANDLE);
  return module_function(c.driver, instance(c, *library, context), kernel->name);
}

}  // namespace vgpu::driver

CUresult cuModuleLoadDataEx(CUmodule* out, const void* image, unsigned int n, CUjit_option* options, void** values) {
  return with_context([&](ApiCall& c) {
    require(out != nullptr);
    c.unsafe_in_capture();
    const Log log(n, options, values);
    *out = handle_of<CUmodule>(*logged(log, [&] { return load_module(c, image); }));
  });
}
CUresult cuModuleLoadData(CUmodule* out, const void* image) {
  return cuModuleLoadDataEx(out, image, 0, nullptr, nullptr);
}
CUresult cuModuleLoadFatBinary(CUmodule* out, const void* image) { return cuModuleLoadData(out, image); }
CUresult cuModuleLoad(CUmodule* out, const char* name) {
  return with_context([&](ApiCall& c) {
    require(out != nullptr);
    c.unsafe_in_capture();
    *out = handle_of<CUmodule>(*load_module(c, read_file(name).c_str()));
  });
}

CUresult cuModuleUnload(CUmodule handle) {
  return with_context([&](ApiCall& c) {
    const auto module = c.driver.get<LoadedModule>(handle);
    c.unsafe_in_capture();
    for (const auto& [name, f] : module->functions) c.driver.forget(*f);
    c.driver.forget(*module);  // pending work keeps the module alive
  });
}

CUresult cuModuleGetFunction(CUfunction* out, CUmodule handle, const char* name) {
  return with_context([&](ApiCall& c) {
    require(out && name);
    *out = handle_of<CUfunction>(*module_function(c.driver, c.driver.get<LoadedModule>(handle), name));
  });
}
CUresult cuModuleGetFunctionCount(unsigned int* count, CUmodule handle) {
  return with_context([&](ApiCall& c) {
    require(count != nullptr);
    *count = kernels_in(*c.driver.get<LoadedModule>(handle)->program);
  });
}
CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* bytes, CUmodule handle, const char* name) {
  return with_context([&](ApiCall& c) {
    require(name && (address || bytes));
    const auto& g = global_of(*c.driver.get<LoadedModule>(handle)->program, name);
    if (address) *address = g.address;
    if (bytes) *bytes = g.size;
  });
}
CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
  return with_driver([&](ApiCall&) {
    require(mode != nullptr);
    *mode = CU_MODULE_EAGER_LOADING;
  });
}

CUresult cuLibraryLoadData(CUlibrary* out, const void* code, CUjit_option* options, void** values, unsigned int n,
                           CUlibraryOption*, void**, unsigned int) {
  return load_library(out, code, nullptr, n, options, values);
}
CUresult cuLibraryLoadFromFile(CUlibrary* out, const char* name, CUjit_option* options, void** values, unsigned int n,
                               CUlibraryOption*, void**, unsigned int) {
  return name ? load_library(out, nullptr, name, n, options, values) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuLibraryUnload(CUlibrary handle) {
  return with_driver([&](ApiCall& c) {
    const auto library = c.driver.get<Library>(handle);
    for (const auto& [name, kernel] : library->kernels) c.driver.forget(*kernel);
    for (const auto& [context, module] : library->modules) {
      for (const auto& [name, f] : module->functions) c.driver.forget(*f);
      c.driver.forget(*module);
    }
    c.driver.forget(*library);
  });
}
CUresult cuLibraryGetKernel(CUkernel* out, CUlibrary handle, const char* name) {
  return with_driver([&](ApiCall& c) {
    require(out && name);
    const auto library = c.driver.get<Library>(handle);
    const Routine* routine = library->program->find(name);
    require(routine && routine->entry, CUDA_ERROR_NOT_FOUND);
    auto& kernel = library->kernels[name];
    if (!kernel) {
      kernel = c.driver.create<Kernel>();
      kernel->library = library;
      kernel->name = name;
    }
    *out = handle_of<CUkernel>(*kernel);
  });
}
CUresult cuLibraryGetKernelCount(unsigned int* count, CUlibrary handle) {
  return with_driver([&](ApiCall& c) {
    require(count != nullptr);
    *count = kernels_in(*c.driver.get<Library>(handle)->program);
  });
}
CUresult cuLibraryGetModule(CUmodule* out, CUlibrary handle) {
  return with_context([&](ApiCall& c) {
    require(out != nullptr);
    *out = handle_of<CUmodule>(*instance(c, *c.driver.get<Library>(handle), c.context));
  });
}
CUresult cuLibraryGetGlobal(CUdeviceptr* address, size_t* bytes, CUlibrary handle, const char* name) {
  return with_context([&](ApiCall& c) {
    require(name && (address || bytes));
    const auto& g = global_of(*instance(c, *c.driver.get<Library>(handle), c.context)->program, name);
    if (address) *address = g.address;
    if (bytes) *bytes = g.size;
  });
}
