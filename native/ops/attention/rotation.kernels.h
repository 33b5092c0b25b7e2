#pragma once
// A kernel's parameter: theta^(-2 i / dim), made on the host, whose pow is exact to the last bit or nearly. Kernels make
// those for which there is no room.
#include <cmath>
#include <cstdint>

namespace caracal {

struct RotaryTable {
  static constexpr int64_t kRoom = 128;
  double theta;
  long long dim;
  double frequency[kRoom];
};

inline RotaryTable rotary_table(double theta, int64_t dim) {
  RotaryTable table{theta, dim, {}};
  for (int64_t i = 0; i < RotaryTable::kRoom && 2 * i < dim; i++)
    table.frequency[i] = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dim));
  return table;
}

}  // namespace caracal
