#include "instructions/system_calls.h"

#include <cstdio>
#include <cstdlib>

#include "machine/address.h"
#include "machine/block.h"

namespace vgpu {
namespace {

template <class T>
T argument(Warp& w, const Op& op, size_t n, int lane) {
  const Frame& frame = *w.split().frame;
  T value;
  std::memcpy(&value,
              w.local(lane, frame.arguments() + frame.routine->calls[static_cast<size_t>(op.imm)].arguments[n].from),
              sizeof value);
  return value;
}

template <class T>
void give_result(Warp& w, const Op& op, int lane, T value) {
  const Frame& frame = *w.split().frame;
  std::memcpy(w.local(lane, frame.arguments() + frame.routine->calls[static_cast<size_t>(op.imm)].results[0].to),
              &value, sizeof value);
}

std::string text_at(Warp& w, uint64_t address, int lane) {
  std::string text;
  for (;; address++) {
    const char c = static_cast<char>(*resolve_one(w, Space::generic, address, 1, Access::read, lane));
    if (c == 0 || text.size() > 65536) return text;
    text += c;
  }
}

// Formats one conversion of printf. The value is read from the argument buffer at 4- or 8-byte alignment, as the
// compiler lays it out.
std::string converted(Warp& w, std::string spec, uint64_t& at, int lane) {
  auto take = [&](unsigned bytes) {
    at = (at + bytes - 1) / bytes * bytes;
    uint64_t value = 0;
    std::memcpy(&value, resolve_one(w, Space::generic, at, bytes, Access::read, lane), bytes);
    at += bytes;
    return value;
  };
  for (size_t star; (star = spec.find('*')) != spec.npos;)
    spec.replace(star, 1, std::to_string(static_cast<int32_t>(take(4))));
  const char kind = spec.back();
  const bool wide = spec.find('l') != spec.npos || spec.find('z') != spec.npos || spec.find('j') != spec.npos ||
                    spec.find('t') != spec.npos;
  char buffer[512];
  if (kind == 's') {
    const std::string text = text_at(w, take(8), lane);
    std::snprintf(buffer, sizeof buffer, spec.c_str(), text.c_str());
  } else if (kind == 'p') {
    std::snprintf(buffer, sizeof buffer, spec.c_str(), reinterpret_cast<void*>(take(8)));
  } else if (std::string_view("aAeEfFgG").find(kind) != std::string_view::npos) {
    const uint64_t bits = take(8);
    double value;
    std::memcpy(&value, &bits, 8);
    std::snprintf(buffer, sizeof buffer, spec.c_str(), value);
  } else if (kind == 'c') {
    std::snprintf(buffer, sizeof buffer, spec.c_str(), static_cast<int>(take(4)));
  } else if (wide) {
    std::snprintf(buffer, sizeof buffer, spec.c_str(), take(8));
  } else {
    std::snprintf(buffer, sizeof buffer, spec.c_str(), static_cast<uint32_t>(take(4)));
  }
  return buffer;
}

void vprintf(Warp& w, const Op& op) {
  for (int lane = 0; lane < kLanes; lane++) {
    if (!(w.mask >> lane & 1)) continue;
    const std::string format = text_at(w, argument<uint64_t>(w, op, 0, lane), lane);
    uint64_t at = argument<uint64_t>(w, op, 1, lane);
    std::string out;
    int32_t conversions = 0;
    for (size_t i = 0; i < format.size(); i++) {
      if (format[i] != '%') {
        out += format[i];
        continue;
      }
      if (format.compare(i, 2, "%%") == 0) {
        out += '%';
        i++;
        continue;
      }
      const size_t end = format.find_first_of("diouxXcspaAeEfFgG", i + 1);
      if (end == format.npos || end - i > 24) break;
      out += converted(w, format.substr(i, end + 1 - i), at, lane);
      conversions++;
      i = end;
    }
    if (w.block.launch.options.print) w.block.launch.options.print(out);
    give_result(w, op, lane, conversions);
  }
}

void assert_fail(Warp& w, const Op& op) {
  const int lane = __builtin_ctz(w.mask);
  w.fault_lane = lane;
  throw DeviceFault{{FaultKind::assertion,
                     "",
                     text_at(w, argument<uint64_t>(w, op, 1, lane), lane) + ":" +
                         std::to_string(argument<uint32_t>(w, op, 2, lane)) + ": " +
                         text_at(w, argument<uint64_t>(w, op, 3, lane), lane) + ": assertion `" +
                         text_at(w, argument<uint64_t>(w, op, 0, lane), lane) + "' failed",
                     {}}};
}

void device_malloc(Warp& w, const Op& op) {
  for (int lane = 0; lane < kLanes; lane++) {
    if (!(w.mask >> lane & 1)) continue;
    const Allocation* a = w.block.launch.memory.allocate(argument<uint64_t>(w, op, 0, lane), 256, "malloc in a kernel");
    give_result<uint64_t>(w, op, lane, a ? a->address : 0);
  }
}

void device_free(Warp& w, const Op& op) {
  for (int lane = 0; lane < kLanes; lane++) {
    if (!(w.mask >> lane & 1)) continue;
    const auto address = argument<uint64_t>(w, op, 0, lane);
    if (address != 0 && !w.block.launch.memory.release(address)) {
      w.fault_lane = lane;
      throw DeviceFault{{FaultKind::illegal_address,
                         "memcheck",
                         "free of memory that was not allocated: " + w.block.launch.memory.describe(address),
                         {}}};
    }
  }
}

}  // namespace

Handler system_call(std::string_view name) {
  if (name == "vprintf") return vprintf;
  if (name == "__assertfail") return assert_fail;
  if (name == "malloc") return device_malloc;
  if (name == "free") return device_free;
  return nullptr;
}

}  // namespace vgpu
