{
  "includes": ["native/flags.gypi"],
  "variables": {
    "core_sources": ["<!@(node scripts/generate.mjs core)"],
    "cpu_sources": ["<!@(node scripts/generate.mjs cpu)"],
    "vgpu_sources": ["<!@(node scripts/generate.mjs vgpu)"],
    "kernel_inputs": ["<!@(node scripts/generate.mjs kernel-inputs)"]
  },
  "target_defaults": {
    "include_dirs": ["native"],
    "cflags!": ["-O2"],
    "cflags": ["-O3"],
    "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
    "cflags_cc": ["<@(common_cflags)"]
  },
  "targets": [
    {
      "target_name": "caracal",
      "sources": ["<@(core_sources)", "<@(cpu_sources)"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": [
        "NAPI_VERSION=9", "NAPI_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
        "CARACAL_ISA=scalar", "CARACAL_BUILD_TOOL=\"node-gyp\""
      ],
      "ldflags": ["-Wl,-Bsymbolic", "-Wl,--version-script=<(module_root_dir)/native/node/exports.map"],
      "actions": [
        {
          "action_name": "kernels",
          "inputs": ["<@(kernel_inputs)"],
          "outputs": ["<(INTERMEDIATE_DIR)/kernel_images.cc"],
          "action": ["node", "scripts/generate.mjs", "kernels", "<@(_outputs)"],
          "process_outputs_as_sources": 1
        }
      ],
      "conditions": [
        ["target_arch=='x64'", {
          "dependencies": ["cpu_avx2", "cpu_avx512"],
          # Here the kernels of this target run only on processors without AVX2, so a shorter build is worth more.
          "cflags_cc": ["-O2"]
        }]
      ]
    }
  ],
  "conditions": [
    ["target_arch=='x64'", {
      "targets": [
        {
          "target_name": "cpu_avx2",
          "type": "static_library",
          "sources": ["<@(cpu_sources)"],
          "defines": ["CARACAL_ISA=avx2", "CARACAL_ISA_AVX2"],
          "cflags_cc": ["<@(avx2_cflags)"]
        },
        {
          "target_name": "cpu_avx512",
          "type": "static_library",
          "sources": ["<@(cpu_sources)"],
          "defines": ["CARACAL_ISA=avx512", "CARACAL_ISA_AVX512"],
          "cflags_cc": ["<@(avx512_cflags)"]
        }
      ]
    }],
    ["target_arch=='x64' and OS=='linux'", {
      "targets": [
        {
          "target_name": "caracal_vgpu",
          "product_prefix": "lib",
          "type": "shared_library",
          "product_dir": "<(PRODUCT_DIR)",
          "sources": ["<@(vgpu_sources)"],
          "include_dirs": ["native/vgpu"],
          "cflags_cc!": ["-fno-rtti"],
          "cflags_cc": ["<@(vgpu_cflags)"],
          "ldflags": ["-Wl,-Bsymbolic", "-Wl,--exclude-libs,ALL", "-Wl,--no-undefined"],
          "libraries": ["-lpthread"]
        }
      ]
    }]
  ]
}
