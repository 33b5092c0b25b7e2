// Encodes text.
#include <algorithm>

#include "engine/byte_pairs.h"
#include "node/functions.h"

namespace caracal::node {
namespace {

struct MergeTableHandle {
  static constexpr const char* kWhat = "a table of merges";
  static constexpr napi_type_tag kTag{0x6361726163616c05, 0x9d4f1c7a52e84b05};
  std::shared_ptr<MergeTable> table;
};

struct WordEncoderHandle {
  static constexpr const char* kWhat = "an encoder of words";
  static constexpr napi_type_tag kTag{0x6361726163616c06, 0x9d4f1c7a52e84b06};
  std::unique_ptr<WordEncoder> encoder;
};

std::span<const int32_t> integers(const Napi::Value& v, const char* name) {
  if (!v.IsTypedArray() || v.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
    bad_argument(name, "an Int32Array", v);
  const auto array = v.As<Napi::Int32Array>();
  return {array.Data(), array.ElementLength()};
}

// mergeTable(byteIds, count): the ids of all bytes, and for how many merges it has room
Napi::Value merge_table(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    int64_t count = 0;
    read(info[1], "count", count);
    const auto bytes = integers(info[0], "byteIds");
    std::array<int32_t, 256> byte_ids;
    if (bytes.size() != byte_ids.size()) bad_argument("byteIds", "of 256 elements", info[0]);
    if (count < 0 || count > static_cast<int64_t>(MergeTable::kMaxMerges))
      bad_argument("count", "in [0, 2^20)", info[1]);
    std::ranges::copy(bytes, byte_ids.begin());
    auto table = std::make_shared<MergeTable>(byte_ids, static_cast<size_t>(count));
    return wrap(info.Env(), MergeTableHandle{std::move(table)}, [](Napi::Env, MergeTableHandle&) {});
  });
}

// addMerges(table, merges): the left, right and joined id of each
Napi::Value add_merges(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const auto merges = integers(info[1], "merges");
    MergeTable& table = *unwrap<MergeTableHandle>(info[0], "table").table;
    for (size_t i = 0; i + 2 < merges.size(); i += 3) table.add(merges[i], merges[i + 1], merges[i + 2]);
    return info.Env().Undefined();
  });
}

// wordEncoder(table)
Napi::Value word_encoder(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto encoder = std::make_unique<WordEncoder>(unwrap<MergeTableHandle>(info[0], "table").table);
    return wrap(info.Env(), WordEncoderHandle{std::move(encoder)}, [](Napi::Env, WordEncoderHandle&) {});
  });
}

// encodeWords(encoder, limit, text?, ends?): ids, or null if there is more to do for the text, by a call without one
Napi::Value encode_words(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    int64_t limit = 0;
    read(info[1], "limit", limit);
    WordEncoder& encoder = *unwrap<WordEncoderHandle>(info[0], "encoder").encoder;
    if (!info[2].IsUndefined()) {
      if (!info[2].IsString()) bad_argument("text", "a string", info[2]);
      const auto ends = integers(info[3], "ends");
      std::u16string text = info[2].As<Napi::String>().Utf16Value();
      const auto in_order = [&, last = 0](int32_t end) mutable {
        return end >= std::exchange(last, end) && static_cast<size_t>(end) <= text.size();
      };
      if (!std::ranges::all_of(ends, in_order)) bad_argument("ends", "ascending places in the text", info[3]);
      encoder.add(std::move(text), {ends.begin(), ends.end()});
    }
    if (!encoder.work(limit)) return info.Env().Null();
    const std::vector<int32_t> ids = encoder.take();
    auto array = Napi::Int32Array::New(info.Env(), ids.size());
    std::ranges::copy(ids, array.Data());
    return array;
  });
}

}  // namespace

void export_text_functions(Napi::Env env, Napi::Object exports) {
  const Function functions[] = {
      {"mergeTable", merge_table},
      {"addMerges", add_merges},
      {"wordEncoder", word_encoder},
      {"encodeWords", encode_words},
  };
  export_functions(env, exports, functions);
}

}  // namespace caracal::node
