#include "core/error.h"

namespace caracal {

static const auto kOutOfHostMemory = std::make_shared<const Error>(code::kOutOfMemory, "the process is out of memory");

std::shared_ptr<const Error> current_fault(const char* job) noexcept {
  try {
    try {
      throw;
    } catch (const Error& e) {
      return std::make_shared<Error>(e);
    } catch (const std::exception& e) {
      return std::make_shared<Error>(code::kOutOfMemory,
                                     std::string(job) + ": the process is out of memory (" + e.what() + ")");
    }
  } catch (...) {
    return kOutOfHostMemory;
  }
}

}  // namespace caracal
