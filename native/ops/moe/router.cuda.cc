#include "ops/moe/router.h"

#include "cuda/gemm/launch.h"
#include "ops/moe/router_tiles.cuda.h"

namespace caracal::cuda {

void run(const Router& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t tokens = op.x.shape[0], all = op.all_experts();
  if (tokens == 0) return;
  const Temporary<float> logits(cuda, size_t(tokens * all));
  const GemmOperands p = gemm_operands(op.x, {&op.classifier}, tokens);
  const GemmTile tile = logit_tile(tokens, all, op.x.dtype, op.classifier.dtype, cuda.gpu.sms);
  cuda.launch(entry_of(kRouterLogits, tile.name, op.x.dtype, op.classifier.dtype),
              {{unsigned(tile_count(tile, tokens, all))}, tile.threads, tile.shared_bytes}, p, logits.data());

  const RouterParameters parameters{.logits = logits.data(),
                                    .bias = static_cast<const float*>(address(op.correction_bias)),
                                    .ids = out[0].data<int>(),
                                    .weights = out[1].data<float>(),
                                    .zero_weight = out[2].data<float>(),
                                    .tokens = tokens,
                                    .all = int(all),
                                    .experts = int(op.experts),
                                    .picks = int(op.top_k),
                                    .scale = float(op.scale),
                                    .renormalize = op.renormalize,
                                    .scale_zero_experts = op.scale_zero_experts,
                                    .aligned = vectorizable(all, {address(op.correction_bias)}, 4)};
  cuda.launch(entry_of(kRouterPicks, lane_scores(all)), {{unsigned(divide_up(tokens, kPickTokens))}, 32 * kPickTokens},
              parameters);
}

}  // namespace caracal::cuda
