// Memory management: device, host, managed and stream-ordered memory, and pointer attributes.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "driver/state.h"

using namespace vgpu;
using namespace vgpu::driver;

namespace {

using Kind = Holding::Kind;

CUdeviceptr hold(ApiCall& c, size_t bytes, Kind kind = Kind::device, std::shared_ptr<Pool> pool = nullptr,
                 Device* where = nullptr) {
  require(bytes > 0);
  Device& device = where ? *where : *c.context->device;
  const Allocation* a = c.driver.allocate(device, bytes);
  c.driver.holdings[a->address] = {kind, bytes, c.context, &device, 0, std::move(pool), ++c.driver.ids};
  return a->address;
}

// Allocates host memory that devices access at the same address.
void* hold_host(ApiCall& c, size_t bytes, Kind kind, unsigned flags) {
  require(bytes > 0);
  require(++c.driver.allocations != c.driver.settings.failing_allocation, CUDA_ERROR_OUT_OF_MEMORY);
  require(bytes < uint64_t{1} << 46, CUDA_ERROR_OUT_OF_MEMORY);
  void* p = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  require(p != nullptr, CUDA_ERROR_OUT_OF_MEMORY);
  c.driver.host.share(p, bytes);
  c.driver.holdings[reinterpret_cast<uint64_t>(p)] = {kind,  bytes,   c.context,     c.context->device,
                                                      flags, nullptr, ++c.driver.ids};
  return p;
}

void free_host(ApiCall& c, void* p, Kind kind, CUresult unknown) {
  const auto found = c.driver.holdings.find(reinterpret_cast<uint64_t>(p));
  require(found != c.driver.holdings.end() && found->second.kind == kind, unknown);
  c.driver.wait_all(c.lock, *found->second.context);
  c.driver.release(reinterpret_cast<uint64_t>(p));
}

// Returns false for attributes that do not exist.
bool attribute_of(ApiCall& c, void* out, CUpointer_attribute attribute, CUdeviceptr address) {
  const auto found = c.driver.holding(address);
  const bool valid = found != c.driver.holdings.end();
  const Holding* h = valid ? &found->second : nullptr;
  const bool in_host = valid && (h->kind == Kind::host || h->kind == Kind::registered || h->kind == Kind::managed);
  auto put = [&](auto value) { std::memcpy(out, &value, sizeof value); };
  if (!valid && attribute != CU_POINTER_ATTRIBUTE_MAPPED) return false;
  switch (static_cast<int>(attribute)) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: put(h->context ? h->context->handle : uint64_t{0}); break;
    // Managed memory counts as device memory.
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      put(in_host && h->kind != Kind::managed ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE);
      break;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: put(address); break;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      if (!in_host) return false;
      put(address);
      break;
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS: put(h->flags >> 31); break;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID: put(h->id); break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: put(static_cast<unsigned>(h->kind == Kind::managed)); break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: put(h->device->ordinal); break;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: put(found->first); break;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: put(h->size); break;
    case CU_POINTER_ATTRIBUTE_MAPPED: put(static_cast<int>(valid)); break;
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE: put(h->pool ? h->pool->handle : uint64_t{0}); break;
    default: fail(CUDA_ERROR_NOT_SUPPORTED);
  }
  return true;
}

size_t bytes_of(CUpointer_attribute attribute) {
  switch (static_cast<int>(attribute)) {
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
    case CU_POINTER_ATTRIBUTE_MAPPED: return 4;
    default: return 8;
  }
}

void allocate_from(ApiCall& c, CUdeviceptr* out, size_t bytes, const std::shared_ptr<Pool>& pool, CUstream handle) {
  require(out != nullptr);
  const auto stream = stream_of(c, handle);
  if (stream->capture) {
    invalidate(*stream->capture);
    fail(CUDA_ERROR_NOT_SUPPORTED, "memory nodes in graphs");
  }
  require(!pool->maximum || pool->used + bytes <= pool->maximum, CUDA_ERROR_OUT_OF_MEMORY);
  *out = hold(c, bytes, Kind::pooled, pool, &c.driver.device(pool->device));
  pool->used += bytes;
  pool->high = std::max(pool->high, pool->used);
}

}  // namespace

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  return with_context([&](ApiCall& c) {
    require(free && total);
    const Memory& m = c.context->device->memory;
    *total = m.capacity();
    *free = m.capacity() - m.used();
  });
}

