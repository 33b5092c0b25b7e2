// Execution control.
#include <algorithm>
#include <cstring>

#include "driver/state.h"

using namespace vgpu;
using namespace vgpu::driver;

namespace vgpu::driver {
namespace {

std::vector<std::byte> parameter_block(const Routine& routine, void** parameters, void** extra) {
  std::vector<std::byte> block(routine.parameter_bytes);
  require(!(parameters && extra), CUDA_ERROR_INVALID_VALUE, "both kernelParams and extra");
  if (extra) {
    const void* buffer = nullptr;
    const size_t* bytes = nullptr;
    for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
      if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER)
        buffer = extra[1];
      else if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE)
        bytes = static_cast<const size_t*>(extra[1]);
      else
        fail(CUDA_ERROR_INVALID_VALUE, "extra has an unknown key");
    }
    // A buffer may omit the padding at its end, but nothing else.
    const uint32_t end =
        routine.parameters.empty() ? 0 : routine.parameters.back().offset + routine.parameters.back().size;
    require(bytes && (buffer || *bytes == 0) && *bytes >= end && *bytes <= std::max<size_t>(4096 * 8, end),
            CUDA_ERROR_INVALID_VALUE, "the size of the parameter buffer does not match the kernel's parameters");
    if (end) std::memcpy(block.data(), buffer, end);
  } else if (!routine.parameters.empty()) {
    require(parameters != nullptr, CUDA_ERROR_INVALID_VALUE, "kernelParams is null");
    for (size_t i = 0; i < routine.parameters.size(); i++) {
      require(parameters[i] != nullptr, CUDA_ERROR_INVALID_VALUE, "a parameter is null");
      std::memcpy(block.data() + routine.parameters[i].offset, parameters[i], routine.parameters[i].size);
    }
  }
  return block;
}

void check_shape(const Limits& l, const KernelFunction& f, const LaunchShape& s) {
  const auto& b = f.routine->bounds;
  auto refuse = [&](CUresult code, const std::string& why) {
    fail(code, f.routine->name + " cannot be launched: " + why);
  };
  auto triple = [](const uint32_t (&v)[3]) {
    return "(" + std::to_string(v[0]) + ", " + std::to_string(v[1]) + ", " + std::to_string(v[2]) + ")";
  };
  static constexpr uint32_t max_grid[3] = {0x7fffffff, 65535, 65535}, max_block[3] = {1024, 1024, 64};
  for (int i = 0; i < 3; i++) {
    if (s.grid[i] == 0 || s.grid[i] > max_grid[i]) refuse(CUDA_ERROR_INVALID_VALUE, "a grid of " + triple(s.grid));
    if (s.block[i] == 0 || s.block[i] > max_block[i]) refuse(CUDA_ERROR_INVALID_VALUE, "a block of " + triple(s.block));
  }
  if (s.threads() > 1024) refuse(CUDA_ERROR_INVALID_VALUE, "a block of " + std::to_string(s.threads()) + " threads");
  if (b.required_threads[0] && std::memcmp(b.required_threads, s.block, sizeof s.block) != 0)
    refuse(CUDA_ERROR_INVALID_VALUE,
           "a block of " + triple(s.block) + ", but .reqntid is " + triple(b.required_threads));
  if (s.threads() > f.max_threads)
    refuse(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
           "a block of " + std::to_string(s.threads()) + " threads; at most " + std::to_string(f.max_threads) + " fit");
  if (s.dynamic_shared > f.max_dynamic_shared)
    refuse(CUDA_ERROR_INVALID_VALUE, std::to_string(s.dynamic_shared) + " bytes of dynamic shared memory; at most " +
                                         std::to_string(f.max_dynamic_shared) +
                                         " unless CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES is raised");
  if (s.dynamic_shared + f.routine->shared_bytes > l.shared_per_block_optin)
    refuse(CUDA_ERROR_INVALID_VALUE, "more shared memory than a block may have");
  if (s.cluster_blocks() > 1) {
    if (l.compute < 90) refuse(CUDA_ERROR_NOT_SUPPORTED, "clusters need compute capability 9.0");
    if (s.cluster_blocks() > (f.non_portable_clusters ? 16 : 8))
      refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE, "a cluster of " + triple(s.cluster));
    for (int i = 0; i < 3; i++)
      if (s.grid[i] % s.cluster[i])
        refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE, "a grid of " + triple(s.grid) + " in clusters of " + triple(s.cluster));
  }
  const uint64_t resident = uint64_t{blocks_per_sm(l, f, s.threads(), s.dynamic_shared)} * l.sm_count;
  if (resident == 0) refuse(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "a block does not fit on an SM");
  if (s.cooperative && s.blocks() > resident)
    refuse(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
           std::to_string(s.blocks()) + " blocks, but only " + std::to_string(resident) + " fit on the device");
}

}  // namespace

