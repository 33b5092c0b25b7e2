// The pure functions that cut audio operations into blocks, for audioTiles.test.ts. Each returns false where nothing
// fits into shared memory.
#include "ops/audio/conv1d.cuda.h"
#include "ops/audio/conv_transpose1d.cuda.h"
#include "ops/audio/depthwise.cuda.h"
#include "ops/audio/fbank.cuda.h"
#include "ops/audio/fsmn_memory.cuda.h"
#include "ops/audio/lstm.cuda.h"

using namespace caracal;
using namespace caracal::cuda;

template <class Plan>
static bool give(const std::optional<Plan>& plan, Plan* out) {
  if (plan) *out = *plan;
  return plan.has_value();
}

extern "C" bool plan_depthwise(int64_t rows, int64_t channels, int64_t taps, int64_t stride, int64_t span, int dtype,
                               size_t max_shared, DepthwisePlan* out) {
  return give(depthwise_plan(rows, channels, taps, stride, span, static_cast<DType>(dtype), max_shared), out);
}

extern "C" bool plan_fsmn(int64_t rows, int64_t channels, int64_t taps, int64_t span, bool stream, int dtype, int sms,
                          size_t max_shared, FsmnTile* out) {
  return give(fsmn_tile(rows, channels, taps, span, stream, static_cast<DType>(dtype), sms, max_shared), out);
}

extern "C" ConvPlan plan_conv(int64_t m, int64_t n, int64_t k, int64_t groups, int sms) {
  return conv_plan(m, n, k, groups, sms);
}

extern "C" OverlapBlocks plan_overlap(int64_t rows, int64_t n, int64_t taps, int64_t stride) {
  return overlap_blocks(rows, n, taps, stride);
}

extern "C" int64_t steps_together(int64_t steps, int64_t hidden, int sms) {
  return lstm_steps_together(steps, hidden, sms);
}

extern "C" bool plan_lstm(int64_t hidden, bool several_steps, int dtype, int sms, size_t max_shared, LstmPlan* out) {
  return give(lstm_plan(hidden, several_steps, static_cast<DType>(dtype), sms, max_shared), out);
}

extern "C" bool plan_fbank(int64_t frames, int64_t half, size_t table_bytes, int sms, size_t max_shared,
                           FbankPlan* out) {
  return give(fbank_plan(frames, half, table_bytes, sms, max_shared), out);
}
