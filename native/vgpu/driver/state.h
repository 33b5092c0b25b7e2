#pragma once
// The state of the driver: devices, contexts and the objects behind handles. One mutex guards all of it. Every entry
// point holds it while it runs; only the executor releases it, to carry out work.
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "cuda/cuda_api.h"
#include "driver/options.h"
#include "machine/launch.h"

namespace vgpu::driver {

// The result of a failed entry point; thrown.
struct Failure {
  CUresult code;
  std::string message;
};
[[noreturn]] inline void fail(CUresult code, std::string message = {}) { throw Failure{code, std::move(message)}; }
inline void require(bool condition, CUresult code = CUDA_ERROR_INVALID_VALUE, const char* message = "") {
  if (!condition) fail(code, message);
}

// A handle is a number that is never reused and is not an address, so every invalid handle is detected.
struct Object {
  virtual ~Object() = default;
  uint64_t handle = 0;
};

struct Context;
struct Stream;
struct Node;
struct Job;

struct Pool : Object {
  int device = 0;
  uint64_t threshold = 0, used = 0, high = 0, maximum = 0;
  int reuse[3] = {1, 1, 1};
  std::set<int> accessible;
};

struct Device {
  Device(int ordinal, uint64_t base, uint64_t bytes) : ordinal(ordinal), memory(base, bytes) {}
  int ordinal;
  Memory memory;
  std::shared_ptr<Context> primary;
  unsigned primary_uses = 0, primary_flags = 0;
  std::shared_ptr<Pool> default_pool, pool;
  uint64_t clock = 0;  // warp instructions executed so far
};

struct Context : Object {
  Device* device = nullptr;
  unsigned flags = 0;
  bool primary = false, destroyed = false;
  CUresult error = CUDA_SUCCESS;  // sticky
  CUfunc_cache cache = CU_FUNC_CACHE_PREFER_NONE;
  size_t limits[7] = {1024, 1 << 20, 8 << 20, 2, 2048, 64, 0};
  std::shared_ptr<Stream> legacy;
  std::map<std::thread::id, std::shared_ptr<Stream>> per_thread;
  std::vector<std::weak_ptr<Stream>> blocking;  // streams that synchronise with the legacy default stream
  std::set<Context*> peers;
};

struct LoadedModule : Object {
  ~LoadedModule() override;
  std::shared_ptr<Context> context;
  std::unique_ptr<Program> program;
  std::map<std::string, std::shared_ptr<struct KernelFunction>, std::less<>> functions;
};

struct KernelFunction : Object {
  std::weak_ptr<LoadedModule> module;
  const Routine* routine = nullptr;
  uint32_t max_dynamic_shared = 0, registers = 0, max_threads = 0;
  int carveout = -1, cluster_policy = 0, non_portable_clusters = 0;
  CUfunc_cache cache = CU_FUNC_CACHE_PREFER_NONE;
};

// A module of which each context gets its own copy on first use.
struct Library : Object {
  std::string ptx;
  std::unique_ptr<Program> program;                           // only for names: its variables have no memory
  std::map<uint64_t, std::shared_ptr<LoadedModule>> modules;  // by handle of the context
  std::map<std::string, std::shared_ptr<struct Kernel>, std::less<>> kernels;
};
struct Kernel : Object {
  std::weak_ptr<Library> library;
  std::string name;
};

// --- work ------------------------------------------------------------------------------------------------------------

struct Nothing {};
struct KernelWork {
  std::shared_ptr<LoadedModule> module;  // keeps the program alive
  std::shared_ptr<KernelFunction> function;
  LaunchShape shape;
  std::vector<std::byte> parameters;
};
struct CopyWork {
  struct Side {
    bool host = false;  // pageable memory; otherwise a device-accessible address
    uint64_t address = 0;
    size_t pitch = 0, slice = 0;  // bytes between rows and between 2D images
  } from, to;
  size_t width = 0, height = 1, depth = 1;
  std::shared_ptr<std::vector<std::byte>> staged;  // contents of pageable memory at the time of the call
};
struct FillWork {
  uint64_t to;
  size_t pitch;
  uint32_t value;
  unsigned element;  // bytes
  size_t width, height;
};
struct HostWork {
  CUhostFn function;
  void* data;
};
struct CallbackWork {
  CUstreamCallback function;
  CUstream stream;
  void* data;
};
struct FreeWork {
  uint64_t address;
};
using Work = std::variant<Nothing, KernelWork, CopyWork, FillWork, HostWork, CallbackWork, FreeWork>;

// Queued work. It runs when all jobs in `after` are done.
struct Job {
  std::shared_ptr<Context> context;
  Work work;
  std::vector<std::shared_ptr<Job>> after;
  bool wanted = false, done = false;
  uint64_t clock = 0;  // the device's clock when the job finished
};

struct Capture {
  std::shared_ptr<struct Graph> graph;
  CUstreamCaptureMode mode;
  std::thread::id thread;
  Stream* origin;
  uint64_t id;
  bool invalid = false;
  std::vector<std::weak_ptr<Stream>> streams;
};

struct Stream : Object {
  std::weak_ptr<Context> context;
  unsigned flags = 0;
  int priority = 0;
  uint64_t id = 0;
  std::shared_ptr<Job> last;
  std::shared_ptr<Capture> capture;
  std::vector<std::shared_ptr<Node>> tips;  // dependencies of the next captured node
};

struct StreamEvent : Object {
  std::weak_ptr<Context> context;
  unsigned flags = 0;
  std::shared_ptr<Job> job;
  std::shared_ptr<Capture> capture;
  std::vector<std::shared_ptr<Node>> tips;
};

struct Node : Object {
  std::weak_ptr<struct Graph> graph;
  Work work;
  std::vector<std::shared_ptr<Node>> after;
  mutable std::vector<void*> pointers;  // returned by cuGraphKernelNodeGetParams
};
struct Graph : Object, std::enable_shared_from_this<Graph> {
  std::vector<std::shared_ptr<Node>> nodes;
  std::shared_ptr<Node> add(Work work, std::vector<std::shared_ptr<Node>> after);
};
struct GraphExec : Object {
  std::shared_ptr<Context> context;
  struct Step {
    uint64_t node;  // handle of the node
    Work work;
    std::vector<size_t> after;
  };
  std::vector<Step> steps;
  std::shared_ptr<Job> last;
};

// --- the driver ------------------------------------------------------------------------------------------------------

// Memory that an API call allocated or registered.
struct Holding {
  enum class Kind : uint8_t { device, host, registered, managed, pooled, module } kind;
  uint64_t size;
  std::shared_ptr<Context> context;
  Device* device;
  unsigned flags = 0;
  std::shared_ptr<Pool> pool;
  uint64_t id = 0;
};

using Lock = std::unique_lock<std::mutex>;

class Driver {
 public:
  std::mutex mutex;
  std::condition_variable changed;
  bool initialised = false;
  Settings settings;
  std::vector<std::unique_ptr<Device>> devices;
  Memory host{0, 0};  // host memory that devices access at its own address
  std::map<uint64_t, Holding> holdings;
  std::unordered_map<uint64_t, std::shared_ptr<Object>> objects;
  std::set<std::shared_ptr<Capture>> captures;
  uint64_t calls = 0, allocations = 0, kernels = 0, ids = 0;
  std::set<std::string> launched;  // names of kernels launched so far
  std::string report, printed, counters;
  bool keep_printed = false;

