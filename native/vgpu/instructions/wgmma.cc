// PTX ISA, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions": wgmma.
#include "instructions/wgmma.h"

#include "check/monitor.h"
#include "instructions/convergence.h"
#include "instructions/list.h"
#include "instructions/tensor.h"
#include "machine/block.h"

namespace vgpu {
namespace {

using tensor::Format;

std::span<const std::unique_ptr<Warp>> warpgroup_of(Warp& w) {
  const size_t first = w.index & ~3u;
  if (w.block.warps.size() < first + 4) synccheck_fault(w, -1, "wgmma in a warpgroup of fewer than four warps");
  return {w.block.warps.data() + first, 4};
}

void run_mma_async(Warp& w, const Op& op) {
  if (!whole_warp(w)) return;
  WgmmaForm form;
  std::memcpy(&form, &op.imm, sizeof form);
  Accumulators& acc = w.accumulators;
  if (!acc.fenced) synccheck_fault(w, -1, "wgmma.mma_async without a preceding wgmma.fence");
  warpgroup_of(w);
  const uint32_t scale_d = w.predicate(op.c) ^ (form.scale_d_negated ? kAllLanes : 0);
  if (scale_d != 0 && scale_d != kAllLanes) synccheck_fault(w, -1, "wgmma: scale-d differs between lanes");
  const uint32_t* slots = w.split().frame->routine->lists.data() + op.list;
  const size_t n_d = op.count - (form.a_in_registers ? 4u : 0u);
  std::vector<uint32_t*> registers(n_d);
  for (size_t i = 0; i < n_d; i++) registers[i] = w.lanes<uint32_t>(slots[i]);
  Accumulators::Result& result = acc.open(registers);
  if (result.registers != registers) synccheck_fault(w, -1, "wgmma whose accumulators overlap others in flight");
  if (Monitor* m = w.block.launch.monitor.get()) m->issued(w);
  acc.issued = acc.issued * 0x9e3779b97f4a7c15ull + reinterpret_cast<uint64_t>(&op) + w.lanes<const uint64_t>(op.b)[0];
  wgmma_multiply(w, op, form, result, slots + n_d, scale_d != 0);
}

// Decodes .m64nNkK: sets N and returns K, which depends on the types.
unsigned decode_shape(Decoding& i, WgmmaForm& form) {
  const std::string text(i.peek());
  unsigned n = 0, k = 0;
  char excess = 0;
  if (std::sscanf(text.c_str(), "m64n%uk%u%c", &n, &k, &excess) != 2 || n % 8 != 0 || n < 8 || n > 256)
    i.fail("unknown shape ." + text);
  i.take(i.peek());
  form.n = n;
  return k;
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

// Only matrices of 16-bit elements may be transposed.
bool transposable(const WgmmaForm& form) {
  const auto a = static_cast<Format>(form.format_a);
  return !form.integer && (a == Format::f16 || a == Format::bf16);
}

void decode_integer_types(Decoding& i, unsigned k, WgmmaForm& form) {
  form.unsigned_a = i.type({Type::s8, Type::u8}) == Type::u8;
  form.unsigned_b = i.type({Type::s8, Type::u8}) == Type::u8;
  if (!form.satfinite) form.satfinite = i.take("satfinite");
  if (k != 32) i.fail("integers have k32");
  if (form.n > 32 && form.n % 16 != 0) i.fail("integers have N a multiple of 16 above 32");
}

void decode_float_types(Decoding& i, unsigned k, WgmmaForm& form) {
  const Type a = i.type({Type::f16, Type::bf16, Type::tf32, Type::e4m3, Type::e5m2});
  const bool eight_bits = a == Type::e4m3 || a == Type::e5m2;
  const Type b = eight_bits ? i.type({Type::e4m3, Type::e5m2}) : i.type({a});
  form.format_a = static_cast<uint32_t>(format_of(a));
  form.format_b = static_cast<uint32_t>(format_of(b));
  if (form.half_d && (a == Type::bf16 || a == Type::tf32)) i.fail("an .f16 accumulator needs .f16 or 8-bit factors");
  if (k != (a == Type::f16 || a == Type::bf16 ? 16u : a == Type::tf32 ? 8u : 32u))
    i.fail("the shape does not match the type");
}

// Returns the type of D.
Type decode_types(Decoding& i, unsigned k, WgmmaForm& form) {
  form.satfinite = i.take("satfinite");  // ptxas accepts both positions, and CUTLASS uses this one
  const Type d = i.type({Type::f32, Type::f16, Type::s32});
  if (form.satfinite && d != Type::s32) i.fail(".satfinite is for integers");
  form.half_d = d == Type::f16;
  form.integer = d == Type::s32;
  if (form.integer)
    decode_integer_types(i, k, form);
  else
    decode_float_types(i, k, form);
  return d;
}

// d, a, b, scale-d {, imm-scale-a, imm-scale-b {, imm-trans-a}, imm-trans-b}
void decode_immediates(Decoding& i, WgmmaForm& form) {
  const size_t scales = form.integer ? 0 : 2, transposes = !transposable(form) ? 0 : form.a_in_registers ? 1 : 2;
  i.expect(4 + scales + transposes);
  if (scales) {
    form.negate_a = i.immediate(4, -1, 1) == -1;
    form.negate_b = i.immediate(5, -1, 1) == -1;
    if (i.immediate(4, -1, 1) == 0 || i.immediate(5, -1, 1) == 0) i.fail("imm-scale must be 1 or -1");
  }
  if (transposes == 2) form.mn_major_a = i.immediate(6, 0, 1) == 1;
  if (transposes) form.mn_major_b = i.immediate(5 + transposes, 0, 1) == 1;
}

void bind_matrices(Decoding& i, const WgmmaForm& form, Type d) {
  const Operand& registers = i.operand(0);
  const size_t n_d = form.n / (form.half_d ? 4 : 2);
  if (registers.kind != Operand::Kind::list || registers.parts.size() != n_d)
    i.fail("D must have " + std::to_string(n_d) + " registers");
  const Type part = form.half_d ? Type::b32 : d;
  for (const Operand& o : registers.parts) {
    i.read(o, part);
    const uint32_t slot = i.write(o, part);
    i.writes_late(slot);
    i.append(slot);
  }
  if (form.a_in_registers) {
    if (i.operand(1).parts.size() != 4) i.fail("A must have 4 registers");
    for (const Operand& o : i.operand(1).parts) i.append(i.read(o, Type::b32));
  } else {
    i.op().a = i.read(1, Type::b64);
  }
  i.op().b = i.read(2, Type::b64);
}

void mma_async(Decoding& i) {
  i.one_of({"sync"});
  i.one_of({"aligned"});
  WgmmaForm form{};
  const unsigned k = decode_shape(i, form);
  const Type d = decode_types(i, k, form);
  form.a_in_registers = i.operand(1).kind == Operand::Kind::list;
  decode_immediates(i, form);
  bind_matrices(i, form, d);
  bool negated = false;
  i.op().c = i.read_predicate(i.operand(3), negated);
  form.scale_d_negated = negated;
  std::memcpy(&i.op().imm, &form, sizeof form);
  i.run(run_mma_async, OpClass::tensor);
}

void run_fence(Warp& w, const Op&) {
  if (whole_warp(w)) w.accumulators.fenced = true;
}

void run_commit(Warp& w, const Op&) {
  if (!whole_warp(w)) return;
  Accumulators& acc = w.accumulators;
  if (!w.block.warpgroups.agrees(w.index / 4, acc.open_group(), acc.issued))
    synccheck_fault(w, -1, "the warps of a warpgroup have issued different wgmma");
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
    // A group belongs to the warpgroup: it is complete only when all four warps have committed theirs. A warp that has
    // waited for it may release what any of the four has read. (In CUTLASS one thread of a warpgroup does so.)
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
