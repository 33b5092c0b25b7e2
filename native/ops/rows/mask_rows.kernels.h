#pragma once

namespace caracal {

// What a launch of mask_rows is told of its sequences. Read by the kernel and by the host.
struct MaskLengths {
  static constexpr int kMost = 128;
  long long kept[kMost];  // units
};

}  // namespace caracal
