#pragma once
#include <string>

#include "program/program.h"

namespace vgpu {

// Provides memory for a module's variables.
class GlobalAllocator {
 public:
  virtual ~GlobalAllocator() = default;
  // Returns the device address.
  virtual uint64_t allocate(const Variable& v) = 0;
  virtual void write(uint64_t address, const void* data, size_t bytes) = 0;
};

// Parses, checks and decodes a module. @throws PtxError
std::unique_ptr<Program> load_program(std::string ptx, uint32_t device_compute, GlobalAllocator& memory);

}  // namespace vgpu
