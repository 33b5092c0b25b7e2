// Contexts: primary contexts, other contexts, and each thread's context stack.
#include <algorithm>

#include "driver/state.h"

using namespace vgpu;
using namespace vgpu::driver;

namespace vgpu::driver {

std::shared_ptr<Context> make_context(Driver& d, Device& device, unsigned flags) {
  require((flags & ~(CU_CTX_SCHED_MASK | CU_CTX_MAP_HOST | CU_CTX_LMEM_RESIZE_TO_MAX)) == 0);
  const unsigned sched = flags & CU_CTX_SCHED_MASK;
  require((sched & (sched - 1)) == 0);  // at most one scheduling flag
  auto context = d.create<Context>();
  context->device = &device;
  context->flags = flags;
  context->legacy = std::make_shared<Stream>();
  context->legacy->context = context;
  context->legacy->id = ++d.ids;
  return context;
}

void destroy_context(Driver& d, Lock& lock, const std::shared_ptr<Context>& context) {
  d.wait_all(lock, *context);
  d.flush_printed();
  context->destroyed = true;
  for (Context* peer : context->peers) context->device->memory.unlink(peer->device->memory);
  for (auto& [handle, object] : d.objects)
    if (auto* other = dynamic_cast<Context*>(object.get()); other && other->peers.erase(context.get()) > 0)
      other->device->memory.unlink(context->device->memory);
  context->peers.clear();
  // The context's objects are destroyed with it; their handles become invalid.
  std::vector<std::shared_ptr<Object>> destroyed;
  auto belongs = [&](const Object* object) {
    if (auto* m = dynamic_cast<const LoadedModule*>(object)) return m->context == context;
    if (auto* f = dynamic_cast<const KernelFunction*>(object)) {
      const auto m = f->module.lock();
      return !m || m->context == context;
    }
    if (auto* s = dynamic_cast<const Stream*>(object)) return s->context.lock() == context;
    if (auto* e = dynamic_cast<const StreamEvent*>(object)) return e->context.lock() == context;
    if (auto* g = dynamic_cast<const GraphExec*>(object)) return g->context == context;
    return object == context.get();
  };
  for (auto& [handle, object] : d.objects) {
    if (auto* library = dynamic_cast<Library*>(object.get())) library->modules.erase(context->handle);
    if (belongs(object.get())) destroyed.push_back(object);
  }
  for (const auto& object : destroyed) d.forget(*object);
  for (const auto& object : destroyed)
    if (auto* stream = dynamic_cast<Stream*>(object.get()); stream && stream->capture)
      leave_capture(d, stream->capture);
  destroyed.clear();
  context->legacy = nullptr;
  context->per_thread.clear();
  std::vector<uint64_t> addresses;
  for (const auto& [address, h] : d.holdings)
    if (h.context == context && h.kind != Holding::Kind::module) addresses.push_back(address);
  for (const uint64_t address : addresses) d.release(address);
}

}  // namespace vgpu::driver

namespace {

std::shared_ptr<Context> current(ApiCall& c) {
  require(c.context != nullptr, CUDA_ERROR_INVALID_CONTEXT);
  return c.context;
}

void release_primary(ApiCall& c, CUdevice dev, bool entirely) {
  Device& device = c.driver.device(dev);
  require(entirely || device.primary_uses > 0, CUDA_ERROR_INVALID_CONTEXT);
  if (!entirely && --device.primary_uses > 0) return;
  if (auto context = std::exchange(device.primary, nullptr)) destroy_context(c.driver, c.lock, context);
  if (!entirely) device.primary_flags = 0;
}

CUresult create(CUcontext* out, unsigned flags, CUdevice dev) {
  return with_driver([&](ApiCall& c) {
    require(out != nullptr);
    auto context = make_context(c.driver, c.driver.device(dev), flags);
    context_stack().push_back(context);
    *out = handle_of<CUcontext>(*context);
  });
}

}  // namespace

