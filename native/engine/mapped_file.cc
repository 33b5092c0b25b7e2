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
  auto fail = [&](const char* what, const char* why) {
    throw Error(code::kIoError, std::string("cannot ") + what + " " + path + ": " + why, {{"path", path}});
  };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("open", std::strerror(errno));
  struct stat st{};
  void* p = nullptr;
  int error = fstat(fd, &st) == 0 ? 0 : errno;
  if (error == 0 && S_ISDIR(st.st_mode)) error = EISDIR;
  if (error == 0 && st.st_size > 0) {
    p = mmap(nullptr, static_cast<size_t>(st.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) error = errno;
  }
  close(fd);
  if (error != 0) fail("map", std::strerror(error));
  if (!p) fail("map", "the file is empty");
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
    throw Error(code::kIoError,
                "a tensor of " + std::to_string(t.bytes()) + " bytes at offset " + std::to_string(offset) +
                    " does not fit in the " + std::to_string(file->bytes()) + " bytes of the file",
                {{"offset", static_cast<double>(offset)},
                 {"bytes", static_cast<double>(t.bytes())},
                 {"capacity", static_cast<double>(file->bytes())}});
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
