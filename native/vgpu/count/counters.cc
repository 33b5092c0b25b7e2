#include "count/counters.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>

#include "machine/launch.h"

namespace vgpu {
namespace {

// Writes the distinct values of at[lane] >> shift over the lanes in mask to `out` in ascending order, and returns their
// number.
int distinct(const uint64_t (&at)[kLanes], uint32_t mask, unsigned shift, uint64_t (&out)[kLanes]) {
  int n = 0;
  bool sorted = true;
  for (uint32_t left = mask; left; left &= left - 1) {
    const uint64_t value = at[__builtin_ctz(left)] >> shift;
    if (n > 0 && value == out[n - 1]) continue;
    sorted = sorted && (n == 0 || value > out[n - 1]);
    out[n++] = value;
  }
  if (sorted) return n;
  std::sort(out, out + n);
  return static_cast<int>(std::unique(out, out + n) - out);
}

unsigned shift_of(unsigned bytes) { return static_cast<unsigned>(__builtin_ctz(bytes)); }

}  // namespace

void OpCounts::add(const OpCounts& o) {
  executed += o.executed;
  lanes += o.lanes;
  divergences += o.divergences;
  global_requests += o.global_requests;
  global_sectors += o.global_sectors;
  global_ideal += o.global_ideal;
  global_bytes += o.global_bytes;
  shared_requests += o.shared_requests;
  shared_wavefronts += o.shared_wavefronts;
  shared_ideal += o.shared_ideal;
  shared_bytes += o.shared_bytes;
  async_bytes += o.async_bytes;
}

SectorSet::Page& SectorSet::page(uint64_t number) {
  if (number == last_number_) return *last_;
  auto& page = pages_[number];
  if (!page) page = std::make_unique<Page>();
  last_number_ = number;
  last_ = page.get();
  return *last_;
}

void SectorSet::insert(uint64_t sector) {
  const uint64_t within = sector & ((1u << kShift) - 1);
  page(sector >> kShift)[within / 64] |= uint64_t{1} << within % 64;
}

void SectorSet::add(const SectorSet& other) {
  for (const auto& [number, other_page] : other.pages_) {
    Page& own_page = page(number);
    for (size_t i = 0; i < own_page.size(); i++) own_page[i] |= (*other_page)[i];
  }
}

uint64_t SectorSet::size() const {
  uint64_t sectors = 0;
  for (const auto& [number, page] : pages_)
    for (const uint64_t word : *page) sectors += static_cast<uint64_t>(__builtin_popcountll(word));
  return sectors;
}

void Counters::add(const Counters& other) {
  loaded.add(other.loaded);
  stored.add(other.stored);
  for (const auto& [routine, counts] : other.counts_) {
    OpCounts* sums = of(*routine);
    for (size_t i = 0; i < counts.size(); i++) sums[i].add(counts[i]);
  }
}

void count_global(OpCounts& counts, const uint64_t (&at)[kLanes], unsigned bytes, uint32_t mask, SectorSet* loaded,
                  SectorSet* stored) {
  uint64_t values[kLanes];
  counts.global_requests++;
  const int sectors = distinct(at, mask, 5, values);
  counts.global_sectors += static_cast<uint64_t>(sectors);
  for (SectorSet* touched : {loaded, stored})
    for (int i = 0; touched && i < sectors; i++) touched->insert(values[i]);
  counts.global_ideal += (static_cast<uint64_t>(distinct(at, mask, shift_of(bytes), values)) * bytes + 31) / 32;
  counts.global_bytes += static_cast<uint64_t>(__builtin_popcount(mask)) * bytes;
}

void count_shared(OpCounts& counts, const uint64_t (&at)[kLanes], unsigned bytes, uint32_t mask) {
  const int group = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;
  const int words = bytes <= 4 ? 1 : static_cast<int>(bytes / 4);
  counts.shared_requests++;
  counts.shared_bytes += static_cast<uint64_t>(__builtin_popcount(mask)) * bytes;
  for (int first = 0; first < kLanes; first += group) {
    const uint32_t part = group == 32 ? mask : mask & ((1u << group) - 1) << first;
    if (part == 0) continue;
    uint64_t values[kLanes];
    const int n = distinct(at, part, bytes <= 4 ? 2 : shift_of(bytes), values);
    int in_bank[32] = {}, wavefronts = 0;
    for (int i = 0; i < n; i++)
      for (int word = 0; word < words; word++)
        wavefronts = std::max(wavefronts,
                              ++in_bank[(values[i] * static_cast<uint64_t>(words) + static_cast<uint64_t>(word)) % 32]);
    counts.shared_wavefronts += static_cast<uint64_t>(wavefronts);
    counts.shared_ideal += static_cast<uint64_t>((n * words + 31) / 32);
  }
}

// --- JSON ------------------------------------------------------------------------------------------------------------

namespace {

constexpr const char* kClassNames[] = {"integer", "floating", "half", "convert", "move",  "load",   "store",
                                       "atomic",  "control",  "warp", "barrier", "async", "tensor", "other"};

// The multiply-adds of an mma, wmma or wgmma, taken from the shape in its name (.m16n8k16). Each of four warps does a
// quarter of a wgmma.
uint64_t multiply_adds(const std::string& text) {
  for (size_t at = text.find(".m"); at != text.npos; at = text.find(".m", at + 1)) {
    unsigned m, n, k;
    if (std::sscanf(text.c_str() + at, ".m%un%uk%u", &m, &n, &k) == 3)
      return uint64_t{m} * n * k / (text.starts_with("wgmma") ? 4 : 1);
  }
  return 0;
}

// The sum over several instructions: their counts and figures derived from their classes.
struct Sum {
  OpCounts counts;
  uint64_t classes[std::size(kClassNames)] = {};
  uint64_t load_sectors = 0, store_sectors = 0, barriers = 0, tensor = 0, multiply_adds = 0;

