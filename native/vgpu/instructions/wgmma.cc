// PTX ISA, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions": wgmma.
//
// Of D (64 x N) each of the four warps has 16 rows, so a warp can compute its part alone: with g = lane / 4 and
// t = lane % 4, 32-bit register 4j + 2h + i of D has row 16 warp + g + 8h and column 8j + 2t + i; of 16-bit D register
// 2j + h has both columns. A in registers is laid out as for mma.
#include "check/monitor.h"
#include "instructions/convergence.h"
#include "instructions/list.h"
#include "instructions/tensor.h"
#include "machine/address.h"
#include "machine/block.h"

namespace vgpu {
namespace {

using tensor::Format;

// A matrix descriptor: start address, leading and stride byte offsets in units of 16 bytes, base offset, swizzle.
struct Matrix {
  uint64_t start, leading, stride;
  uint64_t base;   // where the swizzle's pattern begins: bits 7 to 9 of an address
  unsigned width;  // bytes of a swizzled row: 16 (none), 32, 64, 128

  Matrix(Warp& w, uint64_t bits)
      : start((bits & 0x3fff) << 4),
        leading((bits >> 16 & 0x3fff) << 4),
        stride((bits >> 32 & 0x3fff) << 4),
        base((bits >> 49 & 7) << 7),
        width(bits >> 62 == 0   ? 16
              : bits >> 62 == 1 ? 128
              : bits >> 62 == 2 ? 64
                                : 32) {
    if (bits & 0x3ff1c000c000c000ull) fault_of_synchronization(w, -1, "a matrix descriptor with reserved bits set");
  }

