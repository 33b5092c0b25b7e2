// The driver's state, the executor that carries out work, and the common part of all entry points.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "count/counters.h"
#include "driver/state.h"

namespace vgpu::driver {
namespace {

thread_local bool in_callback = false;
thread_local std::vector<std::shared_ptr<Context>> stack;

CUresult code_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::illegal_address: return CUDA_ERROR_ILLEGAL_ADDRESS;
    case FaultKind::misaligned_address: return CUDA_ERROR_MISALIGNED_ADDRESS;
    case FaultKind::invalid_address_space: return CUDA_ERROR_INVALID_ADDRESS_SPACE;
    case FaultKind::illegal_instruction: return CUDA_ERROR_ILLEGAL_INSTRUCTION;
    case FaultKind::hardware_stack_error: return CUDA_ERROR_HARDWARE_STACK_ERROR;
    case FaultKind::assertion: return CUDA_ERROR_ASSERT;
    case FaultKind::timeout: return CUDA_ERROR_LAUNCH_TIMEOUT;
    default: return CUDA_ERROR_LAUNCH_FAILED;
  }
}

void copy(const Driver& d, const CopyWork& w) {
  auto at = [&](const CopyWork::Side& side, size_t row, size_t image) {
    const uint64_t address = side.address + row * side.pitch + image * side.slice;
    if (side.host) return reinterpret_cast<std::byte*>(address);
    std::byte* p = d.resolve(address, w.width);
    if (!p) fail(CUDA_ERROR_ILLEGAL_ADDRESS, "a copy of " + std::to_string(w.width) + " bytes uses freed memory");
    return p;
  };
  const std::byte* staged = w.staged ? w.staged->data() : nullptr;
  for (size_t image = 0; image < w.depth; image++)
    for (size_t row = 0; row < w.height; row++) {
      const std::byte* from = staged ? staged + (image * w.height + row) * w.width : at(w.from, row, image);
      std::memmove(at(w.to, row, image), from, w.width);
    }
}

void note_written(Driver& d, uint64_t address, size_t bytes) {
  for (auto& device : d.devices) device->memory.written(address, bytes);
}

void append(const std::string& path, const std::string& line) {
  if (path.empty()) return;
  FILE* file = path == "stderr" ? stderr : std::fopen(path.c_str(), "a");
  if (!file) return;
  std::fprintf(file, "%s\n", line.c_str());
  if (file != stderr) std::fclose(file);
}

}  // namespace

Driver& driver() {
  static Driver* const d = new Driver;
  return *d;
}

std::vector<std::shared_ptr<Context>>& context_stack() { return stack; }

// --- memory ----------------------------------------------------------------------------------------------------------

std::byte* Driver::resolve(uint64_t address, uint64_t bytes) const {
  auto look = [&](const Memory& memory) -> std::byte* {
    const Allocation* a = memory.find(address);
    return a && !a->freed && bytes <= a->address + a->size - address ? a->host + (address - a->address) : nullptr;
  };
  for (const auto& device : devices)
    if (std::byte* p = look(device->memory)) return p;
  return nullptr;
}

std::map<uint64_t, Holding>::iterator Driver::holding(uint64_t address) {
  auto found = holdings.upper_bound(address);
  if (found == holdings.begin()) return holdings.end();
  --found;
  return address - found->first < found->second.size ? found : holdings.end();
}

const Allocation* Driver::allocate(Device& device, uint64_t bytes) {
  require(++allocations != settings.failing_allocation, CUDA_ERROR_OUT_OF_MEMORY,
          "allocation failure injected by CARACAL_VGPU_FAULT");
  const Allocation* a = device.memory.allocate(bytes, 512);
  require(a != nullptr, CUDA_ERROR_OUT_OF_MEMORY);
  return a;
}

void Driver::release(uint64_t address) {
  const auto found = holdings.find(address);
  if (found == holdings.end()) return;
  const Holding& h = found->second;
  if (h.pool) h.pool->used -= h.size;
  if (h.kind == Holding::Kind::device || h.kind == Holding::Kind::pooled || h.kind == Holding::Kind::module) {
    h.device->memory.release(address);
  } else {
    host.release(address);
    if (h.kind != Holding::Kind::registered) std::free(reinterpret_cast<void*>(address));
  }
  holdings.erase(found);
}

