#pragma once
// Bulk copies in flight: cp.async.bulk and cp.async.bulk.tensor, with which the asynchronous proxy moves a range or a
// box of memory. Like all asynchronous work they complete as late as possible by default.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "machine/reduction.h"
#include "machine/tensor_map.h"
#include "program/program.h"

namespace vgpu {

class Block;
class Warp;

struct BulkCopy {
  bool to_shared;     // from global memory (a load); else to global memory (a store)
  bool tensor;        // copies a box of `map` at `at`; else `bytes` at `global`
  bool reads_shared;  // neither side is global: reads `from_shared` of the issuing block
  // st.async, red.async: `data` is filled in already, and the copy is not by the asynchronous proxy
  bool reads_registers;
  Combine combine;  // applied to each `element` bytes of the destination; null: they are replaced
  uint32_t element;
  TensorMap map;
  int32_t at[5];
  uint64_t global, bytes;
  uint64_t from_shared;
  uint64_t shared;    // offset in the target block
  uint64_t mbarrier;  // offset in the target block; loads only
  std::vector<Block*> targets;
  int lane;
  uint32_t group;         // the lane's bulk group; stores only
  bool has_read = false;  // a store's shared memory has been read into `data`
  std::vector<std::byte> data;
  struct Piece {
    std::byte* global;
    uint64_t offset, bytes;  // range in the copy
  };
  std::vector<Piece> pieces;
};

class BulkCopies {
 public:
  // Checks a copy and starts it. @throws DeviceFault
  void issue(Warp& w, BulkCopy&& copy);
  void commit(Warp& w, uint32_t mask);
  // Waits until all but the last `pending` groups of the lanes have read their sources and, unless `only_read`,
  // completed.
  void wait_group(Warp& w, uint32_t mask, uint32_t pending, bool only_read);
  // Completes everything. Returns false if nothing was pending.
  bool complete_all(Warp& w);
  // Called when the warp ends: no copy may still need the block's shared memory.
  void finish(Warp& w);
  uint32_t groups(int lane) const { return committed_[lane]; }

 private:
  static void read(BulkCopy& copy);
  void complete(Warp& w, BulkCopy& copy);

  std::vector<BulkCopy> pending_;
  uint32_t committed_[kLanes] = {};
  std::vector<uint32_t> times_;  // per group, for racecheck
};

}  // namespace vgpu
