#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "core/tensor.h"

namespace caracal {

// A file mapped read-only into memory.
class MappedFile {
 public:
  // @throws IO_ERROR if the file cannot be opened or mapped, or is empty
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;

  friend Tensor map_tensor(const std::shared_ptr<Device>&, const std::shared_ptr<MappedFile>&, int64_t, DType, Shape);
};

// Creates a tensor of elements that start `offset` bytes into the file. On the CPU it shares the file's memory and
// keeps the mapping alive if the elements are aligned to the dtype, which checkpoint formats do not guarantee;
// otherwise they are copied.
// @throws IO_ERROR if the tensor extends past the end of the file
Tensor map_tensor(const std::shared_ptr<Device>& device, const std::shared_ptr<MappedFile>& file, int64_t offset,
                  DType dtype, Shape shape);

}  // namespace caracal
