#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

namespace caracal {

// What every part of the library throws. `code` is one of the stable codes of lib/errors.ts; the binding turns this
// into a CaracalError, so `what()` says what was expected, what came, and how to mend it.
class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  const char* code() const { return code_; }

 private:
  const char* code_;  // always a string literal
};

namespace code {
inline constexpr const char* kInvalidArgument = "INVALID_ARGUMENT";
inline constexpr const char* kShapeMismatch = "SHAPE_MISMATCH";
inline constexpr const char* kDtypeMismatch = "DTYPE_MISMATCH";
inline constexpr const char* kDeviceMismatch = "DEVICE_MISMATCH";
inline constexpr const char* kIndexOutOfRange = "INDEX_OUT_OF_RANGE";
inline constexpr const char* kDisposed = "DISPOSED";
inline constexpr const char* kOutOfMemory = "OUT_OF_MEMORY";
inline constexpr const char* kAborted = "ABORTED";
inline constexpr const char* kIoError = "IO_ERROR";
inline constexpr const char* kNoDriver = "NO_DRIVER";
inline constexpr const char* kDriverTooOld = "DRIVER_TOO_OLD";
inline constexpr const char* kNoDevice = "NO_DEVICE";
inline constexpr const char* kArchUnsupported = "ARCH_UNSUPPORTED";
inline constexpr const char* kDeviceFault = "DEVICE_FAULT";
inline constexpr const char* kUnsupported = "UNSUPPORTED";
}  // namespace code

}  // namespace caracal
