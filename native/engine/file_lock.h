#pragma once
#include <sys/file.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace caracal {

enum class FileLock { kTaken, kHeldByOther, kUnsupported };

// Takes the lock of an open file (flock), or finds that another opening of it has it, in this process or another one. The
// kernel gives it back when the file is closed, however its process ends: no lock outlives its owner.
inline FileLock take_file_lock(int fd) {
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return FileLock::kHeldByOther;
    if (errno == ENOSYS || errno == ENOLCK || errno == EOPNOTSUPP) return FileLock::kUnsupported;
    throw Error(errno == EBADF ? code::kInvalidArgument : code::kIoError,
                std::string("the file cannot be locked: ") + std::strerror(errno));
  }
  return FileLock::kTaken;
}

}  // namespace caracal
