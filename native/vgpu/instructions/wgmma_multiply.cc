// PTX ISA, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions": the arithmetic of wgmma.mma_async.
//
// Each of the four warps has 16 rows of D (64 x N), so a warp can compute its part alone. With g = lane / 4 and t =
// lane % 4, 32-bit register 4j + 2h + i of D holds row 16 warp + g + 8h and column 8j + 2t + i; 16-bit register 2j + h
// holds both columns. A in registers is laid out as for mma.
#include "check/monitor.h"
#include "instructions/convergence.h"
#include "instructions/tensor.h"
#include "instructions/wgmma.h"
#include "machine/address.h"
#include "machine/block.h"

namespace vgpu {
namespace {

using tensor::Format;

// A matrix descriptor: start address, leading and stride byte offsets in units of 16 bytes, base offset, swizzle.
struct Matrix {
  uint64_t start, leading, stride;
  uint64_t base;   // offset of the swizzle pattern: bits 7 to 9 of an address
  unsigned width;  // bytes per swizzled row: 16 (none), 32, 64, 128

  Matrix(Warp& w, uint64_t bits)
      : start((bits & 0x3fff) << 4),
        leading((bits >> 16 & 0x3fff) << 4),
        stride((bits >> 32 & 0x3fff) << 4),
        base((bits >> 49 & 7) << 7),
        width(bits >> 62 == 0   ? 16
              : bits >> 62 == 1 ? 128
              : bits >> 62 == 2 ? 64
                                : 32) {
    if (bits & 0x3ff1c000c000c000ull) synccheck_fault(w, -1, "a matrix descriptor has reserved bits set");
  }

  // The address of 16 bytes of the matrix. K-major: row `row` of M or N, `unit` along K. Otherwise: `row` is the index
  // along K, `unit` along M or N. (PTX ISA, "Strides" and "Canonical Layouts".)
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

// Reads eight times 16 bytes of shared memory through the asynchronous proxy.
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

uint64_t uniform(Warp& w, uint32_t slot, const char* what) {
  const uint64_t* v = w.lanes<const uint64_t>(slot);
  for (int l = 1; l < kLanes; l++)
    if (v[l] != v[0]) synccheck_fault(w, l, std::string("wgmma: ") + what + " differs between lanes");
  return v[0];
}

constexpr int kRows = 16;  // rows of D per warp

// Loads and widens `rows` rows (8 or 16) of k elements from `first_row` on: out[row][k]. A K-major row consists of two
// units of 16 bytes.
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
void multiply(Warp& w, const Op& op, const WgmmaForm& form, Accumulators::Result& result, const uint32_t* a_slots,
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
    auto each = [&](auto&& fn) {  // calls fn(element, register, lane, half) for all of D
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
void multiply_bytes(Warp& w, const Op& op, const WgmmaForm& form, Accumulators::Result& result, const uint32_t* a,
                    bool accumulate) {
  if (static_cast<Format>(form.format_b) == Format::e4m3)
    return multiply<F, Format::e4m3>(w, op, form, result, a, accumulate);
  multiply<F, Format::e5m2>(w, op, form, result, a, accumulate);
}

// 8-bit integers are always K-major.
void multiply_integers(Warp& w, const Op& op, const WgmmaForm& form, Accumulators::Result& result,
                       const uint32_t* a_slots, bool accumulate) {
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

}  // namespace

void wgmma_multiply(Warp& w, const Op& op, const WgmmaForm& form, Accumulators::Result& result, const uint32_t* a_slots,
                    bool accumulate) {
  if (form.integer) return multiply_integers(w, op, form, result, a_slots, accumulate);
  switch (static_cast<Format>(form.format_a)) {
    case Format::f16: return multiply<Format::f16>(w, op, form, result, a_slots, accumulate);
    case Format::bf16: return multiply<Format::bf16>(w, op, form, result, a_slots, accumulate);
    case Format::tf32: return multiply<Format::tf32>(w, op, form, result, a_slots, accumulate);
    case Format::e4m3: return multiply_bytes<Format::e4m3>(w, op, form, result, a_slots, accumulate);
    case Format::e5m2: return multiply_bytes<Format::e5m2>(w, op, form, result, a_slots, accumulate);
  }
}

}  // namespace vgpu
