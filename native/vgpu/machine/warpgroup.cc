#include "machine/warpgroup.h"

#include <algorithm>
#include <cstring>

namespace vgpu {

Accumulators::Result& Accumulators::open(const std::vector<uint32_t*>& registers) {
  auto found =
      std::find_if(results_.begin(), results_.end(), [&](const Result& r) { return r.registers[0] == registers[0]; });
  if (found == results_.end()) {
    Result result{registers, std::vector<uint32_t>(registers.size() * kLanes), open_group_};
    for (size_t i = 0; i < registers.size(); i++) {
      std::memcpy(result.values.data() + i * kLanes, registers[i], kLanes * 4);
      std::memset(registers[i], 0xff, kLanes * 4);
    }
    results_.push_back(std::move(result));
    return results_.back();
  }
  found->group = open_group_;
  return *found;
}

void Accumulators::wait(uint64_t pending) {
  std::erase_if(results_, [&](const Result& r) {
    if (r.group + pending >= open_group_) return false;
    for (size_t i = 0; i < r.registers.size(); i++)
      std::memcpy(r.registers[i], r.values.data() + i * kLanes, kLanes * 4);
    return true;
  });
}

bool WarpgroupLog::agrees(uint32_t warpgroup, uint64_t group, uint64_t digest) {
  const auto [at, first] = groups_.try_emplace({warpgroup, group}, Entry{digest, 0});
  const bool same = at->second.digest == digest;
  if (++at->second.warps == 4) groups_.erase(at);
  return same;
}

}  // namespace vgpu
