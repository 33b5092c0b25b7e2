// Device, host, managed, pooled and peer memory.
#include "host.h"

TEST(copies_in_every_direction) {
  begin();
  CUdeviceptr p = device_words({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}), q = device_words(std::vector<uint32_t>(12));
  OK(cuMemcpyDtoD_v2(q, p, 48));
  EXPECT(words_at(q, 12)[11] == 12);
  OK(cuMemcpy(q, p + 4, 4));
  EXPECT(words_at(q, 1)[0] == 2);
  OK(cuMemsetD32_v2(q, 9, 2));
  OK(cuMemsetD16_v2(q, 0x1234, 1));
  OK(cuMemsetD8_v2(q + 3, 0xff, 1));
  EXPECT(words_at(q, 2)[0] == 0xff001234 && words_at(q, 2)[1] == 9);
  // 2 rows of 8 bytes at column 4 of a matrix of 3 x 16 bytes
  CUDA_MEMCPY2D c{};
  c.srcMemoryType = CU_MEMORYTYPE_DEVICE, c.srcDevice = p, c.srcPitch = 16, c.srcXInBytes = 4, c.srcY = 1;
  uint32_t out[4] = {};
  c.dstMemoryType = CU_MEMORYTYPE_HOST, c.dstHost = out, c.dstPitch = 8;
  c.WidthInBytes = 8, c.Height = 2;
  OK(cuMemcpy2D_v2(&c));
  EXPECT(out[0] == 6 && out[1] == 7 && out[2] == 10 && out[3] == 11);
  c.Height = 3;
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D_v2(&c));
  c.Height = 2, c.srcPitch = 8;
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D_v2(&c));
  CUDA_MEMCPY3D d{};
  d.srcMemoryType = d.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  d.srcDevice = p, d.srcPitch = 8, d.srcHeight = 3;  // two images of 3 rows of 2 words
  d.dstDevice = q, d.dstPitch = 4, d.dstHeight = 1;
  d.WidthInBytes = 4, d.Height = 1, d.Depth = 2, d.srcY = 2, d.srcXInBytes = 4;
  OK(cuMemcpy3D_v2(&d));
  EXPECT(words_at(q, 2)[0] == 6 && words_at(q, 2)[1] == 12);
  OK(cuMemsetD2D32_v2(p, 16, 0, 1, 3));
  EXPECT((words_at(p, 9) == std::vector<uint32_t>{0, 2, 3, 4, 0, 6, 7, 8, 0}));
}

TEST(memory_is_checked) {
  setenv("CARACAL_VGPU_MEMORY", "1M", 1);
  begin();
  CUdeviceptr p, q;
  size_t free_before, total, bytes = 0;
  OK(cuMemGetInfo_v2(&free_before, &total));
  EXPECT(total == 1 << 20);
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemAlloc_v2(&p, 0));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemAlloc_v2(nullptr, 1));
  GIVES(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&p, 1 << 20));
  GIVES(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&p, SIZE_MAX));
  OK(cuMemAlloc_v2(&p, 1000));
  EXPECT(p % 256 == 0);
  OK(cuMemGetInfo_v2(&bytes, &total));
  EXPECT(bytes == free_before - 1000);
  OK(cuMemGetAddressRange_v2(&q, &bytes, p + 999));
  EXPECT(q == p && bytes == 1000);
  GIVES(CUDA_ERROR_NOT_FOUND, cuMemGetAddressRange_v2(&q, &bytes, p + 1000));
  char host[2000];
  OK(cuMemcpyDtoH_v2(host, p, 1000));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(host, p, 1001));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(p + 1, host, 1000));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(reinterpret_cast<CUdeviceptr>(host), host, 1));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemsetD32_v2(p + 2, 0, 1));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemsetD8_v2(p, 0, SIZE_MAX));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(p + 256));
  OK(cuMemFree_v2(0));
  OK(cuMemFree_v2(p));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(p));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(host, p, 1));
  size_t pitch = 0;
  OK(cuMemAllocPitch_v2(&p, &pitch, 100, 3, 4));
  EXPECT(pitch >= 100 && pitch % 32 == 0);
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemAllocPitch_v2(&p, &pitch, 100, 3, 5));
}

