#pragma once

namespace caracal {

// The checks that attention's kernels make of their data. A Fault's `argument` names the one that failed.
enum AttentionFault { kBadFirstStart, kBadStartOrder, kBadLastStart, kBadLength, kBadBlock, kBadQueryCount };

}  // namespace caracal
