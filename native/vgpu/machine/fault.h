#pragma once
// Faults of the device and their reports.
#include <cstdint>
#include <string>
#include <vector>

namespace vgpu {

enum class FaultKind : uint8_t {
  illegal_address,
  misaligned_address,
  invalid_address_space,
  illegal_instruction,  // also for faults found by checks that hardware would not detect
  hardware_stack_error,
  assertion,
  trap,
  deadlock,
  timeout,  // the instruction budget is spent
};

struct Report {
  FaultKind kind;
  std::string check;    // memcheck, initcheck, racecheck, synccheck, or empty
  std::string message;  // what happened
  std::string kernel;
  uint32_t block[3] = {0, 0, 0}, thread[3] = {0, 0, 0};
  std::string instruction;
  uint32_t ptx_line = 0;
  std::vector<std::string> source;  // file:line, innermost first
  std::string text() const;
};

// Thrown by the handler of an instruction. Its position is added on the way out.
struct DeviceFault {
  Report report;
};

}  // namespace vgpu