CUresult cuMemAlloc_v2(CUdeviceptr* out, size_t bytes) {
  return with_context([&](ApiCall& c) {
    require(out != nullptr);
    c.unsafe_in_capture();
    *out = hold(c, bytes);
  });
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* out, size_t* pitch, size_t width, size_t height, unsigned int element) {
  return with_context([&](ApiCall& c) {
    require(out && pitch && width && height && (element == 4 || element == 8 || element == 16));
    require(width < uint64_t{1} << 40 && height < uint64_t{1} << 40 &&
                (width + 511) / 512 * 512 < (uint64_t{1} << 46) / height,
            CUDA_ERROR_OUT_OF_MEMORY);
    c.unsafe_in_capture();
    const size_t row = (width + 511) / 512 * 512;
    *out = hold(c, row * height);
    *pitch = row;
  });
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  return with_context([&](ApiCall& c) {
    if (!address) return;
    c.unsafe_in_capture();
    const auto found = c.driver.holdings.find(address);
    require(found != c.driver.holdings.end());
    const Kind kind = found->second.kind;
    require(kind == Kind::device || kind == Kind::managed || kind == Kind::pooled);
    // As on hardware, freeing waits for all work that may still use the memory. The program must not rely on that
    // order.
    c.driver.wait_all(c.lock, *found->second.context);
    c.driver.release(address);
  });
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
  return with_context([&](ApiCall& c) {
    const auto found = c.driver.holding(address);
    require(found != c.driver.holdings.end(), CUDA_ERROR_NOT_FOUND);
    if (base) *base = found->first;
    if (bytes) *bytes = found->second.size;
  });
}

