#include "machine/fault.h"

namespace vgpu {

std::string Report::text() const {
  auto triple = [](const uint32_t (&v)[3]) {
    return "(" + std::to_string(v[0]) + "," + std::to_string(v[1]) + "," + std::to_string(v[2]) + ")";
  };
  std::string s = check.empty() ? message : check + ": " + message;
  if (!kernel.empty()) s += "\n  in " + kernel + ", block " + triple(block) + ", thread " + triple(thread);
  if (ptx_line) s += "\n  at " + instruction + ", PTX line " + std::to_string(ptx_line);
  for (size_t i = 0; i < source.size(); i++) s += (i == 0 ? "\n  from " : "\n    inlined at ") + source[i];
  return s;
}

}  // namespace vgpu