  template <class T>
  std::shared_ptr<T> create() {
    auto object = std::make_shared<T>();
    object->handle = next_handle_ += 64;
    objects[object->handle] = object;
    return object;
  }
  template <class T>
  std::shared_ptr<T> find(const void* handle) const {
    const auto found = objects.find(reinterpret_cast<uint64_t>(handle));
    return found == objects.end() ? nullptr : std::dynamic_pointer_cast<T>(found->second);
  }
  template <class T>
  std::shared_ptr<T> get(const void* handle, CUresult error = CUDA_ERROR_INVALID_HANDLE) const {
    auto object = find<T>(handle);
    require(object != nullptr, error);
    return object;
  }
  void forget(const Object& object) { objects.erase(object.handle); }
  Device& device(int ordinal) {
    require(ordinal >= 0 && static_cast<size_t>(ordinal) < devices.size(), CUDA_ERROR_INVALID_DEVICE);
    return *devices[static_cast<size_t>(ordinal)];
  }

  // The host address of `bytes` of device-accessible memory; null if there is no such memory.
  std::byte* resolve(uint64_t address, uint64_t bytes) const;
  // The holding that contains an address; holdings.end() if there is none.
  std::map<uint64_t, Holding>::iterator holding(uint64_t address);
  const Allocation* allocate(Device& device, uint64_t bytes);
  void release(uint64_t address);

