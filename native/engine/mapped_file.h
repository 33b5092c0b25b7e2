#pragma once
#include <sys/stat.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "core/tensor.h"
#include "engine/bus_guard.h"

namespace caracal {

// A regular file mapped read-only into memory. If it is cut short or written to while it is mapped, its tensors, and all
// that is computed from them, have the fault IO_ERROR from then on.
class MappedFile final : public BorrowedMemory {
 public:
  // @throws IO_ERROR if the file cannot be opened or mapped, is empty, or is not a regular file; OUT_OF_MEMORY
  explicit MappedFile(const std::string& path);
  ~MappedFile() override;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  const std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  void prepare() const noexcept override { BusGuard::restore(); }
  std::shared_ptr<const Error> error() const override;

 private:
  bool changed() const;

  const std::string path_;
  int fd_ = -1;  // stays open, to compare the file with what was mapped
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  mutable std::mutex mutex_;  // of the two below
  mutable struct stat state_{};
  mutable std::string name_;  // where the system finds the file now
  std::optional<BusGuard> guard_;
  mutable std::atomic<bool> broken_{false};

  friend Tensor map_tensor(const std::shared_ptr<Device>&, const std::shared_ptr<MappedFile>&, int64_t, DType, Shape);
};

// Creates a read-only tensor of elements that start `offset` bytes into the file. On the CPU it shares the file's memory
// and keeps the mapping alive if the elements are aligned to the dtype, which checkpoint formats do not guarantee;
// otherwise a job copies them.
// @throws IO_ERROR if the tensor extends past the end of the file
Tensor map_tensor(const std::shared_ptr<Device>& device, const std::shared_ptr<MappedFile>& file, int64_t offset,
                  DType dtype, Shape shape);

}  // namespace caracal