CUresult cuDevicePrimaryCtxRetain(CUcontext* out, CUdevice dev) {
  return with_driver([&](ApiCall& c) {
    require(out != nullptr);
    Device& device = c.driver.device(dev);
    if (!device.primary) {
      device.primary = make_context(c.driver, device, device.primary_flags);
      device.primary->primary = true;
    }
    device.primary_uses++;
    *out = handle_of<CUcontext>(*device.primary);
  });
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev) {
  return with_driver([&](ApiCall& c) { release_primary(c, dev, false); });
}
CUresult cuDevicePrimaryCtxRelease(CUdevice dev) { return cuDevicePrimaryCtxRelease_v2(dev); }
CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev) {
  return with_driver([&](ApiCall& c) { release_primary(c, dev, true); });
}
CUresult cuDevicePrimaryCtxReset(CUdevice dev) { return cuDevicePrimaryCtxReset_v2(dev); }

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags) {
  return with_driver([&](ApiCall& c) {
    Device& device = c.driver.device(dev);
    require((flags & ~(CU_CTX_SCHED_MASK | CU_CTX_MAP_HOST | CU_CTX_LMEM_RESIZE_TO_MAX)) == 0);
    device.primary_flags = flags;
    if (device.primary) device.primary->flags = flags;
  });
}
CUresult cuDevicePrimaryCtxSetFlags(CUdevice dev, unsigned int flags) {
  return with_driver([&](ApiCall& c) {
    require(!c.driver.device(dev).primary, CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE);
    require((flags & ~(CU_CTX_SCHED_MASK | CU_CTX_MAP_HOST | CU_CTX_LMEM_RESIZE_TO_MAX)) == 0);
    c.driver.device(dev).primary_flags = flags;
  });
}
CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int* flags, int* active) {
  return with_driver([&](ApiCall& c) {
    require(flags && active);
    *flags = c.driver.device(dev).primary_flags;
    *active = c.driver.device(dev).primary != nullptr;
  });
}

CUresult cuCtxCreate_v2(CUcontext* out, unsigned int flags, CUdevice dev) { return create(out, flags, dev); }
CUresult cuCtxCreate_v3(CUcontext* out, CUexecAffinityParam* affinity, int n, unsigned int flags, CUdevice dev) {
  if (affinity || n) return CUDA_ERROR_NOT_SUPPORTED;
  return create(out, flags, dev);
}
CUresult cuCtxCreate_v4(CUcontext* out, CUctxCreateParams* p, unsigned int flags, CUdevice dev) {
  if (p && (p->numExecAffinityParams || p->cigParams)) return CUDA_ERROR_NOT_SUPPORTED;
  return create(out, flags, dev);
}

CUresult cuCtxDestroy_v2(CUcontext handle) {
  return with_driver([&](ApiCall& c) {
    const auto context = c.driver.get<Context>(handle, CUDA_ERROR_INVALID_CONTEXT);
    require(!context->primary, CUDA_ERROR_INVALID_CONTEXT);
    destroy_context(c.driver, c.lock, context);
    auto& stack = context_stack();
    if (!stack.empty() && stack.back() == context) stack.pop_back();
  });
}

