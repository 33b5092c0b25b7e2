#include "cuda/cuda_device.h"

#include <algorithm>

#include "cuda/cuda_graph.h"
#include "cuda/kernels.h"

namespace caracal {

std::shared_ptr<CudaDevice> CudaDevice::open(const Options& options) {
  const Driver& driver = Driver::get();
  if (options.ordinal < 0 || options.ordinal >= driver.devices)
    throw Error(
        code::kInvalidArgument,
        "there is no GPU " + std::to_string(options.ordinal) + ": the driver has " + std::to_string(driver.devices),
        {{"argument", "ordinal"},
         {"expected", "in [0, " + std::to_string(driver.devices - 1) + "]"},
         {"actual", std::to_string(options.ordinal)}});
  CUdevice device = 0;
  driver.check(driver.cuDeviceGet(&device, options.ordinal), "cuDeviceGet");
  const GpuProperties gpu = GpuProperties::of(driver, device);
  if (gpu.major < 8)
    throw Error(code::kArchUnsupported,
                gpu.name + " has compute capability " + gpu.capability() + "; 8.0 (Ampere) or newer is needed",
                {{"expected", "8.0"}, {"actual", gpu.capability()}});
  if (kernel_images().empty())
    throw Error(code::kUnsupported,
                "this build has no CUDA kernels: `caracal doctor` says how to get them, or use a CPU device");
  return std::shared_ptr<CudaDevice>(new CudaDevice(driver, device, options));
}

CudaDevice::CudaDevice(const Driver& driver, CUdevice device, const Options& options)
    : driver_(driver),
      properties_(GpuProperties::of(driver, device)),
      capacity_(std::min(properties_.memory, options.memory_limit)),
      context_(driver, device),
      memory_(driver, context_),
      allocator_(memory_, {.largest_cached = options.cache_memory ? SIZE_MAX : 0, .limit = options.memory_limit}),
      stream_(driver),
      fork_(driver),
      own_pools_{0, allocator_.add_pool()},
      own_log_(driver, kChecks),
      staging_(driver),
      modules_(driver, properties_),
      cuda_(driver, properties_, allocator_, modules_),
      queue_(
          [this] {
            try {
              context_.make_current();
            } catch (...) {
              lost_ = current_fault("opening the device");
            }
          },
          [this] { make_room(); }) {}

CudaDevice::~CudaDevice() {
  shutdown();
  // Work that is still on the streams must not outlive the members.
  if (!context_.try_make_current()) return;
  driver_.cuStreamSynchronize(fork_.stream());
  driver_.cuStreamSynchronize(stream_);
}

void CudaDevice::stop() { queue_.stop(); }

void CudaDevice::submit(Jobs jobs) { queue_.submit(std::move(jobs)); }

// Runs between jobs, not within one: the wait may find faults of the tensors that a job has already looked at.
void CudaDevice::make_room() noexcept try {
  if (own_log_.full()) wait();
} catch (const std::exception&) {  // the GPU is lost, which the next operation reports
}

std::byte* CudaDevice::allocate(size_t bytes) {
  if (lost_) throw *lost_;
  return allocator_.allocate(bytes, lane().pool);
}

void CudaDevice::write(const Tensor& t, const std::byte* from) {
  if (fork_.must_end_before(t.storage, true)) join();
  begin();
  staging_.upload(t.data<std::byte>(), from, t.bytes(), lane().stream);
  if (fork_.open()) fork_.writes(t.storage);
  if (t.bytes() == t.storage->bytes) log_->add({"write", {}, {t.storage}, {}, {}});
}

void CudaDevice::clear(const Tensor& t) {
  begin();
  cuda_.clear(t.data<std::byte>(), t.bytes());
  if (fork_.open()) fork_.writes(t.storage);
  log_->add({"zeros", {}, {t.storage}, {}, {}});
}

void CudaDevice::read(const Tensor& t, std::byte* to) {
  if (t.storage->fault) throw *t.storage->fault;
  wait();
  if (t.storage->fault) throw *t.storage->fault;
  if (t.bytes() > 0) staging_.download(to, t.data<std::byte>(), t.bytes(), stream_);
}

Cuda::Lane CudaDevice::lane() const {
  return fork_.open() ? Cuda::Lane{fork_.stream(), pools_->fork} : Cuda::Lane{stream_, pools_->first};
}

// Must precede all work that is put on a stream.
void CudaDevice::begin() {
  if (lost_) throw *lost_;
  if (cuda_.take_check()) log_->lose_check();
  cuda_.use(lane(), log_->next_fault());
}

void CudaDevice::wait() {
  if (lost_) throw *lost_;
  CUresult result = fork_.open() ? driver_.cuStreamSynchronize(fork_.stream()) : CUDA_SUCCESS;
  join();
  if (result == CUDA_SUCCESS) result = driver_.cuStreamSynchronize(stream_);
  if (result != CUDA_SUCCESS) lose(result);
  own_log_.settle();
}

// After a fault the driver refuses all calls until the process ends (CUDA's cuda.h, at CUDA_ERROR_ILLEGAL_ADDRESS and
// others). It does not say which of the operations since the last wait failed.
void CudaDevice::lose(CUresult result) {
  const std::string names = own_log_.names();
  lost_ = std::make_shared<Error>(code::kDeviceFault,
                                  "the GPU stopped with " + driver_.describe(result) +
                                      (names.empty() ? "" : " in one of: " + names) +
                                      "; this process can no longer use the GPU: start another, or use a CPU device",
                                  ErrorDetails{{"result", driver_.name(result)}});
  own_log_.fail(lost_);
  throw *lost_;
}

void CudaDevice::enqueue(const Operation& op, std::span<Tensor> out, const std::function<void(Cuda&)>& run) {
  op.for_each_tensor([&](const Tensor& t, const char*, Access access) {
    if (fork_.must_end_before(t.storage, access == Access::inout)) join();
  });
  begin();
  OperationLog::Entry entry{op.name(), {}, {}, {}, {}};
  op.for_each_tensor([&](const Tensor& t, const char*, Access access) {
    entry.in.push_back(t.storage);
    if (access == Access::inout) entry.out.push_back(t.storage);
    if (fork_.open()) access == Access::inout ? fork_.writes(t.storage) : fork_.reads(t.storage);
  });
  for (const Tensor& t : out) {
    entry.out.push_back(t.storage);
    if (fork_.open()) fork_.writes(t.storage);
  }
  run(cuda_);
  entry.check = cuda_.take_check();
  log_->add(std::move(entry));
}

// --- fork ------------------------------------------------------------------------------------------------------------

// An error here means that the GPU is lost; the next operation reports that.
void CudaDevice::begin_fork() noexcept try {
  if (lost_) return;
  join();
  fork_.begin(stream_);
} catch (const std::exception&) {
}

void CudaDevice::end_fork() noexcept try {
  if (fork_.open()) fork_.end();
} catch (const std::exception&) {
}

// Graphs run on the first stream. What follows one within a fork does so too, until the next fork begins.
void CudaDevice::leave_fork() {
  if (fork_.open()) fork_.end();
  join();
}

// --- graphs ----------------------------------------------------------------------------------------------------------

std::shared_ptr<Graph> CudaDevice::make_graph(Recording recording) {
  return std::make_shared<CudaGraph>(std::static_pointer_cast<CudaDevice>(shared_from_this()), std::move(recording));
}

CUgraphExec CudaDevice::capture(const Pools& pools, OperationLog& log, const std::function<void()>& enqueue) {
  begin();
  leave_fork();
  // In relaxed mode, memory can be allocated and modules loaded during the capture.
  driver_.check(driver_.cuStreamBeginCapture_v2(stream_, CU_STREAM_CAPTURE_MODE_RELAXED), "cuStreamBeginCapture");
  pools_ = &pools;
  log_ = &log;
  std::shared_ptr<const Error> fault;
  try {
    enqueue();
    join();
  } catch (...) {
    fault = current_fault("graph");
  }
  pools_ = &own_pools_;
  log_ = &own_log_;
  fork_.forget();
  CUgraph graph = nullptr;
  CUgraphExec executable = nullptr;
  CUresult result = driver_.cuStreamEndCapture(stream_, &graph);
  if (!fault && result == CUDA_SUCCESS) result = driver_.cuGraphInstantiateWithFlags(&executable, graph, 0);
  if (graph) driver_.cuGraphDestroy(graph);
  if (fault) throw *fault;
  driver_.check(result, "creating a graph");
  return executable;
}

void CudaDevice::await_checks(const OperationLog& graph) {
  if (graph.has_checks() && own_log_.launched(graph)) wait();
}

void CudaDevice::launch(CUgraphExec graph, const std::shared_ptr<OperationLog>& log) {
  leave_fork();
  begin();
  driver_.check(driver_.cuGraphLaunch(graph, stream_), "cuGraphLaunch");
  own_log_.add({"graph", {}, {}, {}, log});
}

void CudaDevice::release_graph(CUgraphExec graph, const Pools& pools) noexcept {
  if (!context_.try_make_current()) return;
  driver_.cuStreamSynchronize(stream_);
  if (graph) driver_.cuGraphExecDestroy(graph);
  allocator_.drop_pool(pools.first);
  allocator_.drop_pool(pools.fork);
}

}  // namespace caracal