  // The 16 bytes with row `row` of the major dimension's other side: for K-major, `unit` counts along K; else `row` is
  // the k, and `unit` counts along M or N. (PTX ISA, "Strides" and "Canonical Layouts".)
  uint64_t address(bool k_major, uint64_t row, uint64_t unit) const {
    uint64_t at = start;
    if (width == 16) {
      at +=
          k_major ? row % 8 * 16 + row / 8 * stride + unit * leading : row % 8 * 16 + row / 8 * leading + unit * stride;
      return at;
    }
    const uint64_t units = width / 16;
    at += row % 8 * width + row / 8 * stride;
    at += k_major ? unit * 16 : unit % units * 16 + unit / units * leading;
    return at ^ ((at - base) >> 7 & (units - 1)) << 4;
  }
};

// Eight times 16 bytes of shared memory, read by the asynchronous proxy.
void read_core(Warp& w, const uint64_t (&address)[8], std::byte* out) {
  Block& block = w.block;
  uint64_t lanes[kLanes];
  for (int i = 0; i < 8; i++) {
    if (address[i] + 16 > block.shared_bytes)
      throw DeviceFault{{FaultKind::illegal_address,
                         "memcheck",
                         "wgmma reads shared memory at " + std::to_string(address[i]) + ": the block has " +
                             std::to_string(block.shared_bytes) + " bytes",
                         {}}};
    std::memcpy(out + 16 * i, block.shared.data() + address[i], 16);
    lanes[i] = address[i];
  }
  if (Monitor* m = block.launch.monitor.get())
    m->access(w, Space::shared, *block.shadow, lanes, 16, Access::read, 0xff, By::async_proxy);
}

// Which of the forms an instruction has; in op.imm.
struct Form {
  uint32_t n : 9, k_bytes_log : 3, format : 4, half_d : 1, integer : 1, unsigned_a : 1, unsigned_b : 1, satfinite : 1;
  uint32_t format_b : 4, a_in_registers : 1, negate_a : 1, negate_b : 1, mn_major_a : 1, mn_major_b : 1;
  uint32_t scale_d_negated : 1, has_scale_d : 1;
};
static_assert(sizeof(Form) <= 8);

uint64_t uniform(Warp& w, uint32_t slot, const char* what) {
  const uint64_t* v = w.lanes<const uint64_t>(slot);
  for (int l = 1; l < kLanes; l++)
    if (v[l] != v[0]) fault_of_synchronization(w, l, std::string("wgmma: ") + what + " differs between lanes");
  return v[0];
}

constexpr int kRows = 16;  // of a warp

// k elements of `rows` rows (8 or 16) from 8 * unit8 on, widened: out[row][k]. K-major: two units of 16 bytes per row.
template <Format F>
void load_rows(Warp& w, const Matrix& m, bool k_major, uint64_t first_row, int rows, float* out) {
  constexpr int in_unit = 16 / tensor::bytes_of(F), k = 2 * in_unit;
  std::byte core[128];
  float wide[16];
  for (int eight = 0; eight < rows; eight += 8)
    for (int part = 0; part < 2; part++) {
      uint64_t address[8];
      for (int i = 0; i < 8; i++)
        address[i] =
            k_major
                ? m.address(true, first_row + static_cast<uint64_t>(eight + i), static_cast<uint64_t>(part))
                : m.address(false, static_cast<uint64_t>(8 * part + i), (first_row + static_cast<uint64_t>(eight)) / 8);
      read_core(w, address, core);
      for (int i = 0; i < 8; i++) {
        tensor::widen<F>(core + 16 * i, wide);
        if (k_major)
          std::memcpy(out + (eight + i) * k + part * in_unit, wide, sizeof(float) * in_unit);
        else
          for (int j = 0; j < 8; j++) out[(eight + j) * k + 8 * part + i] = wide[j];
      }
    }
}

template <Format F>
void load_registers(Warp& w, const uint32_t* slots, float* out) {
  constexpr int in_unit = 16 / tensor::bytes_of(F), k = 2 * in_unit;
  for (int r = 0; r < 4; r++) {
    const uint32_t* a = w.lanes<const uint32_t>(slots[r]);
    for (int g = 0; g < 8; g++) {
      float wide[16];
      tensor::widen<F>(a + 4 * g, wide);
      std::memcpy(out + (g + 8 * (r % 2)) * k + r / 2 * in_unit, wide, sizeof(float) * in_unit);
    }
  }
}

float half_to_float(uint16_t h) { return _cvtsh_ss(h); }

template <Format F, Format G = F>
void multiply(Warp& w, const Op& op, const Form& form, Accumulators::Result& result, const uint32_t* a_slots,
              bool accumulate) {
  constexpr int k = 32 / tensor::bytes_of(F);
  float a[kRows * k], b_rows[8 * k], b[8 * k], d[kRows * 8];
  const uint64_t row = w.index % 4 * kRows;
  if (form.a_in_registers)
    load_registers<F>(w, a_slots, a);
  else
    load_rows<F>(w, Matrix(w, uniform(w, op.a, "the descriptor of A")), !form.mn_major_a, row, kRows, a);
  if (form.negate_a != form.negate_b)
    for (float& x : a) x = -x;
  const Matrix mb(w, uniform(w, op.b, "the descriptor of B"));
  for (uint32_t j = 0; j < form.n / 8; j++) {
    load_rows<G>(w, mb, !form.mn_major_b, 8 * j, 8, b_rows);
    tensor::transpose8(b_rows, k, b);
    auto each = [&](auto&& fn) {  // of D: element, register, lane, half
      for (int lane = 0; lane < kLanes; lane++)
        for (int h = 0; h < 2; h++)
          for (int i = 0; i < 2; i++)
            fn(d[(lane / 4 + 8 * h) * 8 + 2 * (lane % 4) + i],
               (form.half_d ? 2 * j : 4 * j) + static_cast<uint32_t>(form.half_d ? h : 2 * h + i), lane, i);
    };
    auto* halves = reinterpret_cast<uint16_t*>(result.values.data());
    auto* singles = reinterpret_cast<float*>(result.values.data());
    each([&](float& x, uint32_t r, int lane, int i) {
      x = !accumulate ? 0.f
          : form.half_d
              ? half_to_float(halves[(r * kLanes + static_cast<uint32_t>(lane)) * 2 + static_cast<uint32_t>(i)])
              : singles[r * kLanes + static_cast<uint32_t>(lane)];
    });
    tensor::multiply(d, a, b, kRows, k, tensor::bytes_of(F), w.block.launch);
    each([&](float& x, uint32_t r, int lane, int i) {
      if (form.half_d)
        halves[(r * kLanes + static_cast<uint32_t>(lane)) * 2 + static_cast<uint32_t>(i)] =
            static_cast<uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT));
      else
        singles[r * kLanes + static_cast<uint32_t>(lane)] = x;
    });
  }
}

