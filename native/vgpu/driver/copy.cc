// Copies and fills. "API synchronization behavior" (CUDA Driver API) defines which of them block the host.
#include <algorithm>
#include <cstring>

#include "driver/state.h"

using namespace vgpu;
using namespace vgpu::driver;

namespace vgpu::driver {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 46;

// Each row must lie within one allocation. The first and the last row are checked.
void check(Driver& d, const CopyWork::Side& s, size_t width, size_t height, size_t depth) {
  if (s.host) return;
  auto inside = [&](size_t row, size_t image) {
    require(d.resolve(s.address + row * s.pitch + image * s.slice, width) != nullptr, CUDA_ERROR_INVALID_VALUE,
            "the copy is not within an allocation");
  };
  inside(0, 0);
  inside(height - 1, 0);
  inside(height - 1, depth - 1);
}

CopyWork::Side side(Driver& d, CUmemorytype type, const void* host, CUdeviceptr device, size_t pitch, size_t rows,
                    size_t x, size_t y, size_t z, const CUDA_MEMCPY3D& p) {
  CopyWork::Side s;
  // arrays are not supported
  require(type == CU_MEMORYTYPE_HOST || type == CU_MEMORYTYPE_DEVICE || type == CU_MEMORYTYPE_UNIFIED);
  const uint64_t base = type == CU_MEMORYTYPE_HOST ? reinterpret_cast<uint64_t>(host) : device;
  require(base != 0);
  s.pitch = pitch ? pitch : p.WidthInBytes + x;
  const size_t lines = rows ? rows : p.Height + y;
  require(x < kMaxBytes && y < kMaxBytes && z < kMaxBytes && s.pitch < kMaxBytes && lines < kMaxBytes &&
          s.pitch <= kMaxBytes / std::max<size_t>(lines, 1));
  s.slice = s.pitch * lines;
  require(p.WidthInBytes + x <= s.pitch && (p.Depth <= 1 || p.Height + y <= lines));
  require(z < kMaxBytes / std::max<size_t>(s.slice, 1));
  s.address = base + x + y * s.pitch + z * s.slice;
  // Host memory that devices can access is treated like device memory.
  s.host = type == CU_MEMORYTYPE_HOST && !d.resolve(s.address, p.WidthInBytes);
  return s;
}

}  // namespace

CopyWork copy_work(ApiCall& c, const CUDA_MEMCPY3D& p) {
  CopyWork w;
  w.width = p.WidthInBytes, w.height = p.Height, w.depth = p.Depth;
  require(p.srcLOD == 0 && p.dstLOD == 0 && w.width < kMaxBytes && w.height < kMaxBytes && w.depth < kMaxBytes);
  if (w.width == 0 || w.height == 0 || w.depth == 0) return {{}, {}, 0, 0, 0, nullptr};
  w.from = side(c.driver, p.srcMemoryType, p.srcHost, p.srcDevice, p.srcPitch, p.srcHeight, p.srcXInBytes, p.srcY,
                p.srcZ, p);
  w.to = side(c.driver, p.dstMemoryType, p.dstHost, p.dstDevice, p.dstPitch, p.dstHeight, p.dstXInBytes, p.dstY, p.dstZ,
              p);
  check(c.driver, w.from, w.width, w.height, w.depth);
  check(c.driver, w.to, w.width, w.height, w.depth);
  return w;
}

FillWork fill_work(ApiCall& c, uint64_t to, size_t pitch, uint32_t value, unsigned element, size_t width,
                   size_t height) {
  require(to % element == 0 && width < kMaxBytes / element && height < kMaxBytes);
  if (width == 0 || height == 0) return {to, pitch, value, element, 0, 0};
  require(height == 1 || (pitch >= width * element && pitch < kMaxBytes / height));
  require(c.driver.resolve(to, width * element) && c.driver.resolve(to + (height - 1) * pitch, width * element),
          CUDA_ERROR_INVALID_VALUE, "the memset is not within an allocation");
  return {to, pitch, value, element, width, height};
}

}  // namespace vgpu::driver