CUresult cuMemHostAlloc(void** out, size_t bytes, unsigned int flags) {
  return with_context([&](ApiCall& c) {
    require(out && flags <= (CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED));
    c.unsafe_in_capture();
    *out = hold_host(c, bytes, Kind::host, flags);
  });
}
// With unified addressing all host memory is portable and mapped.
CUresult cuMemAllocHost_v2(void** out, size_t bytes) {
  return cuMemHostAlloc(out, bytes, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
}
CUresult cuMemFreeHost(void* p) {
  return with_context([&](ApiCall& c) {
    c.unsafe_in_capture();
    free_host(c, p, Kind::host, CUDA_ERROR_INVALID_VALUE);
  });
}

CUresult cuMemHostRegister_v2(void* p, size_t bytes, unsigned int flags) {
  return with_context([&](ApiCall& c) {
    require(p && bytes && bytes < uint64_t{1} << 46);
    require(flags <= (CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP));
    c.unsafe_in_capture();
    const auto address = reinterpret_cast<uint64_t>(p);
    const auto next = c.driver.holdings.lower_bound(address);
    require(c.driver.holding(address) == c.driver.holdings.end() &&
                (next == c.driver.holdings.end() || next->first >= address + bytes),
            CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    c.driver.host.share(p, bytes);
    c.driver.holdings[address] = {Kind::registered, bytes,         c.context, c.context->device, flags,
                                  nullptr,          ++c.driver.ids};
  });
}
CUresult cuMemHostUnregister(void* p) {
  return with_context([&](ApiCall& c) {
    c.unsafe_in_capture();
    free_host(c, p, Kind::registered, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
  });
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* out, void* p, unsigned int flags) {
  return with_context([&](ApiCall& c) {
    require(out && flags == 0);
    const auto found = c.driver.holding(reinterpret_cast<uint64_t>(p));
    require(found != c.driver.holdings.end() &&
            (found->second.kind == Kind::host || found->second.kind == Kind::registered));
    *out = reinterpret_cast<uint64_t>(p);
  });
}
CUresult cuMemHostGetFlags(unsigned int* flags, void* p) {
  return with_context([&](ApiCall& c) {
    require(flags != nullptr);
    const auto found = c.driver.holding(reinterpret_cast<uint64_t>(p));
    require(found != c.driver.holdings.end() && found->second.kind == Kind::host);
    *flags = found->second.flags;
  });
}

CUresult cuMemAllocManaged(CUdeviceptr* out, size_t bytes, unsigned int flags) {
  return with_context([&](ApiCall& c) {
    require(out && (flags == CU_MEM_ATTACH_GLOBAL || flags == CU_MEM_ATTACH_HOST));
    c.unsafe_in_capture();
    *out = reinterpret_cast<uint64_t>(hold_host(c, bytes, Kind::managed, flags));
  });
}

CUresult cuPointerGetAttribute(void* out, CUpointer_attribute attribute, CUdeviceptr address) {
  return with_driver([&](ApiCall& c) {
    require(out != nullptr);
    require(attribute_of(c, out, attribute, address));
  });
}
CUresult cuPointerGetAttributes(unsigned int n, CUpointer_attribute* attributes, void** out, CUdeviceptr address) {
  return with_driver([&](ApiCall& c) {
    require(n > 0 && attributes && out);
    for (unsigned i = 0; i < n; i++) {
      require(out[i] != nullptr);
      // Unlike cuPointerGetAttribute, this function sets attributes that do not apply to zero.
      if (!attribute_of(c, out[i], attributes[i], address)) std::memset(out[i], 0, bytes_of(attributes[i]));
    }
  });
}
CUresult cuPointerSetAttribute(const void* value, CUpointer_attribute attribute, CUdeviceptr address) {
  return with_driver([&](ApiCall& c) {
    const auto found = c.driver.holding(address);
    require(value && attribute == CU_POINTER_ATTRIBUTE_SYNC_MEMOPS && found != c.driver.holdings.end());
    found->second.flags = (found->second.flags & 0x7fffffff) | (*static_cast<const unsigned*>(value) ? 1u << 31 : 0);
  });
}

// --- stream-ordered memory -------------------------------------------------------------------------------------------

CUresult cuMemAllocAsync(CUdeviceptr* out, size_t bytes, CUstream stream) {
  return with_context([&](ApiCall& c) { allocate_from(c, out, bytes, c.context->device->pool, stream); });
}
CUresult cuMemAllocFromPoolAsync(CUdeviceptr* out, size_t bytes, CUmemoryPool pool, CUstream stream) {
  return with_context(
      [&](ApiCall& c) { allocate_from(c, out, bytes, c.driver.get<Pool>(pool, CUDA_ERROR_INVALID_VALUE), stream); });
}
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
  return with_context([&](ApiCall& c) {
    const auto stream = stream_of(c, handle);
    if (stream->capture) {
      invalidate(*stream->capture);
      fail(CUDA_ERROR_NOT_SUPPORTED, "memory nodes in graphs");
    }
    if (!address) return;
    const auto found = c.driver.holdings.find(address);
    require(found != c.driver.holdings.end() &&
            (found->second.kind == Kind::pooled || found->second.kind == Kind::device));
    enqueue(c, stream, FreeWork{address});
  });
}

CUresult cuMemPoolCreate(CUmemoryPool* out, const CUmemPoolProps* p) {
  return with_driver([&](ApiCall& c) {
    require(out && p && p->allocType == CU_MEM_ALLOCATION_TYPE_PINNED &&
            p->location.type == CU_MEM_LOCATION_TYPE_DEVICE);
    require(p->handleTypes == CU_MEM_HANDLE_TYPE_NONE, CUDA_ERROR_NOT_SUPPORTED);
    c.driver.device(p->location.id);
    auto pool = c.driver.create<Pool>();
    pool->device = p->location.id;
    pool->maximum = p->maxSize;
    *out = handle_of<CUmemoryPool>(*pool);
  });
}
CUresult cuMemPoolDestroy(CUmemoryPool handle) {
  return with_driver([&](ApiCall& c) {
    const auto pool = c.driver.get<Pool>(handle, CUDA_ERROR_INVALID_VALUE);
    Device& device = c.driver.device(pool->device);
    require(pool != device.default_pool);
    if (device.pool == pool) device.pool = device.default_pool;
    c.driver.forget(*pool);  // allocations keep the pool alive
  });
}
CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t) {
  return with_driver([&](ApiCall& c) { c.driver.get<Pool>(handle, CUDA_ERROR_INVALID_VALUE); });
}
CUresult cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
  return with_driver([&](ApiCall& c) {
    require(value != nullptr);
    const auto p = c.driver.get<Pool>(handle, CUDA_ERROR_INVALID_VALUE);
    auto put = [&](uint64_t v) { *static_cast<uint64_t*>(value) = v; };
    switch (static_cast<int>(attribute)) {
      case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
      case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
      case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
        *static_cast<int*>(value) = p->reuse[attribute - 1];
        return;
      case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: return put(p->threshold);
      case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
      case CU_MEMPOOL_ATTR_USED_MEM_CURRENT: return put(p->used);
      case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
      case CU_MEMPOOL_ATTR_USED_MEM_HIGH: return put(p->high);
      default: fail(CUDA_ERROR_INVALID_VALUE);
    }
  });
}
CUresult cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
  return with_driver([&](ApiCall& c) {
    require(value != nullptr);
    const auto p = c.driver.get<Pool>(handle, CUDA_ERROR_INVALID_VALUE);
    switch (static_cast<int>(attribute)) {
      case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
      case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
      case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
        p->reuse[attribute - 1] = *static_cast<int*>(value);
        return;
      case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: p->threshold = *static_cast<uint64_t*>(value); return;
      case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
      case CU_MEMPOOL_ATTR_USED_MEM_HIGH:  // can only be reset
        require(*static_cast<uint64_t*>(value) == 0);
        p->high = p->used;
        return;
      default: fail(CUDA_ERROR_INVALID_VALUE);
    }
  });
}
CUresult cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc* map, size_t count) {
  return with_driver([&](ApiCall& c) {
    const auto pool = c.driver.get<Pool>(handle, CUDA_ERROR_INVALID_VALUE);
    require(map || count == 0);
    for (size_t i = 0; i < count; i++) {
      require(map[i].location.type == CU_MEM_LOCATION_TYPE_DEVICE);
      c.driver.device(map[i].location.id);
      const bool all = map[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
      require(all || (map[i].flags == CU_MEM_ACCESS_FLAGS_PROT_NONE && map[i].location.id != pool->device));
      if (all)
        pool->accessible.insert(map[i].location.id);
      else
        pool->accessible.erase(map[i].location.id);
    }
  });
}
CUresult cuMemPoolGetAccess(CUmemAccess_flags* flags, CUmemoryPool handle, CUmemLocation* location) {
  return with_driver([&](ApiCall& c) {
    require(flags && location && location->type == CU_MEM_LOCATION_TYPE_DEVICE);
    const auto pool = c.driver.get<Pool>(handle, CUDA_ERROR_INVALID_VALUE);
    const int id = c.driver.device(location->id).ordinal;
    *flags = id == pool->device || pool->accessible.contains(id) ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
                                                                 : CU_MEM_ACCESS_FLAGS_PROT_NONE;
  });
}
