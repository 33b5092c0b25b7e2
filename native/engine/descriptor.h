#pragma once
#include <unistd.h>

#include <utility>

namespace caracal {

// A file descriptor of the library's own, which it closes. A job never uses one of Node.js: it may be closed at any time,
// at the latest when the job's thread is terminated, and its number is then that of the next file that somebody opens.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& o) noexcept : fd_(o.release()) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  operator int() const { return fd_; }  // negative if the system refused it
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

}  // namespace caracal
