#include "cuda/dispatch.h"

namespace caracal {

// Each ops/**/*.cuda.cc defines `run` for its operation.
#define CARACAL_CUDA_OPS(X) \
  X(Activate)               \
  X(Argmax)                 \
  X(Attention)              \
  X(Binary)                 \
  X(Cast)                   \
  X(Cmvn)                   \
  X(CodecEmbedding)         \
  X(Combine)                \
  X(ConcatRows)             \
  X(Conv1d)                 \
  X(ConvTranspose1d)        \
  X(CopyRows)               \
  X(Fbank)                  \
  X(FoldWeightNorm)         \
  X(FsmnMemory)             \
  X(GatherRows)             \
  X(GroupedGemm)            \
  X(GroupedSwiglu)          \
  X(InterpolateTokens)      \
  X(LayerNorm)              \
  X(Linear)                 \
  X(Lstm)                   \
  X(MaskRows)               \
  X(MlaCacheWrite)          \
  X(MlaDecode)              \
  X(MlaPrefill)             \
  X(PackConv1d)             \
  X(PackConvTranspose1d)    \
  X(PackWeight)             \
  X(Patchify)               \
  X(Permutation)            \
  X(PromptEmbedding)        \
  X(RepetitionPenalty)      \
  X(ResizeBicubic)          \
  X(RmsNorm)                \
  X(Rope)                   \
  X(Router)                 \
  X(Sample)                 \
  X(Snake)                  \
  X(Splice)                 \
  X(SplitColumns)           \
  X(Swiglu)                 \
  X(VitAttention)

namespace cuda {
#define CARACAL_DECLARE(Op) void run(const Op&, std::span<Tensor>, Cuda&);
CARACAL_CUDA_OPS(CARACAL_DECLARE)
#undef CARACAL_DECLARE

// Chosen for the operations that have none.
template <class Op>
void run(const Op&, std::span<Tensor>, Cuda&) {
  throw Error(code::kUnsupported, std::string(Op::kName) + " has no CUDA kernel in this version: use a CPU device");
}
}  // namespace cuda

#define CARACAL_DISPATCH(Op)                                                \
  void cuda_run(CudaDevice& device, const Op& op, std::span<Tensor> out) {  \
    device.enqueue(op, out, [&](Cuda& cuda) { cuda::run(op, out, cuda); }); \
  }
CARACAL_OPS(CARACAL_DISPATCH)
#undef CARACAL_DISPATCH

}  // namespace caracal
