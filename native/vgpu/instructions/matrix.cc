// PTX ISA, "Warp Level Matrix Multiply-Accumulate Instructions": ldmatrix, stmatrix, movmatrix, mma.
//
// Layout of the fragments, with g = lane / 4 and t = lane % 4: register r of A holds the 4 bytes (f64: 8) at 4t + 16 (r
// / 2) of row g + 8 (r % 2); register r of B holds the bytes at 4t + 16 r of column g; registers 2h and 2h + 1 of C and
// D hold columns 2t and 2t + 1 of row g + 8h. The four lanes with the same g thus hold 16 consecutive bytes of a row.
#include <cmath>

#include "instructions/convergence.h"
#include "instructions/list.h"
#include "instructions/tensor.h"
#include "machine/address.h"
#include "machine/block.h"

namespace vgpu {
namespace {

using tensor::Format;

const uint32_t* list_of(Warp& w, const Op& op) { return w.split().frame->routine->lists.data() + op.list; }

// --- ldmatrix, stmatrix, movmatrix -----------------------------------------------------------------------------------

// Transposes 8 x 8 row-major values of 16 bits.
void transpose_halves(const std::byte* from, std::byte* to) {
  uint16_t a[8][8], b[8][8];
  std::memcpy(a, from, sizeof a);
  for (int i = 0; i < 8; i++)
    for (int j = 0; j < 8; j++) b[j][i] = a[i][j];
  std::memcpy(to, b, sizeof b);
}

constexpr uint8_t kTransposed = 1, kGeneric = 2;

// Resolves the row addresses: lane 8m + i holds the address of row i of matrix m. The other lanes' addresses are
// unused.
void rows_of(Warp& w, const Op& op, Access access, std::byte* (&host)[kLanes]) {
  const uint32_t used = op.count == 4 ? kAllLanes : (1u << 8 * op.count) - 1;
  uint64_t address[kLanes];
  addresses_of(w, op, address);
  if (op.flags & kGeneric)
    for (int l = 0; l < kLanes; l++)
      if (used >> l & 1 && (address[l] & ~(kWindowBytes - 1)) != kSharedWindow) {
        w.fault_lane = l;
        throw DeviceFault{{FaultKind::invalid_address_space, "memcheck", "a row address is outside shared memory", {}}};
      }
  resolve(w, op.flags & kGeneric ? Space::generic : Space::shared, address, 16, access, used, host);
}

void run_ldmatrix(Warp& w, const Op& op) {
  if (!whole_warp(w)) return;
  std::byte* row[kLanes];
  rows_of(w, op, Access::read, row);
  for (unsigned m = 0; m < op.count; m++) {
    std::byte* d = w.lanes<std::byte>(list_of(w, op)[m]);
    std::byte matrix[128];
    std::byte* to = op.flags & kTransposed ? matrix : d;
    for (unsigned i = 0; i < 8; i++) std::memcpy(to + 16 * i, row[8 * m + i], 16);
    if (op.flags & kTransposed) transpose_halves(matrix, d);
  }
}

void run_stmatrix(Warp& w, const Op& op) {
  if (!whole_warp(w)) return;
  std::byte* row[kLanes];
  rows_of(w, op, Access::write, row);
  for (unsigned m = 0; m < op.count; m++) {
    const std::byte* from = w.lanes<const std::byte>(list_of(w, op)[m]);
    std::byte matrix[128];
    if (op.flags & kTransposed) transpose_halves(from, matrix);
    for (unsigned i = 0; i < 8; i++) std::memcpy(row[8 * m + i], (op.flags & kTransposed ? matrix : from) + 16 * i, 16);
  }
}

void run_movmatrix(Warp& w, const Op& op) {
  if (whole_warp(w)) transpose_halves(w.lanes<const std::byte>(op.a), w.lanes<std::byte>(op.d));
}

// Binds one register, or several in braces.
template <class F>
void each_register(Decoding& i, size_t operand, size_t count, F&& bind) {
  const Operand& o = i.operand(operand);
  if (o.kind != Operand::Kind::list && count == 1) return bind(o);
  if (o.kind != Operand::Kind::list || o.parts.size() != count)
    i.fail("operand " + std::to_string(operand + 1) + " must have " + std::to_string(count) + " registers");
  for (const Operand& part : o.parts) bind(part);
}

void move_matrices(Decoding& i, bool loads) {
  i.one_of({"sync"});
  i.one_of({"aligned"});
  // CUTLASS writes .x4.trans.m8n8, which ptxas accepts.
  const bool shape_first = i.take("m8n8");
  const size_t count = size_t{1} << i.one_of({"x1", "x2", "x4"});
  if (i.take("trans")) i.op().flags |= kTransposed;
  if (!shape_first) i.one_of({"m8n8"});
  const bool generic = i.take_any({"shared", "shared::cta"}) < 0;
  if (generic) i.op().flags |= kGeneric;
  i.type({Type::b16});
  i.expect(2);
  i.address(loads ? 1 : 0, generic ? Space::generic : Space::shared);
  each_register(i, loads ? 0 : 1, count,
                [&](const Operand& o) { i.append(loads ? i.write(o, Type::b32) : i.read(o, Type::b32)); });
  i.run(loads ? run_ldmatrix : run_stmatrix, loads ? OpClass::load : OpClass::store);
}

void ldmatrix(Decoding& i) { move_matrices(i, true); }
void stmatrix(Decoding& i) {
  i.needs(90);
  move_matrices(i, false);
}

void movmatrix(Decoding& i) {
  i.one_of({"sync"});
  i.one_of({"aligned"});
  i.one_of({"m8n8"});
  i.one_of({"trans"});
  i.type({Type::b16});
  bind_unary(i, Type::b32, Type::b32);
  i.run(run_movmatrix, OpClass::move);
}

// --- mma -------------------------------------------------------------------------------------------------------------
// list: the registers of A, B, C, D.

constexpr uint8_t kHalf = 1, kSatfinite = 2;  // for C and D

// Columns 0 to 7 of row 8h + g are at out[8 * (8h + g)].
void load_c(Warp& w, const uint32_t* c, bool half, float* out) {
  for (int h = 0; h < 2; h++)
    for (int g = 0; g < 8; g++, out += 8) {
      if (half) {
        _mm256_storeu_ps(out, _mm256_cvtph_ps(_mm_load_si128(w.lanes<const __m128i>(c[h]) + g)));
        continue;
      }
      const __m128 even = _mm_load_ps(w.lanes<const float>(c[2 * h]) + 4 * g),
                   odd = _mm_load_ps(w.lanes<const float>(c[2 * h + 1]) + 4 * g);
      _mm_storeu_ps(out, _mm_unpacklo_ps(even, odd));
      _mm_storeu_ps(out + 4, _mm_unpackhi_ps(even, odd));
    }
}

void store_d(Warp& w, const uint32_t* d, bool half, const float* in) {
  for (int h = 0; h < 2; h++)
    for (int g = 0; g < 8; g++, in += 8) {
      if (half) {
        _mm_store_si128(w.lanes<__m128i>(d[h]) + g, _mm256_cvtps_ph(_mm256_loadu_ps(in), _MM_FROUND_TO_NEAREST_INT));
        continue;
      }
      const __m128 low = _mm_loadu_ps(in), high = _mm_loadu_ps(in + 4);
      _mm_store_ps(w.lanes<float>(d[2 * h]) + 4 * g, _mm_shuffle_ps(low, high, 0x88));
      _mm_store_ps(w.lanes<float>(d[2 * h + 1]) + 4 * g, _mm_shuffle_ps(low, high, 0xdd));
    }
}

// RowBytes: bytes of a row of A and of a column of B, 16 or 32.
template <Format A, Format B, int RowBytes>
void run_mma(Warp& w, const Op& op) {
  if (!whole_warp(w)) return;
  constexpr int halves = RowBytes / 16, per = 16 / tensor::bytes_of(A), k = halves * per;
  const uint32_t *ra = list_of(w, op), *rb = ra + 2 * halves, *rc = rb + halves, *rd = rc + (op.flags & kHalf ? 2 : 4);
  alignas(32) float a[16 * k], columns[8 * k], b[8 * k], d[16 * 8];
  for (int r = 0; r < 2 * halves; r++)
    for (int g = 0; g < 8; g++)
      tensor::widen<A>(w.lanes<const std::byte>(ra[r]) + 16 * g, a + (8 * (r % 2) + g) * k + per * (r / 2));
  for (int r = 0; r < halves; r++)
    for (int g = 0; g < 8; g++) tensor::widen<B>(w.lanes<const std::byte>(rb[r]) + 16 * g, columns + g * k + per * r);
  tensor::transpose8(columns, k, b);
  load_c(w, rc, op.flags & kHalf, d);
  tensor::multiply(d, a, b, 16, k, tensor::bytes_of(A), w.block.launch);
  store_d(w, rd, op.flags & kHalf, d);
}

// Rows: 8 or 16. Bits: 4 or 8 per element.
template <bool SignedA, bool SignedB, int Bits, int Rows, int RowBytes>
void run_mma_integer(Warp& w, const Op& op) {
  if (!whole_warp(w)) return;
  constexpr int halves = RowBytes / 16, per = 128 / Bits, k = halves * per, parts = Rows / 8;
  const uint32_t *ra = list_of(w, op), *rb = ra + parts * halves, *rc = rb + halves, *rd = rc + 2 * parts;
  alignas(32) int16_t a[Rows][k], columns[8][k];
  alignas(32) int32_t b[8 * k / 2], sum[Rows * 8];
  auto widen = [](const uint8_t* from, int16_t* to, bool is_signed) {
    for (int i = 0; i < per; i++) {
      const int v = Bits == 8 ? from[i] : from[i / 2] >> 4 * (i % 2) & 15;
      to[i] = static_cast<int16_t>(is_signed && v >= 1 << (Bits - 1) ? v - (1 << Bits) : v);
    }
  };
  for (int r = 0; r < parts * halves; r++)
    for (int g = 0; g < 8; g++)
      widen(w.lanes<const uint8_t>(ra[r]) + 16 * g, a[8 * (r % parts) + g] + per * (r / parts), SignedA);
  for (int r = 0; r < halves; r++)
    for (int g = 0; g < 8; g++) widen(w.lanes<const uint8_t>(rb[r]) + 16 * g, columns[g] + per * r, SignedB);
  int32_t pairs[Rows * k / 2];
  std::memcpy(pairs, a, sizeof a);
  for (int g = 0; g < 8; g++)
    for (int i = 0; i < k / 2; i++) std::memcpy(b + 8 * i + g, columns[g] + 2 * i, 4);
  tensor::multiply_pairs(sum, pairs, b, Rows, k / 2);
  int32_t d[2 * parts][kLanes];  // the registers of D may be those of C in another order
  for (int r = 0; r < 2 * parts; r++) {
    const int32_t* c = w.lanes<const int32_t>(rc[r]);
    for (int l = 0; l < kLanes; l++)
      d[r][l] = tensor::add_integers(c[l], sum[8 * (8 * (r / 2) + l / 4) + 2 * (l % 4) + r % 2], op.flags & kSatfinite);
  }
  for (int r = 0; r < 2 * parts; r++) std::memcpy(w.lanes<int32_t>(rd[r]), d[r], sizeof d[r]);
}

// Rows: 8 or 16. K: 4, 8 or 16.
template <int Rows, int K>
void run_mma_double(Warp& w, const Op& op) {
  if (!whole_warp(w)) return;
  constexpr int parts = Rows / 8, chunks = K / 4;
  const uint32_t *ra = list_of(w, op), *rb = ra + parts * chunks, *rc = rb + chunks, *rd = rc + 2 * parts;
  double d[2 * parts][kLanes];
  for (int r = 0; r < 2 * parts; r++)
    for (int l = 0; l < kLanes; l++) {
      double sum = w.lanes<const double>(rc[r])[l];
      for (int k = 0; k < K; k++)
        sum = std::fma(w.lanes<const double>(ra[parts * (k / 4) + r / 2])[l / 4 * 4 + k % 4],
                       w.lanes<const double>(rb[k / 4])[4 * (2 * (l % 4) + r % 2) + k % 4], sum);
      d[r][l] = sum;
    }
  for (int r = 0; r < 2 * parts; r++) std::memcpy(w.lanes<double>(rd[r]), d[r], sizeof d[r]);
}

struct Registers {
  size_t a, b, c, d;
};

void bind_registers(Decoding& i, Registers n, Type ab, Type c, Type d) {
  i.expect(4);
  each_register(i, 1, n.a, [&](const Operand& o) { i.append(i.read(o, ab)); });
  each_register(i, 2, n.b, [&](const Operand& o) { i.append(i.read(o, ab)); });
  each_register(i, 3, n.c, [&](const Operand& o) { i.append(i.read(o, c)); });
  each_register(i, 0, n.d, [&](const Operand& o) { i.append(i.write(o, d)); });
}

template <int Bits, int Rows, int RowBytes>
Handler integer_handler(bool signed_a, bool signed_b) {
  return signed_a ? (signed_b ? run_mma_integer<true, true, Bits, Rows, RowBytes>
                              : run_mma_integer<true, false, Bits, Rows, RowBytes>)
                  : (signed_b ? run_mma_integer<false, true, Bits, Rows, RowBytes>
                              : run_mma_integer<false, false, Bits, Rows, RowBytes>);
}

// .s32.{u8,s8,u4,s4}.{u8,s8,u4,s4}.s32
void mma_integer(Decoding& i, int rows, int k, bool satfinite) {
  const int a = i.one_of({"u8", "s8", "u4", "s4"});
  const int b = a < 2 ? i.one_of({"u8", "s8"}) : i.one_of({"u4", "s4"}) + 2;
  i.type({Type::s32});
  const int row_bytes = a < 2 ? k : k / 2;
  const bool signed_a = a & 1, signed_b = b & 1;
  Handler handler = nullptr;
  if (a < 2)
    handler = rows == 8 && row_bytes == 16    ? integer_handler<8, 8, 16>(signed_a, signed_b)
              : rows == 16 && row_bytes == 16 ? integer_handler<8, 16, 16>(signed_a, signed_b)
              : rows == 16 && row_bytes == 32 ? integer_handler<8, 16, 32>(signed_a, signed_b)
                                              : nullptr;
  else
    handler = rows == 8 && row_bytes == 16    ? integer_handler<4, 8, 16>(signed_a, signed_b)
              : rows == 16 && row_bytes == 16 ? integer_handler<4, 16, 16>(signed_a, signed_b)
              : rows == 16 && row_bytes == 32 ? integer_handler<4, 16, 32>(signed_a, signed_b)
                                              : nullptr;
  if (!handler) i.fail("no such shape for this type");
  const auto halves = static_cast<size_t>(row_bytes / 16), parts = static_cast<size_t>(rows / 8);
  bind_registers(i, {parts * halves, halves, 2 * parts, 2 * parts}, Type::b32, Type::s32, Type::s32);
  i.op().flags = satfinite ? kSatfinite : 0;
  i.run(handler, OpClass::tensor);
}

void mma_double(Decoding& i, int rows, int k) {
  for (int n = 0; n < 3; n++) i.type({Type::f64});
  Handler handler = rows == 8 && k == 4     ? run_mma_double<8, 4>
                    : rows == 16 && k == 4  ? run_mma_double<16, 4>
                    : rows == 16 && k == 8  ? run_mma_double<16, 8>
                    : rows == 16 && k == 16 ? run_mma_double<16, 16>
                                            : nullptr;
  if (!handler) i.fail("no such shape for .f64");
  if (rows == 16) i.needs(90);
  const auto chunks = static_cast<size_t>(k / 4), parts = static_cast<size_t>(rows / 8);
  bind_registers(i, {parts * chunks, chunks, 2 * parts, 2 * parts}, Type::f64, Type::f64, Type::f64);
  i.run(handler, OpClass::tensor);
}

// .{f32,f16}.{f16,bf16,tf32,e4m3,e5m2}.….{f32,f16}
void mma_floating(Decoding& i, int rows, int k, Type d) {
  const int a = i.one_of({"f16", "bf16", "tf32", "e4m3", "e5m2"});
  const int b = a < 3 ? (i.one_of({a == 0 ? "f16" : a == 1 ? "bf16" : "tf32"}), a) : i.one_of({"e4m3", "e5m2"}) + 3;
  const Type c = a == 0 ? i.type({Type::f32, Type::f16}) : i.type({Type::f32});
  if (c != d) i.fail("the types of C and D differ");
  if (a >= 3) i.needs(89);
  const int row_bytes = k * tensor::bytes_of(static_cast<Format>(a));
  using F = Format;
  static constexpr Handler wide[] = {run_mma<F::f16, F::f16, 32>, run_mma<F::bf16, F::bf16, 32>,
                                     run_mma<F::tf32, F::tf32, 32>};
  static constexpr Handler narrow[] = {run_mma<F::f16, F::f16, 16>, run_mma<F::bf16, F::bf16, 16>,
                                       run_mma<F::tf32, F::tf32, 16>};
  static constexpr Handler eights[2][2] = {{run_mma<F::e4m3, F::e4m3, 32>, run_mma<F::e4m3, F::e5m2, 32>},
                                           {run_mma<F::e5m2, F::e4m3, 32>, run_mma<F::e5m2, F::e5m2, 32>}};
  Handler handler = nullptr;
  if (rows == 16 && row_bytes == 32) handler = a < 3 ? wide[a] : eights[a - 3][b - 3];
  if (rows == 16 && row_bytes == 16 && a < 3) handler = narrow[a];
  if (!handler) i.fail("no such shape for this type");
  const auto halves = static_cast<size_t>(row_bytes / 16);
  const bool half = c == Type::f16;
  const Type sum = half ? Type::b32 : Type::f32;
  bind_registers(i, {2 * halves, halves, half ? 2u : 4u, half ? 2u : 4u}, Type::b32, sum, sum);
  i.op().flags = half ? kHalf : 0;
  i.run(handler, OpClass::tensor);
}

// mma.sync.aligned.shape.row.col{.satfinite}.dtype.atype.btype.ctype d, a, b, c
void mma(Decoding& i) {
  i.one_of({"sync"});
  i.one_of({"aligned"});
  struct Shape {
    int rows, k;
  };
  static constexpr Shape shapes[] = {{8, 4}, {8, 16}, {8, 32}, {16, 4}, {16, 8}, {16, 16}, {16, 32}, {16, 64}};
  const Shape s =
      shapes[i.one_of({"m8n8k4", "m8n8k16", "m8n8k32", "m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32", "m16n8k64"})];
  i.one_of({"row"});
  i.one_of({"col"});
  const bool satfinite = i.take("satfinite");
  const Type d = satfinite ? i.type({Type::s32}) : i.type({Type::s32, Type::f64, Type::f32, Type::f16});
  if (d == Type::s32) return mma_integer(i, s.rows, s.k, satfinite);
  if (d == Type::f64) return mma_double(i, s.rows, s.k);
  mma_floating(i, s.rows, s.k, d);
}

}  // namespace

std::span<const Opcode> matrix_opcodes() {
  static const Opcode table[] = {
      {"ldmatrix", ldmatrix}, {"mma", mma}, {"movmatrix", movmatrix}, {"stmatrix", stmatrix}};
  return table;
}

}  // namespace vgpu
