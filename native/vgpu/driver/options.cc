#include "driver/options.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string_view>
#include <thread>

namespace vgpu::driver {
namespace {

bool number(std::string_view text, uint64_t min, uint64_t max, uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size() && out >= min && out <= max;
}

bool bytes(std::string_view text, uint64_t& out) {
  unsigned shift = 0;
  if (!text.empty()) shift = text.back() == 'G' ? 30 : text.back() == 'M' ? 20 : text.back() == 'K' ? 10 : 0;
  if (shift) text.remove_suffix(1);
  if (!number(text, 1, uint64_t{1} << (42 - shift), out)) return false;
  out <<= shift;
  return true;
}

bool compute(std::string_view text, Limits& l) {
  // CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"; SMs of A100, A40, L40 and H100.
  if (text == "8.0")
    l.compute = 80, l.sm_count = 108, l.shared_per_sm = 164, l.threads_per_sm = 2048, l.blocks_per_sm = 32;
  else if (text == "8.6")
    l.compute = 86, l.sm_count = 84, l.shared_per_sm = 100, l.threads_per_sm = 1536, l.blocks_per_sm = 16;
  else if (text == "8.9")
    l.compute = 89, l.sm_count = 142, l.shared_per_sm = 100, l.threads_per_sm = 1536, l.blocks_per_sm = 24;
  else if (text == "9.0")
    l.compute = 90, l.sm_count = 132, l.shared_per_sm = 228, l.threads_per_sm = 2048, l.blocks_per_sm = 32;
  else
    return false;
  l.shared_per_block_optin = (l.shared_per_sm - 1) * 1024;
  l.shared_per_sm *= 1024;
  return true;
}

// Sets `out` to the enumerator at the position of the text in the list.
template <class T>
bool pick(std::string_view text, std::initializer_list<std::string_view> names, T& out) {
  const auto found = std::find(names.begin(), names.end(), text);
  if (found == names.end()) return false;
  out = static_cast<T>(found - names.begin());
  return true;
}

std::string_view next_piece(std::string_view& list) {
  const auto piece = list.substr(0, list.find(','));
  list.remove_prefix(std::min(piece.size() + 1, list.size()));
  return piece;
}

bool checks(std::string_view list, Checks& out) {
  while (!list.empty()) {
    const auto piece = next_piece(list);
    if (piece == "initcheck")
      out.initcheck = true;
    else if (piece == "racecheck")
      out.racecheck = true;
    else
      return false;
  }
  return true;
}

bool faults(std::string_view text, Settings& s) {
  while (!text.empty()) {
    const auto piece = next_piece(text);
    const auto colon = piece.find(':');
    if (colon == piece.npos) return false;
    const auto what = piece.substr(0, colon);
    uint64_t n = 0;
    if (!number(piece.substr(colon + 1), 1, UINT32_MAX, n)) return false;
    if (what == "alloc")
      s.failing_allocation = n;
    else if (what == "launch")
      s.failing_launch = n;
    else if (what == "lost")
      s.lost_at_call = n;
    else if (what == "driver" && n >= 11000 && n <= 13000)
      s.driver_version = static_cast<int>(n);
    else
      return false;
  }
  return true;
}

}  // namespace

bool read_settings(Settings& s) {
  uint64_t n = 0;
  bool good = true;
  auto read = [&](const char* name, auto parse, const char* expected) {
    const std::string full = std::string("CARACAL_VGPU_") + name;
    const char* value = std::getenv(full.c_str());
    if (!value || !*value || parse(std::string_view(value))) return;
    std::fprintf(stderr, "%s=%s: expected %s\n", full.c_str(), value, expected);
    good = false;
  };
  s.run.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  read("COMPUTE", [&](auto v) { return compute(v, s.limits); }, "8.0, 8.6, 8.9 or 9.0");
  read(
      "DEVICES", [&](auto v) { return number(v, 0, 16, n) && (s.devices = static_cast<uint32_t>(n), true); },
      "0 to 16");
  read(
      "MEMORY", [&](auto v) { return bytes(v, s.limits.memory); },
      "bytes, such as 1048576, 512M or 16G, at most 4096G");
  read(
      "SM_COUNT", [&](auto v) { return number(v, 1, 1024, n) && (s.limits.sm_count = static_cast<uint32_t>(n), true); },
      "1 to 1024");
  read(
      "THREADS", [&](auto v) { return number(v, 1, 256, n) && (s.run.threads = static_cast<int>(n), true); },
      "1 to 256");
  read("SEED", [&](auto v) { return number(v, 0, UINT64_MAX, s.run.seed); }, "a number");
  read(
      "BUDGET", [&](auto v) { return number(v, 1, UINT64_MAX, s.run.instruction_budget); },
      "warp instructions, at least 1");
  read("ORDER", [&](auto v) { return (s.late = v == "late") || v == "submission"; }, "submission or late");
  read(
      "ASYNC", [&](auto v) { return pick(v, {"late", "early", "random"}, s.run.completion); }, "late, early or random");
  read(
      "ACCUMULATION", [&](auto v) { return pick(v, {"chain", "exact", "truncating"}, s.run.accumulation); },
      "chain, exact or truncating");
  read("APPROXIMATE", [&](auto v) { return pick(v, {"0", "1"}, s.run.approximate); }, "0 or 1");
  read("CHECK", [&](auto v) { return checks(v, s.run.checks); }, "a list of initcheck and racecheck");
  read("COUNT", [&](auto v) { return s.run.count = true, s.count = v, true; }, "a path");
  read("FAULT", [&](auto v) { return faults(v, s); }, "a list of alloc:N, launch:N, lost:N and driver:11000 … 13000");
  read("KERNELS", [&](auto v) { return s.kernels = v, true; }, "a path");
  read("REPORT", [&](auto v) { return s.report = v, true; }, "stderr or a path");
  return good;
}

}  // namespace vgpu::driver