LoadedModule::~LoadedModule() {
  for (const auto& g : program ? program->globals : std::vector<Program::Global>{})
    if (g.space == Space::global || g.space == Space::constant) driver().release(g.address);
}

// --- the executor ----------------------------------------------------------------------------------------------------

void Driver::submit(const std::shared_ptr<Job>& job) {
  std::erase_if(job->after, [](const auto& j) { return !j || j->done; });
  pending_.push_back(job);
  if (!executor_.joinable()) executor_ = std::thread([this] { execute(); });
  changed.notify_all();
}

std::shared_ptr<Job> Driver::choose() {
  std::vector<std::shared_ptr<Job>> ready;
  for (auto& job : pending_) {
    if (settings.late && !job->wanted) continue;
    std::erase_if(job->after, [](const auto& j) { return j->done; });
    if (!job->after.empty()) continue;
    if (settings.run.seed == 0) return job;
    ready.push_back(job);
  }
  return ready.empty() ? nullptr : ready[random_() % ready.size()];
}

void Driver::execute() {
  Lock lock(mutex);
  random_.seed(settings.run.seed);
  while (!quit_) {
    const auto job = choose();
    if (!job) {
      changed.wait(lock);
      continue;
    }
    try {
      if (job->context->error == CUDA_SUCCESS || std::holds_alternative<CallbackWork>(job->work)) perform(lock, *job);
    } catch (const Failure& f) {
      job->context->error = f.code;
      set_report(f.message);
    }
    job->clock = job->context->device->clock;
    job->done = true;
    job->after.clear();
    job->work = Nothing{};
    std::erase(pending_, job);
    changed.notify_all();
  }
}

void Driver::perform(Lock& lock, Job& job) {
  auto outside = [&](auto&& action) {  // runs without the lock
    lock.unlock();
    in_callback = true;
    action();
    in_callback = false;
    lock.lock();
  };
  if (auto* w = std::get_if<KernelWork>(&job.work)) {
    Device& device = *job.context->device;
    if (++kernels == settings.failing_launch)
      fail(CUDA_ERROR_LAUNCH_FAILED, w->function->routine->name + ": launch failure injected by CARACAL_VGPU_FAULT");
    if (launched.insert(w->function->routine->name).second) append(settings.kernels, w->function->routine->name);
    Options options = settings.run;
    options.print = [this, capacity = job.context->limits[CU_LIMIT_PRINTF_FIFO_SIZE]](std::string_view text) {
      const std::lock_guard guard(print_mutex_);
      printed += text;
      // As on a device the oldest output is lost, though here as late as possible.
      if (printed.size() > 2 * capacity) printed.erase(0, printed.size() - capacity);
    };
    Launch launch(*w->module->program, *w->function->routine, w->shape, w->parameters, device.memory, settings.limits,
                  options);
    running_ = &launch;
    std::optional<Report> report;
    outside([&] { report = launch.run(); });
    running_ = nullptr;
    device.clock += launch.spent;
    if (launch.counters) set_counters(to_json(*w->module->program, *w->function->routine, w->shape, *launch.counters));
    if (report) fail(code_of(report->kind), report->text());
  } else if (auto* copy_work = std::get_if<CopyWork>(&job.work)) {
    copy(*this, *copy_work);
    for (size_t image = 0; image < copy_work->depth; image++)
      for (size_t row = 0; row < copy_work->height && !copy_work->to.host; row++)
        note_written(*this, copy_work->to.address + row * copy_work->to.pitch + image * copy_work->to.slice,
                     copy_work->width);
  } else if (auto* fill = std::get_if<FillWork>(&job.work)) {
    for (size_t row = 0; row < fill->height; row++) {
      const uint64_t address = fill->to + row * fill->pitch, bytes = fill->width * fill->element;
      std::byte* to = resolve(address, bytes);
      if (!to) fail(CUDA_ERROR_ILLEGAL_ADDRESS, "a memset of freed memory");
      for (size_t i = 0; i < fill->width; i++) std::memcpy(to + i * fill->element, &fill->value, fill->element);
      note_written(*this, address, bytes);
    }
  } else if (auto* call = std::get_if<HostWork>(&job.work)) {
    outside([w = *call] { w.function(w.data); });
  } else if (auto* back = std::get_if<CallbackWork>(&job.work)) {
    outside([w = *back, status = job.context->error] { w.function(w.stream, status, w.data); });
  } else if (auto* free_work = std::get_if<FreeWork>(&job.work)) {
    release(free_work->address);
  }
}

