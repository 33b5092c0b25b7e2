#pragma once
// w = code * scale of its block of 128 x 128, in f32, then rounded to the output. NaN stays NaN.
//   codes f8e4m3 [N, K]      scale f32 [ceil(N/128), ceil(K/128)]      output [N, K] of outDtype, f32 | bf16
#include "core/check.h"
#include "core/scale_block.h"

namespace caracal {

struct DequantizeFp8 {
  static constexpr const char* kName = "dequantizeFp8";
  Tensor codes, scale;
  DType out_dtype = DType::f32;
  static constexpr auto kFields =
      std::tuple{field("codes", &DequantizeFp8::codes), field("scale", &DequantizeFp8::scale),
                 field("outDtype", &DequantizeFp8::out_dtype)};

  Outputs check() const {
    Checker c{kName};
    c.rank(codes, "codes", 2);
    c.dtype(codes, "codes", {DType::f8e4m3});
    c.shape(scale, "scale", {divide_up(codes.shape[0], kScaleBlock), divide_up(codes.shape[1], kScaleBlock)});
    c.dtype(scale, "scale", {DType::f32});
    c.out_dtype(out_dtype);
    return {{out_dtype, codes.shape}};
  }
};

}  // namespace caracal
