#pragma once
// dst[dstRow + i] = src[i], in place. src and dst may be views of one tensor, overlapping.
//   dst  [R, ...]      src  [r, ...] alike but for the rows, dstRow + r <= R
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
            std::to_string(dst_row) + ": rows of " + src.shape.str() + " do not fit in " + dst.shape.str() +
                " from there");
    return {};
  }
};

}  // namespace caracal