template <Format F>
void multiply_bytes(Warp& w, const Op& op, const Form& form, Accumulators::Result& result, const uint32_t* a,
                    bool accumulate) {
  if (static_cast<Format>(form.format_b) == Format::e4m3)
    return multiply<F, Format::e4m3>(w, op, form, result, a, accumulate);
  multiply<F, Format::e5m2>(w, op, form, result, a, accumulate);
}

// 8-bit integers, always K-major.
void multiply_integers(Warp& w, const Op& op, const Form& form, Accumulators::Result& result, const uint32_t* a_slots,
                       bool accumulate) {
  constexpr int k = 32;
  std::byte core[128];
  auto extended = [](std::byte x, bool is_unsigned) {
    return is_unsigned ? static_cast<int32_t>(static_cast<uint8_t>(x)) : static_cast<int32_t>(static_cast<int8_t>(x));
  };
  int32_t a[kRows][k], b[8][k];
  const uint64_t first = w.index % 4 * kRows;
  auto load = [&](const Matrix& m, uint64_t row, bool is_unsigned, int32_t (*out)[k]) {
    for (int part = 0; part < 2; part++) {
      uint64_t address[8];
      for (uint64_t i = 0; i < 8; i++) address[i] = m.address(true, row + i, static_cast<uint64_t>(part));
      read_core(w, address, core);
      for (int i = 0; i < 8; i++)
        for (int j = 0; j < 16; j++) out[i][16 * part + j] = extended(core[16 * i + j], is_unsigned);
    }
  };
  if (form.a_in_registers) {
    for (int r = 0; r < 4; r++) {
      const auto* bytes = w.lanes<const std::byte>(a_slots[r]);
      for (int lane = 0; lane < kLanes; lane++)
        for (int i = 0; i < 4; i++)
          a[lane / 4 + 8 * (r % 2)][16 * (r / 2) + 4 * (lane % 4) + i] = extended(bytes[4 * lane + i], form.unsigned_a);
    }
  } else {
    const Matrix m(w, uniform(w, op.a, "the descriptor of A"));
    load(m, first, form.unsigned_a, a);
    load(m, first + 8, form.unsigned_a, a + 8);
  }
  const Matrix mb(w, uniform(w, op.b, "the descriptor of B"));
  auto* d = reinterpret_cast<int32_t*>(result.values.data());
  for (uint32_t j = 0; j < form.n / 8; j++) {
    load(mb, 8 * j, form.unsigned_b, b);
    for (int lane = 0; lane < kLanes; lane++)
      for (int r = 0; r < 4; r++) {
        int32_t sum = 0;
        const int32_t* x = a[lane / 4 + 8 * (r / 2)];
        const int32_t* y = b[2 * (lane % 4) + r % 2];
        for (int i = 0; i < k; i++) sum += x[i] * y[i];
        int32_t& value = d[(4 * j + static_cast<uint32_t>(r)) * kLanes + static_cast<uint32_t>(lane)];
        value = tensor::add_integers(accumulate ? value : 0, sum, form.satfinite);
      }
  }
}

std::span<const std::unique_ptr<Warp>> warpgroup_of(Warp& w) {
  const size_t first = w.index & ~3u;
  if (w.block.warps.size() < first + 4)
    fault_of_synchronization(w, -1, "wgmma by a warp whose warpgroup has not four warps");
  return {w.block.warps.data() + first, 4};
}

