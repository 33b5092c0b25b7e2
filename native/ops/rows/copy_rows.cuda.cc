#include "ops/rows/copy_rows.h"

#include "cuda/implement.h"

namespace caracal::cuda {

// An overlapping device-to-device copy is undefined, so it goes through a temporary buffer.
void run(const CopyRows& op, std::span<Tensor>, Cuda& cuda) {
  const size_t bytes = op.src.bytes();
  if (bytes == 0) return;
  std::byte* to = op.dst.data<std::byte>() + op.dst_row * (bytes / op.src.shape[0]);
  const std::byte* from = op.src.data<std::byte>();
  if (to == from) return;
  if (to + bytes <= from || from + bytes <= to) return cuda.copy(to, from, bytes);
  const Temporary<std::byte> buffer(cuda, bytes);
  cuda.copy(buffer.data(), from, bytes);
  cuda.copy(to, buffer.data(), bytes);
}

}  // namespace caracal::cuda
