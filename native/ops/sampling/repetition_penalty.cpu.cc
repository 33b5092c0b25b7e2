#include "ops/sampling/repetition_penalty.h"

#include <math.h>

#include <algorithm>
#include <cstring>

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {
namespace {

// Applies the penalty once per different id. `sorted` is a row's history, ascending.
template <class T>
void penalise(const int32_t* sorted, int64_t n, double penalty, T* y) {
  for (int64_t i = 0, next; i < n; i = next) {
    const int32_t id = sorted[i];
    for (next = i + 1; next < n && sorted[next] == id;) next++;
    if (id < 0) continue;
    const double factor = pow(penalty, static_cast<double>(next - i));
    const double logit = to_float(y[id]);
    y[id] = from_float<T>(static_cast<float>(logit < 0 ? logit * factor : logit / factor));
  }
}

}  // namespace

void run(const RepetitionPenalty& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t ids = op.logits.shape[1], window = op.history.shape[1];
  by_activation_type(op.logits.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, op.logits.shape[0], ids, [&](int64_t row) {
      T* y = out[0].data<T>() + row * ids;
      std::memcpy(y, op.logits.data<T>() + row * ids, ids * sizeof(T));
      const int32_t* history = op.history.data<int32_t>() + row * window;
      const Cpu::Temporary<int32_t> sorted(cpu, window);
      for (int64_t i = 0; i < window; i++) {
        if (history[i] >= ids)
          throw Error(code::kIndexOutOfRange, std::string(op.kName) + ": history holds id " +
                                                  std::to_string(history[i]) + ", but there are " +
                                                  std::to_string(ids) + " logits");
        sorted[i] = history[i];
      }
      std::sort(sorted.data(), sorted.data() + window);
      penalise(sorted.data(), window, op.penalty, y);
    });
  });
}

}  // namespace caracal::CARACAL_ISA