KernelWork kernel_work(ApiCall& c, const std::shared_ptr<KernelFunction>& f, const LaunchShape& requested,
                       void** parameters, void** extra) {
  LaunchShape shape = requested;
  const auto& required = f->routine->bounds.cluster;
  if (required[0]) {
    require(shape.cluster_blocks() == 1 || std::memcmp(required, shape.cluster, sizeof required) == 0,
            CUDA_ERROR_INVALID_CLUSTER_SIZE);
    std::memcpy(shape.cluster, required, sizeof required);
  }
  check_shape(c.driver.settings.limits, *f, shape);
  return {f->module.lock(), f, shape, parameter_block(*f->routine, parameters, extra)};
}

}  // namespace vgpu::driver

namespace {

void record(ApiCall& c, CUevent handle, const std::shared_ptr<Stream>& stream, const std::shared_ptr<Job>& job) {
  const auto event = c.driver.get<StreamEvent>(handle);
  event->capture = stream->capture;
  event->tips = stream->tips;
  event->job = job;
}

void launch(ApiCall& c, const CUlaunchConfig& config, CUfunction handle, void** parameters, void** extra) {
  require(config.attrs || config.numAttrs == 0);
  const auto stream = stream_of(c, config.hStream);
  const auto context = stream->context.lock();
  const auto f = function_of(c, handle, context);
  require(f->module.lock()->context == context, CUDA_ERROR_INVALID_HANDLE,
          "the kernel and the stream belong to different contexts");
  LaunchShape shape{{config.gridDimX, config.gridDimY, config.gridDimZ},
                    {config.blockDimX, config.blockDimY, config.blockDimZ},
                    {1, 1, 1},
                    config.sharedMemBytes,
                    false};
  const uint32_t compute = c.driver.settings.limits.compute;
  std::vector<CUevent> events;
  for (unsigned i = 0; i < config.numAttrs; i++) {
    const auto& value = config.attrs[i].value;
    switch (static_cast<int>(config.attrs[i].id)) {
      case CU_LAUNCH_ATTRIBUTE_IGNORE: break;
      // Hints for caches and schedulers, which do not exist here.
      case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
      case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
      case CU_LAUNCH_ATTRIBUTE_PRIORITY:
      case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
      case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
      case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: break;
      case CU_LAUNCH_ATTRIBUTE_COOPERATIVE: shape.cooperative = value.cooperative != 0; break;
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        require(compute >= 90, CUDA_ERROR_NOT_SUPPORTED);
        require(value.clusterDim.x && value.clusterDim.y && value.clusterDim.z && value.clusterDim.x <= 16 &&
                    value.clusterDim.y <= 16 && value.clusterDim.z <= 16,
                CUDA_ERROR_INVALID_CLUSTER_SIZE);
        shape.cluster[0] = value.clusterDim.x, shape.cluster[1] = value.clusterDim.y,
        shape.cluster[2] = value.clusterDim.z;
        break;
      // The kernel may begin before its predecessor ends. Not doing so is one of the allowed orders.
      case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
        require(compute >= 90, CUDA_ERROR_NOT_SUPPORTED);
        break;
      // These events may be recorded as early as a trigger in the kernel; here they are recorded at its end.
      case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
        require(compute >= 90, CUDA_ERROR_NOT_SUPPORTED);
        events.push_back(value.programmaticEvent.event);
        break;
      case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT: events.push_back(value.launchCompletionEvent.event); break;
      default: fail(CUDA_ERROR_NOT_SUPPORTED, "launch attribute " + std::to_string(config.attrs[i].id));
    }
  }
  for (const CUevent event : events) c.driver.get<StreamEvent>(event);
  const auto job = enqueue(c, stream, kernel_work(c, f, shape, parameters, extra));
  for (const CUevent event : events) record(c, event, stream, job);
}

}  // namespace

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction f, void** parameters, void** extra) {
  return with_context([&](ApiCall& c) {
    require(config != nullptr);
    launch(c, *config, f, parameters, extra);
  });
}

CUresult cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
                        unsigned int by, unsigned int bz, unsigned int shared, CUstream stream, void** parameters,
                        void** extra) {
  const CUlaunchConfig config{gx, gy, gz, bx, by, bz, shared, stream, nullptr, 0};
  return cuLaunchKernelEx(&config, f, parameters, extra);
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
                                   unsigned int by, unsigned int bz, unsigned int shared, CUstream stream,
                                   void** parameters) {
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  attribute.value.cooperative = 1;
  const CUlaunchConfig config{gx, gy, gz, bx, by, bz, shared, stream, &attribute, 1};
  return cuLaunchKernelEx(&config, f, parameters, nullptr);
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void* data) {
  return with_context([&](ApiCall& c) {
    require(function != nullptr);
    enqueue(c, stream_of(c, handle), HostWork{function, data});
  });
}
