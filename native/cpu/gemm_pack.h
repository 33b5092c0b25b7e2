#pragma once
// Packing of row-major matrices into panels (gemm_panels.h), sixteen bytes of each row at a time.
#include <algorithm>
#include <cstring>

#include "cpu/gemm_panels.h"
#include "cpu/simd.h"

namespace caracal::CARACAL_ISA {

typedef uint8_t Bytes16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint16_t Halves8 __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint32_t Words4 __attribute__((vector_size(16), aligned(1), may_alias));

// The sixteen rows of a panel, `bytes` bytes each, as an array of pointers. Rows beyond the matrix are zero.
class PanelRows {
 public:
  CARACAL_INLINE PanelRows(const std::byte* matrix, int64_t n, int64_t bytes, int64_t panel) : bytes_(bytes) {
    for (int64_t r = 0; r < kPanelColumns; r++) {
      const int64_t row = panel * kPanelColumns + r;
      rows_[r] = row < n ? matrix + row * bytes : nullptr;
    }
  }
  // Sixteen bytes of row r from byte `at` on, zeros past its end.
  CARACAL_INLINE Words4 load(int r, int64_t at) const {
    Words4 v{};
    if (!rows_[r]) return v;
    if (at + 16 <= bytes_) return *reinterpret_cast<const Words4*>(rows_[r] + at);
    memcpy(&v, rows_[r] + at, static_cast<size_t>(std::max<int64_t>(bytes_ - at, 0)));
    return v;
  }

 private:
  int64_t bytes_;
  const std::byte* rows_[kPanelColumns];
};

// Transposes a 4 x 4 matrix of 32-bit integers.
CARACAL_INLINE void transpose4(Words4& a, Words4& b, Words4& c, Words4& d) {
  const Words4 low = __builtin_shuffle(a, b, Words4{0, 4, 1, 5}), high = __builtin_shuffle(a, b, Words4{2, 6, 3, 7});
  const Words4 low2 = __builtin_shuffle(c, d, Words4{0, 4, 1, 5}), high2 = __builtin_shuffle(c, d, Words4{2, 6, 3, 7});
  a = __builtin_shuffle(low, low2, Words4{0, 1, 4, 5});
  b = __builtin_shuffle(low, low2, Words4{2, 3, 6, 7});
  c = __builtin_shuffle(high, high2, Words4{0, 1, 4, 5});
  d = __builtin_shuffle(high, high2, Words4{2, 3, 6, 7});
}

// Calls store(i, v) for the 32-bit integers i, i + 1 ... of rows; v[q] holds those of rows 4 q to 4 q + 3.
template <class Store>
CARACAL_INLINE void interleave_words(const PanelRows& rows, int64_t words, Store&& store) {
  for (int64_t i = 0; i < words; i += 4) {
    Words4 v[4][4];
    for (int q = 0; q < 4; q++) {
      for (int r = 0; r < 4; r++) v[q][r] = rows.load(q * 4 + r, i * 4);
      transpose4(v[q][0], v[q][1], v[q][2], v[q][3]);
    }
    for (int j = 0; j < 4 && i + j < words; j++) {
      const Words4 lanes[] = {v[0][j], v[1][j], v[2][j], v[3][j]};
      store(i + j, lanes);
    }
  }
}

// The same for 16-bit integers: lane j of v holds those of rows j and j + 8.
template <class Store>
CARACAL_INLINE void interleave_halves(const PanelRows& rows, int64_t halves, Store&& store) {
  for (int64_t i = 0; i < halves; i += 8) {
    Words4 low[8], high[8];
    for (int j = 0; j < 8; j++) {
      const Halves8 a = (Halves8)rows.load(j, i * 2), b = (Halves8)rows.load(j + 8, i * 2);
      low[j] = (Words4)__builtin_shuffle(a, b, Halves8{0, 8, 1, 9, 2, 10, 3, 11});
      high[j] = (Words4)__builtin_shuffle(a, b, Halves8{4, 12, 5, 13, 6, 14, 7, 15});
    }
    for (Words4* v : {low, high}) {
      transpose4(v[0], v[1], v[2], v[3]);
      transpose4(v[4], v[5], v[6], v[7]);
    }
    for (int j = 0; j < 8 && i + j < halves; j++) {
      const Words4* v = j < 4 ? low : high;
      const Words4 lanes[] = {v[j % 4], v[4 + j % 4]};
      store(i + j, lanes);
    }
  }
}

CARACAL_INLINE void pack_panel(float*, const std::byte* w, int64_t n, int64_t k, int64_t panel, std::byte* out) {
  interleave_words({w, n, k * 4, panel}, k, [&](int64_t i, const Words4* lanes) { memcpy(out + i * 64, lanes, 64); });
}

CARACAL_INLINE void pack_panel(bf16*, const std::byte* w, int64_t n, int64_t k, int64_t panel, std::byte* out) {
  interleave_halves({w, n, k * 2, panel}, k, [&](int64_t i, const Words4* lanes) { memcpy(out + i * 32, lanes, 32); });
}

// A pair of codes is a 16-bit integer.
CARACAL_INLINE void pack_panel(f8e4m3*, const std::byte* w, int64_t n, int64_t k, int64_t panel, std::byte* out) {
  interleave_halves({w, n, k, panel}, divide_up(k, 2),
                    [&](int64_t i, const Words4* lanes) { memcpy(out + i * 32, lanes, 32); });
}

// The index of the first NaN among n elements, or n.
CARACAL_INLINE int64_t find_nan(const f8e4m3* w, int64_t n) {
  constexpr int64_t block = 64;
  int64_t i = 0;
  for (; i + block <= n; i += block) {
    Bytes16 found{};
    for (int64_t j = 0; j < block; j += 16)
      found |= (Bytes16)((*reinterpret_cast<const Bytes16*>(w + i + j) & 0x7f) == 0x7f);
    uint64_t halves[2];
    memcpy(halves, &found, 16);
    if ((halves[0] | halves[1]) != 0) break;
  }
  while (i < n && (w[i].bits & 0x7f) != 0x7f) i++;
  return i;
}

// --- affine codes ---------------------------------------------------------------------------------------------------

// A row-major matrix [n, k] of codes of `bits` bits, each row one little-endian stream, with its scales and biases
// [n, k / groups.group]. Without biases, codes are offset by half their range: weight = scale * (code - 2^(bits - 1)).
struct AffineMatrix {
  int64_t n, k, bits;
  GroupScales groups;
  const std::byte* codes;
  const std::byte* scales;
  const std::byte* biases;