void run_mma_async(Warp& w, const Op& op) {
  if (!whole_warp(w)) return;
  Form form;
  std::memcpy(&form, &op.imm, sizeof form);
  Accumulators& acc = w.accumulators;
  if (!acc.fenced) fault_of_synchronization(w, -1, "wgmma.mma_async without a wgmma.fence before it");
  warpgroup_of(w);
  bool accumulate = true;
  if (form.has_scale_d) {
    const uint32_t p = w.predicate(op.c) ^ (form.scale_d_negated ? kAllLanes : 0);
    if (p != 0 && p != kAllLanes) fault_of_synchronization(w, -1, "wgmma: scale-d differs between lanes");
    accumulate = p != 0;
  }
  const uint32_t* slots = w.split().frame->routine->lists.data() + op.list;
  const size_t n_d = op.count - (form.a_in_registers ? 4u : 0u);
  std::vector<uint32_t*> registers(n_d);
  for (size_t i = 0; i < n_d; i++) registers[i] = w.lanes<uint32_t>(slots[i]);
  Accumulators::Result& result = acc.open(registers);
  if (result.registers != registers)
    fault_of_synchronization(w, -1, "wgmma with accumulators that overlap others in flight");
  if (Monitor* m = w.block.launch.monitor.get()) m->issued(w);
  acc.issued = acc.issued * 0x9e3779b97f4a7c15ull + reinterpret_cast<uint64_t>(&op) + w.lanes<const uint64_t>(op.b)[0];
  const uint32_t* a = slots + n_d;
  if (form.integer) return multiply_integers(w, op, form, result, a, accumulate);
  switch (static_cast<Format>(form.format)) {
    case Format::f16: return multiply<Format::f16>(w, op, form, result, a, accumulate);
    case Format::bf16: return multiply<Format::bf16>(w, op, form, result, a, accumulate);
    case Format::tf32: return multiply<Format::tf32>(w, op, form, result, a, accumulate);
    case Format::e4m3: return multiply_bytes<Format::e4m3>(w, op, form, result, a, accumulate);
    case Format::e5m2: return multiply_bytes<Format::e5m2>(w, op, form, result, a, accumulate);
  }
}

// .m64nNk16: N, and k as the type has it.
uint32_t shape(Decoding& i, unsigned k) {
  const std::string text(i.peek());
  unsigned n = 0, given = 0;
  char rest = 0;
  if (std::sscanf(text.c_str(), "m64n%uk%u%c", &n, &given, &rest) != 2 || n % 8 != 0 || n < 8 || n > 256 ||
      (k && given != k))
    i.fail("unknown shape ." + text);
  i.take(i.peek());
  return n | given << 16;
}

Format format_of(Type t) {
  switch (t) {
    case Type::f16: return Format::f16;
    case Type::bf16: return Format::bf16;
    case Type::tf32: return Format::tf32;
    case Type::e4m3: return Format::e4m3;
    default: return Format::e5m2;
  }
}

