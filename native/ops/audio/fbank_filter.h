#pragma once

namespace caracal {

// A mel filter: weights first_weight ... first_weight + bins - 1 apply to the bins from first_bin on.
struct FbankFilter {
  int first_bin, bins, first_weight;
};

}  // namespace caracal
