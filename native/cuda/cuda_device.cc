#include "cuda/cuda_device.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "cuda/kernels.h"

namespace caracal {

std::shared_ptr<CudaDevice> CudaDevice::open(const Options& options) {
  const Driver& driver = Driver::get();
  if (options.ordinal < 0 || options.ordinal >= driver.devices)
    throw Error(code::kInvalidArgument, "there is no GPU " + std::to_string(options.ordinal) + ": the driver has " +
                                            std::to_string(driver.devices));
  CUdevice device = 0;
  driver.check(driver.cuDeviceGet(&device, options.ordinal), "cuDeviceGet");
  const GpuProperties gpu = GpuProperties::of(driver, device);
  if (gpu.major < 8)
    throw Error(code::kArchUnsupported, gpu.name + " has compute capability " + std::to_string(gpu.major) + "." +
                                            std::to_string(gpu.minor) + "; 8.0 (Ampere) or newer is needed");
  if (kernel_images().empty())
    throw Error(code::kUnsupported,
                "this build has no CUDA kernels: build it where nvcc 13 or newer is on the PATH, or use a CPU device");
  return std::shared_ptr<CudaDevice>(new CudaDevice(driver, device, options));
}

CudaDevice::CudaDevice(const Driver& driver, CUdevice device, const Options& options)
    : driver_(driver),
      properties_(GpuProperties::of(driver, device)),
      capacity_(std::min(properties_.memory, options.memory_limit)),
      context_(driver, device),
      memory_(driver, context_),
      allocator_(memory_, {.limit = options.memory_limit}),
      stream_(driver),
      faults_(driver, kFaults * sizeof(Fault)),
      staging_(driver, stream_),
      modules_(driver, properties_),
      cuda_(driver, properties_, stream_, allocator_, modules_),
      queue_([this] { context_.make_current(); }) {
  std::memset(faults_.data(), 0, kFaults * sizeof(Fault));
}

CudaDevice::~CudaDevice() {
  shutdown();
  // On whichever thread this is: what the stream still does must not outlive the members.
  if (context_.try_make_current()) driver_.cuStreamSynchronize(stream_);
}

void CudaDevice::shutdown() { queue_.stop(); }

std::byte* CudaDevice::allocate(size_t bytes) {
  if (lost_) throw *lost_;
  return allocator_.allocate(bytes);
}

void CudaDevice::write(const Tensor& t, const std::byte* from) {
  begin();
  staging_.upload(t.data<std::byte>(), from, t.bytes());
}

void CudaDevice::clear(const Tensor& t) {
  begin();
  cuda_.clear(t.data<std::byte>(), t.bytes());
}

void CudaDevice::read(const Tensor& t, std::byte* to) {
  if (t.storage->fault) throw *t.storage->fault;
  wait();
  if (t.storage->fault) throw *t.storage->fault;
  if (t.bytes() > 0) staging_.download(to, t.data<std::byte>(), t.bytes());
}

// Before anything is put on the stream.
void CudaDevice::begin() {
  if (lost_) throw *lost_;
  faults_used_ += cuda_.take_check().has_value();  // of an operation that did not come to its end
  if (faults_used_ == kFaults || log_.size() >= kLongestLog) wait();
  cuda_.use(reinterpret_cast<Fault*>(faults_.data()) + faults_used_);
}

void CudaDevice::wait() {
  if (lost_) throw *lost_;
  const CUresult result = driver_.cuStreamSynchronize(stream_);
  if (result != CUDA_SUCCESS) lose(result);
  settle();
}

// Gives the outputs of every operation the fault that it, or one of its inputs, has.
void CudaDevice::settle() {
  const auto* faults = reinterpret_cast<const Fault*>(faults_.data());
  const bool any = std::any_of(faults, faults + faults_used_, [](const Fault& f) { return f.raised != 0; });
  std::map<std::weak_ptr<Storage>, std::shared_ptr<const Error>, std::owner_less<>> faulty;
  for (const Enqueued& operation : log_) {
    if (!any) break;
    std::shared_ptr<const Error> fault;
    for (const auto& in : operation.in)
      if (const auto found = faulty.find(in); found != faulty.end()) fault = found->second;
    const auto& check = operation.check;
    if (!fault && check && check->fault->raised) fault = std::make_shared<Error>(check->explain(*check->fault));
    if (!fault) continue;
    for (const auto& out : operation.out) {
      faulty[out] = fault;
      if (const auto storage = out.lock()) storage->fault = fault;
    }
  }
  std::memset(faults_.data(), 0, faults_used_ * sizeof(Fault));
  faults_used_ = 0;
  log_.clear();
}

// After a fault the driver refuses everything until the process ends (cuda.h, of CUDA_ERROR_ILLEGAL_ADDRESS and others).
// Which of the operations since the last wait it was, it does not say.
void CudaDevice::lose(CUresult result) {
  std::set<std::string> names;
  for (const Enqueued& operation : log_) names.insert(operation.op);
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  lost_ = std::make_shared<Error>(code::kDeviceFault,
                                  "the GPU stopped with " + driver_.describe(result) +
                                      (all.empty() ? "" : " in one of: " + all) +
                                      "; this process cannot use the GPU any more: start another, or use a CPU device");
  for (const Enqueued& operation : log_)
    for (const auto& out : operation.out)
      if (const auto storage = out.lock()) storage->fault = lost_;
  log_.clear();
  throw *lost_;
}

}  // namespace caracal