void Driver::want(const std::shared_ptr<Job>& job) {
  if (!settings.late) return;
  std::vector<std::shared_ptr<Job>> open{job};
  while (!open.empty()) {
    const auto next = open.back();
    open.pop_back();
    if (!next || next->done || next->wanted) continue;
    next->wanted = true;
    open.insert(open.end(), next->after.begin(), next->after.end());
  }
  changed.notify_all();
}

void Driver::wait(Lock& lock, const std::shared_ptr<Job>& job) {
  if (!job) return;
  want(job);
  changed.wait(lock, [&] { return job->done; });
}

void Driver::wait_all(Lock& lock, const Context& context) {
  for (const auto& job : pending_)
    if (job->context.get() == &context) want(job);
  for (;;) {
    const auto found =
        std::find_if(pending_.begin(), pending_.end(), [&](const auto& j) { return j->context.get() == &context; });
    if (found == pending_.end()) return;
    const auto job = *found;
    wait(lock, job);
  }
}

void Driver::set_report(std::string text) {
  if (text.empty()) return;
  report = std::move(text);
  append(settings.report, report);
}

void Driver::set_counters(std::string json) {
  counters = std::move(json);
  append(settings.count, counters);
}

// As on hardware, the output of printf appears when the host waits for the device.
void Driver::flush_printed() {
  const std::lock_guard guard(print_mutex_);
  if (keep_printed || printed.empty()) return;
  std::fwrite(printed.data(), 1, printed.size(), stdout);
  std::fflush(stdout);
  printed.clear();
}

std::string Driver::take_printed() {
  const std::lock_guard guard(print_mutex_);
  return std::exchange(printed, {});
}

void Driver::shut_down() {
  Lock lock(mutex);
  quit_ = true;
  if (Launch* launch = running_) launch->stop = true;
  changed.notify_all();
  lock.unlock();
  if (executor_.joinable() && executor_.get_id() != std::this_thread::get_id()) executor_.join();
  quit_ = false;
}

void Driver::reset(Lock& lock) {
  lock.unlock();
  shut_down();
  lock.lock();
  for (auto& [handle, object] : objects)
    if (auto* context = dynamic_cast<Context*>(object.get())) {
      context->destroyed = true;
      context->legacy = nullptr;
      context->per_thread.clear();
    }
  pending_.clear();
  captures.clear();
  objects.clear();
  while (!holdings.empty()) release(holdings.begin()->first);
  devices.clear();
  calls = allocations = kernels = 0;
  report.clear();
  printed.clear();
  settings = {};
  initialised = false;
  stack.clear();
}

// --- entry points ----------------------------------------------------------------------------------------------------

CUresult enter_call(Needs needs, void (*body)(ApiCall&, void*), void* closure) {
  Driver& d = driver();
  if (in_callback) return CUDA_ERROR_NOT_PERMITTED;
  Lock lock(d.mutex);
  try {
    ApiCall call{d, lock, nullptr};
    if (needs != Needs::nothing) {
      if (!d.initialised) return CUDA_ERROR_NOT_INITIALIZED;
      // A device that has fallen off the bus answers every call like this.
      if (++d.calls >= d.settings.lost_at_call && d.settings.lost_at_call) return CUDA_ERROR_UNKNOWN;
    }
    if (!stack.empty()) call.context = stack.back();
    if (needs == Needs::context) {
      if (!call.context) return CUDA_ERROR_INVALID_CONTEXT;
      if (call.context->destroyed) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
      if (call.context->error != CUDA_SUCCESS) return call.context->error;
    }
    body(call, closure);
    return CUDA_SUCCESS;
  } catch (const Failure& f) {
    if (!f.message.empty()) d.set_report(f.message);
    return f.code;
  } catch (const std::exception&) {  // thrown by the standard library when the host is out of memory
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
}

void ApiCall::wait(const std::shared_ptr<Job>& job, const Context& in) {
  driver.wait(lock, job);
  driver.flush_printed();
  if (in.error != CUDA_SUCCESS) fail(in.error);
}

}  // namespace vgpu::driver
