#pragma once
// Packed weights of the CPU backend in files, byte for byte as they lie in memory (core/packed_weight.h), so that they
// can be mapped instead of packed again.
#include <memory>

#include "core/device.h"
#include "engine/descriptor.h"
#include "engine/mapped_file.h"

namespace caracal {

// What a file says of a packed weight. It may come from anywhere.
struct PackedSpec {
  DType dtype = DType::f32;
  Layout layout = Layout::matrix;
  Shape shape;
  int64_t groups = 1;
  GroupScales scales;
};

// The bytes of the storage of such a weight.
// @throws INVALID_ARGUMENT for what no packing operation makes
size_t packed_storage_bytes(const PackedSpec& spec);

// Creates a read-only packed weight that shares the memory of a file, `offset` bytes from its start. The kernels read the
// bytes that packed_storage_bytes counts and no others, whatever they hold.
// @throws INVALID_ARGUMENT for a device that is no CPU, a spec that no packing operation makes or an offset that is not a
//   multiple of 64; IO_ERROR if the weight extends past the end of the file
Tensor map_packed(const std::shared_ptr<Device>& device, const std::shared_ptr<MappedFile>& file, int64_t offset,
                  const PackedSpec& spec);

// Called by a job: writes the bytes of a packed weight to a file and frees its memory; the weight has the fault DISPOSED
// from then on, so that weights larger than the memory can be packed into a file one after another.
// @throws IO_ERROR, or the fault of the weight
void write_packed(const Tensor& t, const Descriptor& file, int64_t offset);

}  // namespace caracal
