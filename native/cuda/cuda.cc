#include "cuda/cuda.h"

#include <cstring>
#include <string_view>

namespace caracal {

std::string entry_name(std::string_view kernel, std::initializer_list<std::string> variant) {
  std::string name(kernel);
  for (const std::string& part : variant) name.append(1, '_').append(part);
  return name;
}

void Cuda::launch_kernel(const std::string& entry, const Launch& launch, void** parameters) {
  const auto& [grid, threads, shared_bytes, cooperative] = launch;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;  // the driver refuses empty grids
  const CUfunction function = modules_.kernel(entry, shared_bytes);
  const auto shared = static_cast<unsigned>(shared_bytes);
  driver_.check(cooperative ? driver_.cuLaunchCooperativeKernel(function, grid.x, grid.y, grid.z, threads, 1, 1, shared,
                                                                lane_.stream, parameters)
                            : driver_.cuLaunchKernel(function, grid.x, grid.y, grid.z, threads, 1, 1, shared,
                                                     lane_.stream, parameters, nullptr),
                "launching " + entry);
}

double Cuda::milliseconds(const std::function<void()>& launch) {
  Event begin(driver_, CU_EVENT_DEFAULT), end(driver_, CU_EVENT_DEFAULT);
  begin.record(lane_.stream);
  launch();
  end.record(lane_.stream);
  end.wait();
  return end.milliseconds_since(begin);
}

void Cuda::clear(void* data, size_t bytes) {
  if (bytes > 0)
    driver_.check(driver_.cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(data), 0, bytes, lane_.stream),
                  "cuMemsetD8Async");
}

void Cuda::copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0)
    driver_.check(driver_.cuMemcpyDtoDAsync_v2(reinterpret_cast<CUdeviceptr>(to), reinterpret_cast<CUdeviceptr>(from),
                                               bytes, lane_.stream),
                  "cuMemcpyDtoDAsync");
}

void Cuda::copy_constant(void* to, const void* from, size_t bytes) {
  const std::string_view contents(static_cast<const char*>(from), bytes);
  auto host_copy = constants_.find(contents);
  if (host_copy == constants_.end()) {
    host_copy = constants_.try_emplace(std::string(contents), driver_, bytes).first;
    std::memcpy(host_copy->second.data(), from, bytes);
  }
  driver_.check(
      driver_.cuMemcpyHtoDAsync_v2(reinterpret_cast<CUdeviceptr>(to), host_copy->second.data(), bytes, lane_.stream),
      "cuMemcpyHtoDAsync");
}

Fault* Cuda::fault(Explain explain) {
  check_ = Check{next_fault_, std::move(explain)};
  return next_fault_;
}

}  // namespace caracal