CUresult cuCtxPushCurrent_v2(CUcontext handle) {
  return with_driver(
      [&](ApiCall& c) { context_stack().push_back(c.driver.get<Context>(handle, CUDA_ERROR_INVALID_CONTEXT)); });
}
CUresult cuCtxPopCurrent_v2(CUcontext* out) {
  return with_driver([&](ApiCall& c) {
    const auto context = current(c);
    context_stack().pop_back();
    if (out) *out = handle_of<CUcontext>(*context);
  });
}
CUresult cuCtxSetCurrent(CUcontext handle) {
  return with_driver([&](ApiCall& c) {
    auto& stack = context_stack();
    if (!handle) {
      if (!stack.empty()) stack.pop_back();
      return;
    }
    auto context = c.driver.get<Context>(handle, CUDA_ERROR_INVALID_CONTEXT);
    if (!stack.empty()) stack.pop_back();
    stack.push_back(std::move(context));
  });
}
CUresult cuCtxGetCurrent(CUcontext* out) {
  return with_driver([&](ApiCall& c) {
    require(out != nullptr);
    *out = c.context ? handle_of<CUcontext>(*c.context) : nullptr;
  });
}
CUresult cuCtxGetDevice(CUdevice* device) {
  return with_driver([&](ApiCall& c) {
    require(device != nullptr);
    *device = current(c)->device->ordinal;
  });
}
CUresult cuCtxGetFlags(unsigned int* flags) {
  return with_driver([&](ApiCall& c) {
    require(flags != nullptr);
    *flags = current(c)->flags;
  });
}
CUresult cuCtxGetId(CUcontext handle, unsigned long long* id) {
  return with_driver([&](ApiCall& c) {
    require(id != nullptr);
    *id = (handle ? c.driver.get<Context>(handle, CUDA_ERROR_CONTEXT_IS_DESTROYED) : current(c))->handle;
  });
}
CUresult cuCtxGetApiVersion(CUcontext handle, unsigned int* version) {
  return with_driver([&](ApiCall& c) {
    require(version != nullptr);
    if (handle)
      c.driver.get<Context>(handle, CUDA_ERROR_INVALID_CONTEXT);
    else
      current(c);
    *version = 3020;
  });
}

CUresult cuCtxSynchronize() {
  return with_context([&](ApiCall& c) {
    for (const auto& capture : c.driver.captures)
      if (capture->origin->context.lock() == c.context) {
        invalidate(*capture);
        fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
      }
    c.driver.wait_all(c.lock, *c.context);
    c.wait(nullptr, *c.context);
  });
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
  return with_context([&](ApiCall& c) {
    require(limit >= 0 && limit <= CU_LIMIT_PERSISTING_L2_CACHE_SIZE, CUDA_ERROR_NOT_SUPPORTED);
    if (limit == CU_LIMIT_STACK_SIZE) require(value <= 512 << 10);
    if (limit == CU_LIMIT_MAX_L2_FETCH_GRANULARITY) require(value <= 128);
    c.context->limits[limit] = value;
  });
}
CUresult cuCtxGetLimit(size_t* value, CUlimit limit) {
  return with_context([&](ApiCall& c) {
    require(value != nullptr);
    require(limit >= 0 && limit <= CU_LIMIT_PERSISTING_L2_CACHE_SIZE, CUDA_ERROR_NOT_SUPPORTED);
    *value = c.context->limits[limit];
  });
}
CUresult cuCtxGetCacheConfig(CUfunc_cache* config) {
  return with_context([&](ApiCall& c) {
    require(config != nullptr);
    *config = c.context->cache;
  });
}
CUresult cuCtxSetCacheConfig(CUfunc_cache config) {
  return with_context([&](ApiCall& c) {
    require(config >= CU_FUNC_CACHE_PREFER_NONE && config <= CU_FUNC_CACHE_PREFER_EQUAL);
    c.context->cache = config;
  });
}
CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  return with_context([&](ApiCall&) {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
  });
}
CUresult cuCtxResetPersistingL2Cache() {
  return with_context([](ApiCall&) {});
}

CUresult cuCtxEnablePeerAccess(CUcontext peer_handle, unsigned int flags) {
  return with_context([&](ApiCall& c) {
    require(flags == 0);
    const auto peer = c.driver.get<Context>(peer_handle, CUDA_ERROR_INVALID_CONTEXT);
    require(peer->device != c.context->device, CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
    require(c.context->peers.insert(peer.get()).second, CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
    c.context->device->memory.link(peer->device->memory);
  });
}
CUresult cuCtxDisablePeerAccess(CUcontext peer_handle) {
  return with_context([&](ApiCall& c) {
    const auto peer = c.driver.get<Context>(peer_handle, CUDA_ERROR_INVALID_CONTEXT);
    require(c.context->peers.erase(peer.get()) > 0, CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
    c.driver.wait_all(c.lock, *c.context);
    c.context->device->memory.unlink(peer->device->memory);
  });
}

CUresult cuProfilerStart() {
  return with_context([](ApiCall&) {});
}
CUresult cuProfilerStop() {
  return with_context([](ApiCall&) {});
}
