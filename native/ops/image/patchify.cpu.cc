#include "ops/image/patchify.h"

#include <math.h>

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {

void run(const Patchify& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t p = op.patch, m = op.merge_size, width = op.width();
  const int64_t frame_bytes = op.frames.shape.rank() == 4 ? op.height() * width * 3 : 0;  // 0: one frame serves as all
  const int64_t blocks_across = width / (p * m), columns = out[0].shape[1];
  const PixelScale pixel = op.pixel_scale();
  float value[3][256];
  for (int c = 0; c < 3; c++)
    for (int v = 0; v < 256; v++) value[c][v] = fmaf(static_cast<float>(v), pixel.scale[c], pixel.shift[c]);
  for_rows(cpu, out[0].shape[0], columns, [&](int64_t i) {
    const int64_t block = i / (m * m), inside = i % (m * m);
    const int64_t row = block / blocks_across * m + inside / m;
    const int64_t column = block % blocks_across * m + inside % m;
    const uint8_t* corner = op.frames.data<uint8_t>() + (row * p * width + column * p) * 3;
    float* y = out[0].data<float>() + i * columns;
    for (int c = 0; c < 3; c++)
      for (int64_t t = 0; t < op.temporal; t++)
        for (int64_t r = 0; r < p; r++) {
          const uint8_t* from = corner + t * frame_bytes + r * width * 3 + c;
          for (int64_t k = 0; k < p; k++) *y++ = value[c][from[k * 3]];
        }
  });
}

}  // namespace caracal::CARACAL_ISA