  void submit(const std::shared_ptr<Job>& job);
  void want(const std::shared_ptr<Job>& job);
  void wait(Lock& lock, const std::shared_ptr<Job>& job);
  void wait_all(Lock& lock, const Context& context);
  void set_report(std::string text);
  void set_counters(std::string json);
  void flush_printed();
  std::string take_printed();
  void shut_down();
  // Drops all state, as if the process had just started. Handles are still not reused.
  void reset(Lock& lock);

 private:
  void execute();
  void perform(Lock& lock, Job& job);
  std::shared_ptr<Job> choose();

  uint64_t next_handle_ = 0xca00'0000'0000;
  std::deque<std::shared_ptr<Job>> pending_;
  std::thread executor_;
  bool quit_ = false;
  std::atomic<Launch*> running_{nullptr};
  std::mutex print_mutex_;
  std::mt19937_64 random_;
};

// The only instance. It is never destroyed, since threads may still use it when the process ends.
Driver& driver();

// --- entry points ----------------------------------------------------------------------------------------------------

// The context of an entry point's body.
struct ApiCall {
  Driver& driver;
  Lock& lock;
  std::shared_ptr<Context> context;  // current context of the calling thread

  // Waits for the job and fails if the context has failed.
  void wait(const std::shared_ptr<Job>& job, const Context& in);
  // Fails during a capture that such a call might invalidate (cuThreadExchangeStreamCaptureMode).
  void unsafe_in_capture();
};

enum class Needs : uint8_t { nothing, driver, context };

// Runs the body of an entry point under the lock and returns the code of what it throws.
CUresult enter_call(Needs needs, void (*body)(ApiCall&, void*), void* closure);
template <class F>
CUresult enter(Needs needs, F&& body) {
  return enter_call(
      needs, [](ApiCall& call, void* closure) { (*static_cast<std::remove_reference_t<F>*>(closure))(call); }, &body);
}
template <class F>
CUresult with_driver(F&& body) {
  return enter(Needs::driver, std::forward<F>(body));
}
template <class F>
CUresult with_context(F&& body) {
  return enter(Needs::context, std::forward<F>(body));
}

template <class H>
H handle_of(const Object& object) {
  return reinterpret_cast<H>(object.handle);
}

std::vector<std::shared_ptr<Context>>& context_stack();  // the calling thread's stack
std::shared_ptr<Context> make_context(Driver& d, Device& device, unsigned flags);
void destroy_context(Driver& d, Lock& lock, const std::shared_ptr<Context>& context);

// The stream of a handle, including null and the special handles.
std::shared_ptr<Stream> stream_of(ApiCall& call, CUstream stream);
// Adds work to a stream: queues or captures it. Returns the job if it was queued.
std::shared_ptr<Job> enqueue(ApiCall& call, const std::shared_ptr<Stream>& stream, Work work,
                             std::vector<std::shared_ptr<Job>> after = {});
// The jobs that new work on a stream would depend on.
std::vector<std::shared_ptr<Job>> predecessors(const Context& context, const Stream& stream);
void invalidate(Capture& capture);
void leave_capture(Driver& d, const std::shared_ptr<Capture>& capture);

std::shared_ptr<LoadedModule> load_module(ApiCall& call, const void* image);
// The function of a CUfunction, or of a CUkernel in this context.
std::shared_ptr<KernelFunction> function_of(ApiCall& call, const void* handle, const std::shared_ptr<Context>& context);
std::shared_ptr<KernelFunction> module_function(Driver& d, const std::shared_ptr<LoadedModule>& module,
                                                std::string_view name);
KernelWork kernel_work(ApiCall& call, const std::shared_ptr<KernelFunction>& function, const LaunchShape& shape,
                       void** parameters, void** extra);
CopyWork copy_work(ApiCall& call, const CUDA_MEMCPY3D& p);
FillWork fill_work(ApiCall& call, uint64_t to, size_t pitch, uint32_t value, unsigned element, size_t width,
                   size_t height);

// The number of blocks of a function that fit on an SM.
uint32_t blocks_per_sm(const Limits& limits, const KernelFunction& f, uint32_t threads, uint64_t dynamic_shared);

}  // namespace vgpu::driver
