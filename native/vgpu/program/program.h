#pragma once
// A module in executable form: each instruction is an Op, each operand an offset into the register frame.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ptx/syntax.h"

namespace vgpu {

class Warp;
struct Op;

// Executes an instruction for the lanes in warp.mask.
using Handler = void (*)(Warp&, const Op&);

constexpr int kLanes = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;
constexpr uint32_t kNone = 0xffffffffu;

// The instruction classes that are counted.
enum class OpClass : uint8_t {
  integer,
  floating,
  half,
  convert,
  move,
  load,
  store,
  atomic,
  control,
  warp,
  barrier,
  async,
  tensor,
  other
};

// Register operands are byte offsets into the frame: of 32 lanes, or of one mask for a predicate.
struct Op {
  Handler run = nullptr;
  int64_t imm = 0;  // an offset, a target, …; its meaning depends on the handler
  uint32_t d = kNone, a = kNone, b = kNone, c = kNone, e = kNone;
  uint32_t guard = kNone;
  uint32_t list = 0;  // the further registers are Routine::lists[list …]
  uint16_t count = 0;
  uint8_t flags = 0;  // defined by the handler
  bool guard_negated = false;
};

// Special registers whose value is constant throughout a warp's life.
enum class Special : uint8_t {
  tid_x,
  tid_y,
  tid_z,
  ntid_x,
  ntid_y,
  ntid_z,
  ctaid_x,
  ctaid_y,
  ctaid_z,
  nctaid_x,
  nctaid_y,
  nctaid_z,
  laneid,
  warpid,
  nwarpid,
  smid,
  nsmid,
  gridid,
  lanemask_eq,
  lanemask_le,
  lanemask_lt,
  lanemask_ge,
  lanemask_gt,
  dynamic_smem_size,
  total_smem_size,
  aggr_smem_size,
  reserved_smem_offset_begin,
  reserved_smem_offset_end,
  reserved_smem_offset_cap,
  cluster_ctaid_x,
  cluster_ctaid_y,
  cluster_ctaid_z,
  cluster_nctaid_x,
  cluster_nctaid_y,
  cluster_nctaid_z,
  clusterid_x,
  clusterid_y,
  clusterid_z,
  nclusterid_x,
  nclusterid_y,
  nclusterid_z,
  cluster_ctarank,
  cluster_nctarank,
  is_explicit_cluster,
  envreg,
  grid_workspace_low,
  grid_workspace_high,  // %envreg2, %envreg1: see Launch::workspace
  dynamic_shared,       // not in PTX: the offset of dynamic shared memory
  shared_variable,      // not in PTX: the offset of a shared variable declared outside kernels
  local_frame,          // not in PTX: the offset of the frame's local memory
  count,
};

// The location of a parameter in the parameter block.
struct Parameter {
  std::string name;
  uint32_t offset, size;
};

// A call and the bytes it copies between the argument memories of the two frames.
struct Call {
  struct Copy {
    uint32_t from, to, size;
  };
  uint32_t routine = kNone;  // the callee; kNone if a register selects it
  std::vector<Copy> arguments, results;
};

// A kernel or a function.
struct Routine {
  std::string name;
  uint32_t number = 0;  // index in Program::routines
  bool entry = false;
  bool noreturn = false;
  std::vector<Op> ops;
  std::vector<uint32_t> lists;
  // Per op, for reports and counters.
  std::vector<uint32_t> lines;     // line in the PTX text
  std::vector<int32_t> locations;  // index into Program::module.locations, or -1
  std::vector<OpClass> classes;
  std::vector<std::string> texts;  // the head as written

  // The register frame and its initial contents.
  uint32_t frame_bytes = 0;
  uint32_t constants_begin = 0;
  std::vector<std::byte> constants;
  struct SpecialSlot {
    Special which;
    uint32_t offset;  // in the frame
    uint32_t bytes;   // 4 or 8 per lane
    int64_t addend;
    uint32_t variable = kNone;  // of shared_variable
  };
  std::vector<SpecialSlot> specials;

  std::vector<Call> calls;
  std::vector<std::vector<uint32_t>> branch_tables;  // the targets of each brx.idx

  std::vector<Parameter> parameters, results;
  uint32_t parameter_bytes = 0;  // size of a kernel's parameter block
  // For functions and their calls: per-lane memory for parameters, arguments and results.
  uint32_t argument_bytes = 0;
  uint32_t local_bytes = 0;      // per lane
  uint32_t reserved_shared = 0;  // offset of static shared memory, above the system's reservation
  uint32_t shared_bytes = 0;     // static
  // Kernels: the offset of each shared variable declared outside kernels; kNone if the kernel does not use it.
  std::vector<uint32_t> shared_variables;
  uint32_t shared_alignment = 1;  // alignment of dynamic shared memory
  LaunchBounds bounds;
  uint32_t registers = 0;  // 32-bit registers per thread in the frame: an upper bound on what ptxas needs
};

struct Program {
  Module module;  // owns the text that names point into
  std::vector<std::unique_ptr<Routine>> routines;
  struct Global {
    std::string name;
    uint64_t address, size;
    Space space;
  };
  std::vector<Global> globals;

  const Routine* find(std::string_view name) const {
    for (const auto& r : routines)
      if (r->name == name) return r.get();
    return nullptr;
  }
};

}  // namespace vgpu
