#pragma once
// dst[dstRow + i] = src[i], in place. src and dst may be views of one tensor, overlapping.
//   dst  [R, ...]      src  [r, ...] of dst's dtype and row shape, dstRow + r <= R
#include "core/check.h"

namespace caracal {

struct CopyRows {
  static constexpr const char* kName = "copyRows";
  Tensor dst, src;
  int64_t dst_row = 0;
  static constexpr auto kFields = std::tuple{field("dst", &CopyRows::dst, Access::inout), field("src", &CopyRows::src),
                                             field("dstRow", &CopyRows::dst_row)};

  Outputs check() const {
    Checker c{kName};
    c.rank_at_least(dst, "dst", 1);
    Shape want = dst.shape;
    want[0] = -1;
    c.shape(src, "src", want);
    c.dtype(src, "src", {dst.dtype});
    if (dst_row < 0 || dst_row + src.shape[0] > dst.shape[0])
      c.bad(code::kIndexOutOfRange, "dstRow",
            "must leave room for src's rows, got " + std::to_string(dst_row) + " for " + src.shape.str() + " in " +
                dst.shape.str(),
            {{"value", static_cast<double>(dst_row)}});
    return {};
  }
};

}  // namespace caracal