  void add(const OpCounts& c, OpClass kind, const std::string& text) {
    counts.add(c);
    classes[static_cast<size_t>(kind)] += c.executed;
    if (kind == OpClass::load || kind == OpClass::async) load_sectors += c.global_sectors;
    if (kind == OpClass::store) store_sectors += c.global_sectors;
    if (kind == OpClass::barrier && text.starts_with("bar")) barriers += c.executed;
    if (kind != OpClass::tensor) return;
    const uint64_t each = vgpu::multiply_adds(text);
    if (each) tensor += c.executed;  // zero for fences, commits and waits
    multiply_adds += each * c.executed;
  }
};

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 32) out += c;
  }
  return out + '"';
}

// Appends `"name":value` unless the value is zero.
void append_field(std::string& out, const char* name, uint64_t value) {
  if (value) out += std::string(out.empty() ? "" : ",") + "\"" + name + "\":" + std::to_string(value);
}

std::string fields_of(const OpCounts& c) {
  std::string out;
  auto field = [&](const char* name, uint64_t value) { append_field(out, name, value); };
  field("executed", c.executed);
  field("lanes", c.lanes);
  field("divergences", c.divergences);
  field("globalRequests", c.global_requests);
  field("globalSectors", c.global_sectors);
  field("globalSectorsIdeal", c.global_ideal);
  field("globalBytes", c.global_bytes);
  field("sharedRequests", c.shared_requests);
  field("sharedWavefronts", c.shared_wavefronts);
  field("sharedWavefrontsIdeal", c.shared_ideal);
  field("sharedBytes", c.shared_bytes);
  field("bankConflicts", c.shared_wavefronts - c.shared_ideal);
  field("asyncBytes", c.async_bytes);
  return out;
}

std::string fields_of(const Sum& s) {
  std::string out = fields_of(s.counts), classes;
  append_field(out, "globalLoadSectors", s.load_sectors);
  append_field(out, "globalStoreSectors", s.store_sectors);
  append_field(out, "atomics", s.classes[static_cast<size_t>(OpClass::atomic)]);
  append_field(out, "barriers", s.barriers);
  append_field(out, "tensorInstructions", s.tensor);
  append_field(out, "tensorMultiplyAdds", s.multiply_adds);
  for (size_t i = 0; i < std::size(kClassNames); i++) append_field(classes, kClassNames[i], s.classes[i]);
  return out + (out.empty() ? "" : ",") + "\"classes\":{" + classes + "}";
}

std::string triple(const uint32_t (&v)[3]) {
  return "[" + std::to_string(v[0]) + "," + std::to_string(v[1]) + "," + std::to_string(v[2]) + "]";
}

}  // namespace

std::string to_json(const Program& program, const Routine& kernel, const LaunchShape& shape, const Counters& counters) {
  Sum total;
  std::map<std::pair<std::string, uint32_t>, Sum> by_line;
  std::string ops;
  // Follows the order of the program, so that two runs produce the same text.
  for (const auto& routine : program.routines) {
    const auto found = counters.all().find(routine.get());
    if (found == counters.all().end()) continue;
    for (size_t i = 0; i < found->second.size(); i++) {
      const OpCounts& c = found->second[i];
      if (c.executed == 0) continue;
      total.add(c, routine->classes[i], routine->texts[i]);
      if (const int32_t p = routine->locations[i]; p >= 0) {
        const SourceLocation& location = program.module.locations[static_cast<size_t>(p)];
        if (location.file < program.module.files.size())
          by_line[{program.module.files[location.file], location.line}].add(c, routine->classes[i], routine->texts[i]);
      }
      ops += (ops.empty() ? "" : ",") + std::string("{\"ptxLine\":") + std::to_string(routine->lines[i]) +
             ",\"instruction\":" + quoted(routine->texts[i]) + "," + fields_of(c) + "}";
    }
  }
  std::string totals;
  append_field(totals, "globalLoadSectorsTouched", counters.loaded.size());
  append_field(totals, "globalStoreSectorsTouched", counters.stored.size());
  totals.append(totals.empty() ? "" : ",").append(fields_of(total));
  std::string lines;
  for (const auto& [location, sum] : by_line)
    lines += (lines.empty() ? "" : ",") + std::string("{\"file\":") + quoted(location.first) +
             ",\"line\":" + std::to_string(location.second) + "," + fields_of(sum) + "}";
  return "{\"kernel\":" + quoted(kernel.name) + ",\"grid\":" + triple(shape.grid) +
         ",\"block\":" + triple(shape.block) + ",\"cluster\":" + triple(shape.cluster) +
         ",\"staticShared\":" + std::to_string(kernel.shared_bytes) +
         ",\"dynamicShared\":" + std::to_string(shape.dynamic_shared) + ",\"total\":{" + totals + "},\"lines\":[" +
         lines + "],\"instructions\":[" + ops + "]}";
}

}  // namespace vgpu
