#pragma once
// What the host tells the kernel that picks experts.
namespace caracal {

struct RouterParameters {
  float* logits;  // [tokens, all]; where they have no room in registers, they are overwritten
  const float* bias;
  int* ids;            // [tokens, picks]
  float* weights;      // [tokens, picks]
  float* zero_weight;  // [tokens]
  long long tokens;
  int all, experts, picks;
  float scale;
  bool renormalize, scale_zero_experts;
  bool aligned;  // four logits, and four of the bias, can be moved at a time
};

}  // namespace caracal
