{
  "variables": {
    "common_cflags": ["-std=c++20", "-fexceptions", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror=narrowing", "-Werror=switch"],
    "avx2_cflags": ["-mavx2", "-mfma", "-mf16c"],
    "vgpu_cflags": ["-mavx2", "-mfma", "-mf16c", "-fno-math-errno", "-fno-trapping-math", "-Wno-missing-field-initializers"],
    "avx512_cflags": ["-Wno-maybe-uninitialized", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c", "-mprefer-vector-width=512"]
  }
}