TEST(host_memory_on_the_device) {
  begin();
  void* h = nullptr;
  OK(cuMemHostAlloc(&h, 64, CU_MEMHOSTALLOC_DEVICEMAP));
  auto* words = static_cast<uint32_t*>(h);
  words[0] = 3;
  CUdeviceptr p = 0;
  OK(cuMemHostGetDevicePointer_v2(&p, h, 0));
  OK(launch(function("multiply"), 1, 1, 0, nullptr, p, 5u));
  OK(cuCtxSynchronize());
  EXPECT(words[0] == 15);
  unsigned type = 0;
  OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p + 60));
  EXPECT(type == CU_MEMORYTYPE_HOST);
  static uint32_t host_words[1024];
  host_words[0] = 2;
  GIVES(CUDA_ERROR_INVALID_VALUE,
        cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, reinterpret_cast<CUdeviceptr>(host_words)));
  OK(cuMemHostRegister_v2(host_words, sizeof host_words, 0));
  GIVES(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister_v2(host_words + 1, 4, 0));
  OK(launch(function("multiply"), 1, 1, 0, nullptr, reinterpret_cast<CUdeviceptr>(host_words), 5u));
  OK(cuMemHostUnregister(host_words));  // waits
  EXPECT(host_words[0] == 10);
  GIVES(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(host_words));
  OK(cuMemFreeHost(h));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(h));
  OK(cuMemAllocManaged(&p, 4, CU_MEM_ATTACH_GLOBAL));
  *reinterpret_cast<uint32_t*>(p) = 4;
  OK(launch(function("multiply"), 1, 1, 0, nullptr, p, 5u));
  OK(cuCtxSynchronize());
  EXPECT(*reinterpret_cast<uint32_t*>(p) == 20);
  unsigned managed = 0;
  OK(cuPointerGetAttribute(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, p));
  EXPECT(managed == 1);
  // An unregistered host pointer faults on the device.
  OK(launch(function("multiply"), 1, 1, 0, nullptr, reinterpret_cast<CUdeviceptr>(host_words), 5u));
  GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
}

TEST(pools) {
  begin();
  const CUstream s = new_stream();
  CUdeviceptr p = 0;
  CUmemoryPool pool;
  uint64_t used = 1;
  OK(cuDeviceGetDefaultMemPool(&pool, 0));
  OK(cuMemAllocAsync(&p, 100, s));
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  EXPECT(used == 100);
  OK(cuMemsetD8Async(p, 3, 100, s));
  OK(cuMemFreeAsync(p, s));
  OK(cuStreamSynchronize(s));
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  EXPECT(used == 0);
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemsetD8Async(p, 3, 100, s));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemFreeAsync(p, s));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemPoolDestroy(pool));
}

TEST(peers) {
  setenv("CARACAL_VGPU_DEVICES", "2", 1);
  begin();
  const CUdeviceptr local = device_words({3});
  CUcontext other;
  OK(cuCtxCreate_v2(&other, 0, 1));
  const CUdeviceptr remote = device_words({8});
  OK(cuCtxSetCurrent(context));
  int ordinal = -1;
  OK(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, remote));
  EXPECT(ordinal == 1);
  OK(cuMemcpyPeer(local, context, remote, other, 4));
  EXPECT(words_at(local, 1)[0] == 8);
  OK(cuCtxEnablePeerAccess(other, 0));
  GIVES(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, cuCtxEnablePeerAccess(other, 0));
  GIVES(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, cuCtxEnablePeerAccess(context, 0));
  OK(launch(function("multiply"), 1, 1, 0, nullptr, remote, 2u));
  OK(cuCtxSynchronize());
  EXPECT(words_at(remote, 1)[0] == 16);
  OK(cuCtxDisablePeerAccess(other));
  GIVES(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, cuCtxDisablePeerAccess(other));
  OK(launch(function("multiply"), 1, 1, 0, nullptr, remote, 2u));
  GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
}
