{
  "variables": {
    "core_sources": [
      "native/node/addon.cc",
      "native/node/device_functions.cc",
      "native/node/environment.cc",
      "native/node/tensor_functions.cc",
      "native/cpu/allocator.cc",
      "native/cpu/cpu_device.cc",
      "native/cpu/dispatch.cc",
      "native/cpu/isa.cc",
      "native/cpu/thread_pool.cc",
      "native/ops/audio/fbank_tables.cc"
    ],
    "cpu_op_sources": [
      "native/cpu/gemm.cpu.cc",
      "native/cpu/gemm_epilogue.cpu.cc",
      "native/cpu/gemm_kernel.cpu.cc",
      "native/ops/attention.cpu.cc",
      "native/ops/audio.cpu.cc",
      "native/ops/embedding.cpu.cc",
      "native/ops/image.cpu.cc",
      "native/ops/linear.cpu.cc",
      "native/ops/machine/peaks.cpu.cc",
      "native/ops/moe.cpu.cc",
      "native/ops/norm.cpu.cc",
      "native/ops/sampling.cpu.cc"
    ],
    "common_cflags": ["-std=c++20", "-fexceptions", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra"],
    "avx2_cflags": ["-mavx2", "-mfma", "-mf16c"],
    "avx512_cflags": ["-Wno-maybe-uninitialized", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c", "-mprefer-vector-width=512"]
  }
}