  CARACAL_INLINE DType dtype() const { return bits <= 4 ? DType::q4 : DType::q8; }
  CARACAL_INLINE int64_t row_bytes() const { return k * bits / 8; }
};

// Spreads four codes of four bits, of which the first is the lowest, to the bytes of a lane.
CARACAL_INLINE Words4 spread(Words4 codes) {
  codes = (codes | codes << 8) & 0x00ff00ffu;
  return (codes | codes << 4) & 0x0f0f0f0fu;
}

// Moves the upper half of each part of `from` bits to the middle of a part of `to` bits.
template <int from, int to>
CARACAL_INLINE uint64_t spread_halves(uint64_t parts) {
  constexpr auto low_halves = [] {
    uint64_t mask = 0;
    for (int at = 0; at < 64; at += to) mask |= ((uint64_t{1} << from / 2) - 1) << at;
    return mask;
  }();
  return (parts & low_halves) | (parts >> from / 2 & low_halves) << to / 2;
}

// Rewrites a row's codes of kBits bits with the kWide bits of its packed dtype, eight codes at a time. It loads eight
// bytes where the row has them, because putting three, five or six together would stall on store forwarding.
template <int kBits, int kWide>
CARACAL_INLINE void widen_row(const std::byte* row, int64_t k, std::byte* out) {
  for (int64_t i = 0; i < k; i += 8, row += kBits, out += kWide) {
    uint64_t codes = 0;
    if ((k - i) / 8 * kBits >= 8)
      memcpy(&codes, row, 8);
    else
      memcpy(&codes, row, kBits);
    codes = spread_halves<8 * kBits, 8 * kWide>(codes);
    codes = spread_halves<4 * kBits, 4 * kWide>(codes);
    codes = spread_halves<2 * kBits, 2 * kWide>(codes);
    memcpy(out, &codes, kWide);
  }
}

// The rows of a panel with the bits of their packed dtype, as a matrix of up to sixteen rows.
CARACAL_INLINE void widen_codes(const AffineMatrix& m, int64_t panel, std::byte* out) {
  const int64_t rows = std::min(kPanelColumns, m.n - panel * kPanelColumns);
  for (int64_t r = 0; r < rows; r++, out += code_bytes(m.k, m.dtype())) {
    const std::byte* row = m.codes + (panel * kPanelColumns + r) * m.row_bytes();
    if (m.bits == 2)
      widen_row<2, 4>(row, m.k, out);
    else if (m.bits == 3)
      widen_row<3, 4>(row, m.k, out);
    else if (m.bits == 5)
      widen_row<5, 8>(row, m.k, out);
    else
      widen_row<6, 8>(row, m.k, out);
  }
}

// Writes the sixteen scales of a group, then its biases.
template <class T>
CARACAL_INLINE void pack_scales(const AffineMatrix& m, int64_t panel, int64_t group, std::byte* out) {
  const int64_t groups = m.k / m.groups.group;
  const auto* scales = reinterpret_cast<const T*>(m.scales);
  const auto* biases = reinterpret_cast<const T*>(m.biases);
  T packed[2][kPanelColumns] = {};
  for (int64_t r = 0; r < kPanelColumns && panel * kPanelColumns + r < m.n; r++) {
    const int64_t at = (panel * kPanelColumns + r) * groups + group;
    packed[0][r] = scales[at];
    packed[1][r] = biases ? biases[at] : from_float<T>(to_float(scales[at]) * -static_cast<float>(1 << (m.bits - 1)));
  }
  memcpy(out, packed, sizeof(packed));
}

// `widened` has room for a panel's codes, for those that are stored with other bits than 4 or 8.
CARACAL_INLINE void pack_panel(const AffineMatrix& m, int64_t panel, std::byte* widened, std::byte* out) {
  const bool is_q4 = m.dtype() == DType::q4, is_widened = m.bits != 4 && m.bits != 8;
  if (is_widened) widen_codes(m, panel, widened);
  const int64_t row_bytes = static_cast<int64_t>(code_bytes(m.k, m.dtype())), steps = m.k / 4;
  const PanelRows rows = is_widened ? PanelRows(widened, m.n - panel * kPanelColumns, row_bytes, 0)
                                    : PanelRows(m.codes, m.n, row_bytes, panel);
  const int64_t group_steps = m.groups.group / 4, step_bytes = is_q4 ? 32 : 64;
  const int64_t scale_bytes = 2 * kPanelColumns * static_cast<int64_t>(dtype_bytes(m.groups.dtype));
  const auto at = [&](int64_t step) { return out + step * step_bytes + step / group_steps * scale_bytes; };
  if (is_q4)
    interleave_halves(rows, steps, [&](int64_t i, const Words4* lanes) {
      const Words4 low = spread(lanes[0] & 0xffffu) | spread(lanes[0] >> 16) << 4;
      const Words4 high = spread(lanes[1] & 0xffffu) | spread(lanes[1] >> 16) << 4;
      memcpy(at(i), &low, 16);
      memcpy(at(i) + 16, &high, 16);
    });
  else
    interleave_words(rows, steps, [&](int64_t i, const Words4* lanes) { memcpy(at(i), lanes, 64); });
  for (int64_t g = 0; g < m.k / m.groups.group; g++) {
    std::byte* scales = at((g + 1) * group_steps) - scale_bytes;
    if (m.groups.dtype == DType::bf16)
      pack_scales<bf16>(m, panel, g, scales);
    else if (m.groups.dtype == DType::f16)
      pack_scales<f16>(m, panel, g, scales);
    else
      pack_scales<float>(m, panel, g, scales);
  }
}

}  // namespace caracal::CARACAL_ISA