void mma_async(Decoding& i) {
  i.one_of({"sync"});
  i.one_of({"aligned"});
  const uint32_t given = shape(i, 0);
  Form form{};
  form.n = given & 0xffff;
  const unsigned k = given >> 16;
  const bool early = i.take("satfinite");  // ptxas takes it in both places, and CUTLASS writes it in the other one
  const Type d = i.type({Type::f32, Type::f16, Type::s32});
  if (early && d != Type::s32) i.fail(".satfinite is for integers");
  form.half_d = d == Type::f16;
  form.integer = d == Type::s32;
  bool transposable = false;
  if (form.integer) {
    form.unsigned_a = i.type({Type::s8, Type::u8}) == Type::u8;
    form.unsigned_b = i.type({Type::s8, Type::u8}) == Type::u8;
    form.satfinite = early || i.take("satfinite");
    if (k != 32) i.fail("integers have k32");
    if (form.n > 32 && form.n % 16 != 0) i.fail("integers have N a multiple of 16 above 32");
  } else {
    const Type a = i.type({Type::f16, Type::bf16, Type::tf32, Type::e4m3, Type::e5m2});
    const bool eight_bits = a == Type::e4m3 || a == Type::e5m2;
    const Type b = eight_bits ? i.type({Type::e4m3, Type::e5m2}) : i.type({a});
    form.format = static_cast<uint32_t>(format_of(a));
    form.format_b = static_cast<uint32_t>(format_of(b));
    if (form.half_d && (a == Type::bf16 || a == Type::tf32))
      i.fail("an accumulator of .f16 goes with .f16 and 8-bit factors");
    transposable = a == Type::f16 || a == Type::bf16;
    if (k != (transposable ? 16u : a == Type::tf32 ? 8u : 32u)) i.fail("a shape of another type");
  }
  form.a_in_registers = i.operand(1).kind == Operand::Kind::list;
  // d, a, b, scale-d {, imm-scale-a, imm-scale-b {, imm-trans-a}, imm-trans-b}
  const size_t scales = form.integer ? 0 : 2, transposes = !transposable ? 0 : form.a_in_registers ? 1 : 2;
  i.expect(4 + scales + transposes);
  if (scales) {
    form.negate_a = i.immediate(4, -1, 1) == -1;
    form.negate_b = i.immediate(5, -1, 1) == -1;
    if (i.immediate(4, -1, 1) == 0 || i.immediate(5, -1, 1) == 0) i.fail("imm-scale is 1 or -1");
  }
  if (transposes == 2) form.mn_major_a = i.immediate(6, 0, 1) == 1;
  if (transposes) form.mn_major_b = i.immediate(5 + transposes, 0, 1) == 1;

  Op& op = i.op();
  const Operand& registers = i.operand(0);
  const size_t n_d = form.n / (form.half_d ? 4 : 2);
  if (registers.kind != Operand::Kind::list || registers.parts.size() != n_d)
    i.fail("D has " + std::to_string(n_d) + " registers");
  const Type part = form.half_d ? Type::b32 : d;
  for (const Operand& o : registers.parts) {
    i.read(o, part);
    const uint32_t slot = i.write(o, part);
    i.writes_late(slot);
    i.append(slot);
  }
  if (form.a_in_registers) {
    if (i.operand(1).parts.size() != 4) i.fail("A has 4 registers");
    for (const Operand& o : i.operand(1).parts) i.append(i.read(o, Type::b32));
  } else {
    op.a = i.read(1, Type::b64);
  }
  op.b = i.read(2, Type::b64);
  bool negated = false;
  op.c = i.read_predicate(i.operand(3), negated);
  form.has_scale_d = true;
  form.scale_d_negated = negated;
  std::memcpy(&op.imm, &form, sizeof form);
  i.run(run_mma_async, OpClass::tensor);
}

void run_fence(Warp& w, const Op&) {
  if (whole_warp(w)) w.accumulators.fenced = true;
}

void run_commit(Warp& w, const Op&) {
  if (!whole_warp(w)) return;
  Accumulators& acc = w.accumulators;
  if (!w.block.warpgroups.agrees(w.index / 4, acc.open_group(), acc.issued))
    fault_of_synchronization(w, -1, "the warps of a warpgroup have not issued the same wgmma");
  acc.issued = 0;
  if (Monitor* m = w.block.launch.monitor.get()) acc.times.push_back(m->copies_time(w));
  acc.commit();
}

void run_wait(Warp& w, const Op& op) {
  if (!whole_warp(w)) return;
  Accumulators& acc = w.accumulators;
  const auto pending = static_cast<uint64_t>(op.imm);
  if (acc.open_group() > pending) {
    const uint64_t last = acc.open_group() - pending - 1;
    // A group is the warpgroup's: it is not complete before all four warps have committed theirs, and who has waited
    // for it may release what any of the four has read. (CUTLASS has one thread of a warpgroup do so.)
    for (const auto& other : warpgroup_of(w))
      if (other->accumulators.open_group() <= last) return w.wait();
    if (Monitor* m = w.block.launch.monitor.get())
      for (const auto& other : warpgroup_of(w)) m->waited_for_copies(w, *other, other->accumulators.times[last]);
  }
  acc.wait(pending);
}

void wgmma(Decoding& i) {
  i.needs(90, true);
  const int which = i.one_of({"mma_async", "fence", "commit_group", "wait_group"});
  if (which == 0) return mma_async(i);
  i.one_of({"sync"});
  i.one_of({"aligned"});
  i.expect(which == 3 ? 1 : 0);
  if (which == 3) {
    i.op().imm = i.immediate(0, 0, 255);
    i.waits_for_late();
  }
  i.run(which == 1 ? run_fence : which == 2 ? run_commit : run_wait, OpClass::tensor);
}

}  // namespace

std::span<const Opcode> wgmma_opcodes() {
  static const Opcode table[] = {{"wgmma", wgmma}};
  return table;
}

}  // namespace vgpu
