#pragma once
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace caracal {

// The values that an error is about, by name: { "argument", "w" }. The names are those of CaracalError.details in
// lib/errors.ts.
using ErrorDetails = std::vector<std::pair<const char*, std::variant<std::string, double>>>;

// The exception type of the whole library. The binding turns it into a CaracalError with the same code, message and
// details, so `what()` says what was expected, what was found and how to fix it.
class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message, ErrorDetails details = {})
      : std::runtime_error(message), code_(code), details_(std::move(details)) {}
  const char* code() const { return code_; }
  const ErrorDetails& details() const { return details_; }

 private:
  const char* code_;  // one of the literals below
  ErrorDetails details_;
};

// The error codes of lib/errors.ts that native code throws.
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
inline constexpr const char* kAll[] = {kInvalidArgument, kShapeMismatch, kDtypeMismatch, kDeviceMismatch,
                                       kIndexOutOfRange, kDisposed,      kOutOfMemory,   kAborted,
                                       kIoError,         kNoDriver,      kDriverTooOld,  kNoDevice,
                                       kArchUnsupported, kDeviceFault,   kUnsupported};
}  // namespace code

// Reports a wrong index in the data of an argument: the element at `position`, counted in row-major order, is `value`.
inline Error index_error(const char* operation, const char* argument, int64_t position, int64_t value,
                         const std::string& what) {
  return Error(code::kIndexOutOfRange, std::string(operation) + ": " + what,
               {{"operation", operation},
                {"argument", argument},
                {"position", static_cast<double>(position)},
                {"value", static_cast<double>(value)}});
}

// The exception that is being handled, as the fault of what `job` computes; called in catch blocks. An exception of the
// standard library becomes OUT_OF_MEMORY, since in jobs only allocations throw those. If even the Error cannot be
// allocated, one that was made when the library was loaded takes its place.
std::shared_ptr<const Error> current_fault(const char* job) noexcept;

}  // namespace caracal
