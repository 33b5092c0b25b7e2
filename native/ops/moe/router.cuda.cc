#include "ops/moe/router.h"

#include "cuda/gemm/launch.h"
#include "ops/moe/router_tiles.cuda.h"

namespace caracal::cuda {

void run(const Router& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t tokens = op.x.shape[0], all = op.experts + op.zeroExperts;
  if (tokens == 0) return;
  const Cuda::Temporary<float> logits(cuda, size_t(tokens * all));
  const GemmOperands p = gemm_operands(op.x, {&op.classifier}, tokens);
  const GemmTile tile = logit_tile(tokens, all, op.x.dtype, op.classifier.dtype, cuda.gpu.sms);
  cuda.launch(entry_of(kRouterLogits, tile.name, op.x.dtype, op.classifier.dtype),
              {{unsigned(tile_count(tile, tokens, all))}, tile.threads, tile.shared_bytes}, p, logits.data());

  const RouterParameters parameters{.logits = logits.data(),
                                    .bias = static_cast<const float*>(address(op.correctionBias)),
                                    .ids = out[0].data<int>(),
                                    .weights = out[1].data<float>(),
                                    .zero_weight = out[2].data<float>(),
                                    .tokens = tokens,
                                    .all = int(all),
                                    .experts = int(op.experts),
                                    .picks = int(op.topK),
                                    .scale = float(op.scale),
                                    .renormalize = op.renormalize,
                                    .scale_zero_experts = op.scaleZeroExperts,
                                    .aligned = vectors(all, {address(op.correctionBias)}, 4)};
  const int64_t in_registers = all <= 8 * 32 ? 8 : all <= 24 * 32 ? 24 : 0;
  cuda.launch(entry_of(kRouterPicks, in_registers), {{unsigned(divide_up(tokens, kPickTokens))}, 32 * kPickTokens},
              parameters);
}

}  // namespace caracal::cuda
