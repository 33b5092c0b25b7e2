#include "engine/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/submit.h"

namespace caracal {
namespace {

// A file that is opened for reading without waiting: the open of a FIFO would wait for a writer.
class Descriptor {
 public:
  explicit Descriptor(const char* path) : fd_(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  operator int() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  auto fail = [&](const char* what, const char* why) {
    throw Error(code::kIoError, std::string("cannot ") + what + " " + path + ": " + why, {{"path", path}});
  };
  if (path.find('\0') != std::string::npos) fail("open", "the path contains a NUL character");
  Descriptor fd(path.c_str());
  if (fd < 0) fail("open", std::strerror(errno));
  struct stat st{};
  if (fstat(fd, &st) != 0) fail("map", std::strerror(errno));
  if (S_ISDIR(st.st_mode)) fail("map", std::strerror(EISDIR));
  if (!S_ISREG(st.st_mode)) fail("map", "it is not a regular file");
  if (st.st_size == 0) fail("map", "the file is empty");
  const auto bytes = static_cast<size_t>(st.st_size);
  void* p = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  if (p == MAP_FAILED && errno == ENOMEM)
    throw Error(code::kOutOfMemory, "there is no address space to map " + path,
                {{"path", path}, {"bytes", static_cast<double>(bytes)}});
  if (p == MAP_FAILED) fail("map", std::strerror(errno));
  data_ = static_cast<std::byte*>(p);
  bytes_ = bytes;
  modified_ = st.st_mtim;
  try {
    guard_.emplace(data_, bytes_);
  } catch (...) {
    munmap(data_, bytes_);
    throw;
  }
  fd_ = fd.release();
}

MappedFile::~MappedFile() {
  guard_.reset();
  munmap(data_, bytes_);
  close(fd_);
}

// The guard alone does not suffice: the rest of a file's last page reads as zeros without a fault, and a file that was
// written over reads as another.
bool MappedFile::changed() const {
  struct stat now{};
  return guard_->lost() || fstat(fd_, &now) != 0 || static_cast<size_t>(now.st_size) != bytes_ ||
         now.st_mtim.tv_sec != modified_.tv_sec || now.st_mtim.tv_nsec != modified_.tv_nsec;
}

std::shared_ptr<const Error> MappedFile::error() const {
  if (!broken_.load(std::memory_order_relaxed)) {
    if (!changed()) return nullptr;
    broken_.store(true);
  }
  return std::make_shared<Error>(
      code::kIoError,
      path_ +
          " was cut short, written to or became unreadable while it was in use: load the model, or map the file, "
          "again when it is complete",
      ErrorDetails{{"path", path_}});
}

Tensor map_tensor(const std::shared_ptr<Device>& device, const std::shared_ptr<MappedFile>& file, int64_t offset,
                  DType dtype, Shape shape) {
  Tensor t;
  t.dtype = dtype;
  t.shape = shape;
  if (offset < 0 || static_cast<uint64_t>(offset) + t.bytes() > file->bytes())
    throw Error(code::kIoError,
                "a tensor of " + std::to_string(t.bytes()) + " bytes at offset " + std::to_string(offset) +
                    " does not fit in the " + std::to_string(file->bytes()) + " bytes of " + file->path(),
                {{"path", file->path()},
                 {"offset", static_cast<double>(offset)},
                 {"bytes", static_cast<double>(t.bytes())},
                 {"capacity", static_cast<double>(file->bytes())}});
  t.storage = std::make_shared<Storage>(device, t.bytes());
  t.storage->read_only = true;
  if (device->backend() == Device::Backend::cpu && offset % static_cast<int64_t>(dtype_bytes(dtype)) == 0) {
    t.storage->data = file->data_ + offset;
    t.storage->borrowed = file;
  } else {
    device->submit(filling(t, [t, file, offset] {
      t.storage->device->write(t, file->data() + offset);
      if (const auto error = file->error()) throw *error;
    }));
  }
  return t;
}

}  // namespace caracal
