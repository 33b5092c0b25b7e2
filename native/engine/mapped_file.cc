#include "engine/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "engine/submit.h"

namespace caracal {

MappedFile::MappedFile(const std::string& path) {
  auto fail = [&](const char* what) {
    throw Error(code::kIoError, std::string("cannot ") + what + " " + path + ": " + std::strerror(errno),
                {{"path", path}});
  };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("open");
  struct stat st{};
  void* p = MAP_FAILED;
  if (fstat(fd, &st) == 0 && st.st_size > 0)
    p = mmap(nullptr, static_cast<size_t>(st.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
  const int saved = errno;
  close(fd);
  errno = saved;
  if (p == MAP_FAILED) fail("map");
  data_ = static_cast<std::byte*>(p);
  bytes_ = static_cast<size_t>(st.st_size);
}

MappedFile::~MappedFile() { munmap(data_, bytes_); }

Tensor map_tensor(const std::shared_ptr<Device>& device, const std::shared_ptr<MappedFile>& file, int64_t offset,
                  DType dtype, Shape shape) {
  Tensor t;
  t.dtype = dtype;
  t.shape = shape;
  if (offset < 0 || static_cast<uint64_t>(offset) + t.bytes() > file->bytes())
    throw Error(code::kIoError, "a tensor of " + std::to_string(t.bytes()) + " bytes at offset " +
                                    std::to_string(offset) + " ends past the file's " + std::to_string(file->bytes()));
  t.storage = std::make_shared<Storage>(device, t.bytes());
  if (device->backend() != Device::Backend::cpu) {
    device->submit(filling(t, [t, file, offset] { t.storage->device->write(t, file->data() + offset); }));
  } else if (offset % static_cast<int64_t>(dtype_bytes(dtype)) == 0) {
    t.storage->data = file->data_ + offset;
    t.storage->owner = file;
  } else {
    materialize(*t.storage);
    std::memcpy(t.storage->data, file->data() + offset, t.bytes());
  }
  return t;
}

}  // namespace caracal
