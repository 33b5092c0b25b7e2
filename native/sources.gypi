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
      "native/ops/attention/attention.cpu.cc",
      "native/ops/attention/rope.cpu.cc",
      "native/ops/attention/vit_attention.cpu.cc",
      "native/ops/audio/cmvn.cpu.cc",
      "native/ops/audio/codec_embedding.cpu.cc",
      "native/ops/audio/fbank.cpu.cc",
      "native/ops/audio/fsmn_memory.cpu.cc",
      "native/ops/audio/snake.cpu.cc",
      "native/ops/audio/splice.cpu.cc",
      "native/ops/linear/linear.cpu.cc",
      "native/ops/linear/pack_weight.cpu.cc",
      "native/ops/linear/swiglu.cpu.cc",
      "native/ops/machine/peaks.cpu.cc",
      "native/ops/moe/combine.cpu.cc",
      "native/ops/moe/grouped_gemm.cpu.cc",
      "native/ops/moe/permutation.cpu.cc",
      "native/ops/moe/router.cpu.cc",
      "native/ops/norm/rms_norm.cpu.cc"
    ],
    "common_cflags": ["-std=c++20", "-fexceptions", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra"],
    "avx2_cflags": ["-mavx2", "-mfma", "-mf16c"],
    "avx512_cflags": ["-Wno-maybe-uninitialized", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c", "-mprefer-vector-width=512"]
  }
}