namespace {

enum class Waits : uint8_t { no, yes };

// The host always waits for a copy to pageable memory and, unless the call is an …Async one, for all copies but those
// between devices. Pageable sources are read before the call returns.
void copy(ApiCall& c, CUstream handle, const CUDA_MEMCPY3D& p, Waits waits) {
  if (waits == Waits::yes) c.unsafe_in_capture();
  const auto stream = stream_of(c, handle);
  CopyWork w = copy_work(c, p);
  if (w.width == 0) return;
  const bool captured = stream->capture != nullptr;
  if (w.from.host && !captured) {
    w.staged = std::make_shared<std::vector<std::byte>>(w.width * w.height * w.depth);
    std::byte* to = w.staged->data();
    for (size_t image = 0; image < w.depth; image++)
      for (size_t row = 0; row < w.height; row++, to += w.width)
        std::memcpy(to, reinterpret_cast<const std::byte*>(w.from.address + row * w.from.pitch + image * w.from.slice),
                    w.width);
  }
  auto in_host = [&](const CopyWork::Side& s) {
    const auto h = c.driver.holding(s.address);
    return s.host || (h != c.driver.holdings.end() &&
                      (h->second.kind == Holding::Kind::host || h->second.kind == Holding::Kind::registered));
  };
  const bool wait = w.to.host || (waits == Waits::yes && (in_host(w.from) || in_host(w.to)));
  const auto context = stream->context.lock();
  const auto job = enqueue(c, stream, std::move(w));
  if (wait && job) c.wait(job, *context);
}

CUDA_MEMCPY3D line(CUmemorytype from_type, const void* from_host, CUdeviceptr from, CUmemorytype to_type, void* to_host,
                   CUdeviceptr to, size_t bytes) {
  CUDA_MEMCPY3D p{};
  p.srcMemoryType = from_type, p.srcHost = from_host, p.srcDevice = from;
  p.dstMemoryType = to_type, p.dstHost = to_host, p.dstDevice = to;
  p.WidthInBytes = bytes, p.Height = p.Depth = 1;
  return p;
}
CUDA_MEMCPY3D to_device(CUdeviceptr to, const void* from, size_t n) {
  return line(CU_MEMORYTYPE_HOST, from, 0, CU_MEMORYTYPE_DEVICE, nullptr, to, n);
}
CUDA_MEMCPY3D to_host(void* to, CUdeviceptr from, size_t n) {
  return line(CU_MEMORYTYPE_DEVICE, nullptr, from, CU_MEMORYTYPE_HOST, to, 0, n);
}
CUDA_MEMCPY3D on_device(CUdeviceptr to, CUdeviceptr from, size_t n) {
  return line(CU_MEMORYTYPE_UNIFIED, nullptr, from, CU_MEMORYTYPE_UNIFIED, nullptr, to, n);
}
CUDA_MEMCPY3D solid(const CUDA_MEMCPY2D& p) {
  CUDA_MEMCPY3D q{};
  q.srcXInBytes = p.srcXInBytes, q.srcY = p.srcY, q.srcMemoryType = p.srcMemoryType, q.srcHost = p.srcHost,
  q.srcDevice = p.srcDevice;
  q.srcPitch = p.srcPitch, q.dstXInBytes = p.dstXInBytes, q.dstY = p.dstY, q.dstMemoryType = p.dstMemoryType,
  q.dstHost = p.dstHost;
  q.dstDevice = p.dstDevice, q.dstPitch = p.dstPitch, q.WidthInBytes = p.WidthInBytes, q.Height = p.Height, q.Depth = 1;
  return q;
}
CUDA_MEMCPY3D without_contexts(ApiCall& c, const CUDA_MEMCPY3D_PEER& p) {
  c.driver.get<Context>(p.srcContext, CUDA_ERROR_INVALID_CONTEXT);
  c.driver.get<Context>(p.dstContext, CUDA_ERROR_INVALID_CONTEXT);
  CUDA_MEMCPY3D q;
  static_assert(sizeof p == sizeof q);  // the contexts take the place of the reserved fields
  std::memcpy(&q, &p, sizeof q);
  return q;
}

CUresult copy_call(CUstream stream, const CUDA_MEMCPY3D& p, Waits waits) {
  return with_context([&](ApiCall& c) { copy(c, stream, p, waits); });
}

CUresult fill(CUdeviceptr to, size_t pitch, uint32_t value, unsigned element, size_t width, size_t height,
              CUstream handle, bool async) {
  return with_context([&](ApiCall& c) {
    if (!async) c.unsafe_in_capture();
    const auto stream = stream_of(c, handle);
    const auto w = fill_work(c, to, pitch, value, element, width, height);
    if (w.width == 0) return;
    const auto job = enqueue(c, stream, w);
    // The host waits only for memory of its own.
    const auto h = c.driver.holding(to);
    if (!async && h != c.driver.holdings.end() && h->second.kind != Holding::Kind::device &&
        h->second.kind != Holding::Kind::pooled && h->second.kind != Holding::Kind::module)
      c.wait(job, *c.context);
  });
}

}  // namespace

CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t n) {
  return copy_call(nullptr, on_device(to, from, n), Waits::yes);
}
CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) {
  return copy_call(s, on_device(to, from, n), Waits::no);
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t n) {
  return copy_call(nullptr, to_device(to, from, n), Waits::yes);
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t n, CUstream s) {
  return copy_call(s, to_device(to, from, n), Waits::no);
}
CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t n) {
  return copy_call(nullptr, to_host(to, from, n), Waits::yes);
}
CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t n, CUstream s) {
  return copy_call(s, to_host(to, from, n), Waits::no);
}
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t n) {
  return copy_call(nullptr, on_device(to, from, n), Waits::yes);
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) {
  return copy_call(s, on_device(to, from, n), Waits::no);
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D* p) {
  return p ? copy_call(nullptr, solid(*p), Waits::yes) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D* p) { return cuMemcpy2D_v2(p); }
CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* p, CUstream s) {
  return p ? copy_call(s, solid(*p), Waits::no) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D* p) {
  return p ? copy_call(nullptr, *p, Waits::yes) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* p, CUstream s) {
  return p ? copy_call(s, *p, Waits::no) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER* p, CUstream s) {
  return with_context([&](ApiCall& c) {
    require(p != nullptr);
    copy(c, s, without_contexts(c, *p), Waits::no);
  });
}
CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER* p) { return cuMemcpy3DPeerAsync(p, nullptr); }
CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context, size_t n,
                           CUstream s) {
  return with_context([&](ApiCall& c) {
    c.driver.get<Context>(to_context, CUDA_ERROR_INVALID_CONTEXT);
    c.driver.get<Context>(from_context, CUDA_ERROR_INVALID_CONTEXT);
    copy(c, s, on_device(to, from, n), Waits::no);
  });
}
CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context, size_t n) {
  return cuMemcpyPeerAsync(to, to_context, from, from_context, n, nullptr);
}

CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char v, size_t n) { return fill(to, 0, v, 1, n, 1, nullptr, false); }
CUresult cuMemsetD16_v2(CUdeviceptr to, unsigned short v, size_t n) { return fill(to, 0, v, 2, n, 1, nullptr, false); }
CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned int v, size_t n) { return fill(to, 0, v, 4, n, 1, nullptr, false); }
CUresult cuMemsetD2D8_v2(CUdeviceptr to, size_t pitch, unsigned char v, size_t w, size_t h) {
  return fill(to, pitch, v, 1, w, h, nullptr, false);
}
CUresult cuMemsetD2D16_v2(CUdeviceptr to, size_t pitch, unsigned short v, size_t w, size_t h) {
  return fill(to, pitch, v, 2, w, h, nullptr, false);
}
CUresult cuMemsetD2D32_v2(CUdeviceptr to, size_t pitch, unsigned int v, size_t w, size_t h) {
  return fill(to, pitch, v, 4, w, h, nullptr, false);
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char v, size_t n, CUstream s) {
  return fill(to, 0, v, 1, n, 1, s, true);
}
CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short v, size_t n, CUstream s) {
  return fill(to, 0, v, 2, n, 1, s, true);
}
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned int v, size_t n, CUstream s) {
  return fill(to, 0, v, 4, n, 1, s, true);
}
CUresult cuMemsetD2D8Async(CUdeviceptr to, size_t pitch, unsigned char v, size_t w, size_t h, CUstream s) {
  return fill(to, pitch, v, 1, w, h, s, true);
}
CUresult cuMemsetD2D16Async(CUdeviceptr to, size_t pitch, unsigned short v, size_t w, size_t h, CUstream s) {
  return fill(to, pitch, v, 2, w, h, s, true);
}
CUresult cuMemsetD2D32Async(CUdeviceptr to, size_t pitch, unsigned int v, size_t w, size_t h, CUstream s) {
  return fill(to, pitch, v, 4, w, h, s, true);
}
