#include "engine/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "engine/descriptor.h"
#include "engine/submit.h"

namespace caracal {
namespace {

bool operator==(const timespec& a, const timespec& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

// The path of an open file, which follows a rename; empty where /proc is not mounted.
std::string name_of(int fd) {
  char name[4096];
  const ssize_t length = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), name, sizeof name);
  return {name, static_cast<size_t>(length < 0 ? 0 : length)};
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  auto fail = [&](const char* what, const char* why) {
    throw Error(code::kIoError, std::string("cannot ") + what + " " + path + ": " + why, {{"path", path}});
  };
  if (path.find('\0') != std::string::npos) fail("open", "the path contains a NUL character");
  // Without waiting: the open of a FIFO would wait for a writer.
  Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (fd < 0) fail("open", std::strerror(errno));
  struct stat& st = state_;
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
  name_ = name_of(fd);
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
// written over reads as another. Whoever writes may put the time of modification back, as `cp -p` and `rsync -t` do, but
// not the time of change. That is also renewed when the file gets another link, name, mode or owner, such as when a new
// file is renamed over it: if one of them differs, the contents count as unchanged. All else that renews it, such as
// setting the time of modification to what it is, cannot be told from writing.
bool MappedFile::changed() const {
  struct stat now{};
  if (guard_->lost() || fstat(fd_, &now) != 0) return true;
  const std::lock_guard lock(mutex_);
  if (now.st_size != state_.st_size || !(now.st_mtim == state_.st_mtim)) return true;
  if (now.st_ctim == state_.st_ctim) return false;
  std::string name = name_of(fd_);
  const bool harmless = now.st_nlink != state_.st_nlink || now.st_mode != state_.st_mode ||
                        now.st_uid != state_.st_uid || now.st_gid != state_.st_gid || name != name_;
  state_ = now;
  name_ = std::move(name);
  return !harmless;
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
      file->prepare();
      t.storage->device->write(t, file->data() + offset);
      if (const auto error = file->error()) throw *error;
    }));
  }
  return t;
}

}  // namespace caracal
