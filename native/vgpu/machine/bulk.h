#pragma once
// Bulk copies in flight: cp.async.bulk and cp.async.bulk.tensor, by which the asynchronous proxy moves a stretch or a
// box of memory. Like all asynchronous work they complete as late as they may, unless told otherwise.
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
  bool to_shared;        // from global memory; else the other way
  bool tensor;           // a box of `map` at `at`; else `bytes` at `global`
  bool reads_shared;     // neither global: from `from_shared` of the own block
  bool reads_registers;  // st.async, red.async: `data` has it already; not of the asynchronous proxy
  Combine combine;       // what is done to each `element` bytes there; null: they are replaced
  uint32_t element;
  TensorMap map;
  int32_t at[5];
  uint64_t global, bytes;
  uint64_t from_shared;
  uint64_t shared;    // offset in the block
  uint64_t mbarrier;  // offset; of loads
  std::vector<Block*> targets;
  int lane;
  uint32_t group;         // of the lane's bulk groups; of stores
  bool has_read = false;  // a store's shared memory; `data` has it
  std::vector<std::byte> data;
  struct Piece {
    std::byte* global;
    uint64_t offset, bytes;  // in the copy
  };
  std::vector<Piece> pieces;
};

class BulkCopies {
 public:
  // Checks what can be checked now and begins. @throws DeviceFault
  void issue(Warp& w, BulkCopy&& copy);
  void commit(Warp& w, uint32_t mask);
  // All but the last `pending` groups of the lanes have read their sources, and unless `only_read` are complete.
  void wait_group(Warp& w, uint32_t mask, uint32_t pending, bool only_read);
  // Completes everything; false if there was nothing.
  bool complete_all(Warp& w);
  // The block ends: its shared memory must not be needed any more.
  void finish(Warp& w);
  uint32_t groups(int lane) const { return committed_[lane]; }

 private:
  static void read(BulkCopy& copy);
  void complete(Warp& w, BulkCopy& copy);

  std::vector<BulkCopy> pending_;
  uint32_t committed_[kLanes] = {};
  std::vector<uint32_t> times_;  // of the groups, for racecheck
};

}  // namespace vgpu
