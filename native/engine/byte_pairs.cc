#include "engine/byte_pairs.h"

#include <bit>

#include "core/error.h"

namespace caracal {

MergeTable::MergeTable(const std::array<int32_t, 256>& byte_ids, size_t count)
    : byte_ids_(byte_ids), slots_(std::bit_ceil(2 * count + 2)), count_(count) {
  list_.reserve(count);
}

void MergeTable::add(int32_t left, int32_t right, int32_t merged) {
  if (list_.size() == count_) throw Error(code::kInvalidArgument, "the table has no room for more merges");
  list_.push_back({left, right, merged});
  const uint32_t bits = static_cast<uint32_t>(hash(left, right)) & ~static_cast<uint32_t>(kMaxMerges);
  slots_[find(left, right)] = bits | static_cast<uint32_t>(list_.size());
}

uint64_t MergeTable::hash(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right)) * 0x9e3779b97f4a7c15;
}

size_t MergeTable::find(int32_t left, int32_t right) const {
  const uint64_t bits = hash(left, right);
  const size_t mask = slots_.size() - 1;
  for (size_t slot = bits >> 32 & mask;; slot = (slot + 1) & mask) {
    const uint32_t found = slots_[slot];
    if (found == 0) return slot;
    if ((found ^ static_cast<uint32_t>(bits)) > kMaxMerges) continue;
    const Merge& merge = list_[(found & kMaxMerges) - 1];
    if (merge.left == left && merge.right == right) return slot;
  }
}

void WordEncoder::add(std::u16string text, std::vector<uint32_t> ends) {
  text_ = std::move(text);
  ends_ = std::move(ends);
  at_ = word_ = 0;
}

bool WordEncoder::work(int64_t limit) {
  for (;;) {
    const bool is_whole = word_ < ends_.size();
    const size_t end = is_whole ? ends_[word_] : text_.size();
    for (; at_ < end; limit--) {
      if (limit <= 0) return false;
      read_character(end);
    }
    if (!is_whole) return true;
    for (; !pairs_.empty(); limit--) {
      if (limit <= 0) return false;
      merge_first();
    }
    for (; written_ < symbols_.size(); limit--) {
      if (limit <= 0) return false;
      ids_.push_back(symbols_[written_].id);
      written_ = symbols_[written_].next;
    }
    symbols_.clear();
    written_ = 0;
    word_++;
  }
}

// Reads a character as UTF-8; half of a surrogate pair as U+FFFD.
void WordEncoder::read_character(size_t end) {
  uint32_t point = text_[at_++];
  if (point >= 0xd800 && point < 0xe000) {
    const bool is_pair = point < 0xdc00 && at_ < end && text_[at_] >= 0xdc00 && text_[at_] < 0xe000;
    point = is_pair ? 0x10000 + ((point - 0xd800) << 10) + (text_[at_++] - 0xdc00) : 0xfffd;
  }
  if (point < 0x80) return add_byte(static_cast<uint8_t>(point));
  const int following = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  constexpr uint8_t kFirst[] = {0, 0xc0, 0xe0, 0xf0};
  add_byte(static_cast<uint8_t>(kFirst[following] | point >> 6 * following));
  for (int i = following - 1; i >= 0; i--) add_byte(static_cast<uint8_t>(0x80 | (point >> 6 * i & 0x3f)));
}

void WordEncoder::add_byte(uint8_t byte) {
  if (symbols_.size() >= kNone - 1) throw Error(code::kInvalidArgument, "the text has a word of 4 GiB; divide it");
  if (symbols_.size() == kLongWord) {
    symbols_.reserve(kLongestUnmoved);
    pairs_.reserve(kLongestUnmoved);
  }
  const auto at = static_cast<uint32_t>(symbols_.size());
  symbols_.push_back({table_->byte_id(byte), -1, at + 1, at == 0 ? kNone : at - 1});
  if (at > 0) find_rank(at - 1, at);
}

void WordEncoder::find_rank(uint32_t at, uint32_t next) {
  const int32_t rank = table_->rank(symbols_[at].id, symbols_[next].id);
  symbols_[at].rank = rank;
  if (rank >= 0) pairs_.push(static_cast<uint64_t>(rank) << 32 | at);
}

void WordEncoder::merge_first() {
  const uint64_t first = pairs_.top();
  pairs_.pop();
  const auto rank = static_cast<int32_t>(first >> 32);
  const auto at = static_cast<uint32_t>(first);
  Symbol& left = symbols_[at];
  if (left.rank != rank) return;
  Symbol& right = symbols_[left.next];
  left.id = table_->merged(rank);
  left.next = right.next;
  left.rank = right.rank = -1;
  if (left.previous != kNone) find_rank(left.previous, at);
  if (left.next < symbols_.size()) {
    symbols_[left.next].previous = at;
    find_rank(at, left.next);
  }
}

}  // namespace caracal
