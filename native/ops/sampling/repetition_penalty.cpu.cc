#include "ops/sampling/repetition_penalty.h"

#include <algorithm>
#include <cstring>

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {
namespace {

// Applies the penalty once per distinct id. `sorted` is the history of a row in ascending order.
template <class T>
void penalise(const int32_t* sorted, int64_t n, double penalty, T* y) {
  for (int64_t i = 0, next; i < n; i = next) {
    const int32_t id = sorted[i];
    for (next = i + 1; next < n && sorted[next] == id;) next++;
    if (id < 0) continue;
    y[id] = from_float<T>(penalised(to_float(y[id]), penalty, next - i));
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
      const Temporary<int32_t> sorted(cpu, window);
      for (int64_t i = 0; i < window; i++) {
        if (history[i] >= ids) throw op.no_such_id(row * window + i, history[i], ids);
        sorted[i] = history[i];
      }
      std::sort(sorted.data(), sorted.data() + window);
      penalise(sorted.data(), window, op.penalty, y);
    });
  });
}

}  // namespace caracal::CARACAL_ISA
