#pragma once
// Byte-pair encoding. A word starts as the ids of its UTF-8 bytes; of all neighbours that form a pair in the list of
// merges, those that stand first in the list are joined, the leftmost first, until none is left.
//
// It is here, not in TypeScript, since a prompt is often the first text of a process: V8 would still be compiling the
// code when the text is encoded.
#include <array>
#include <cstdint>
#include <memory>
#include <queue>
#include <string>
#include <utility>
#include <vector>

namespace caracal {

// The list of merges, as a hash table with open addressing. Most pairs are in no list, so that the table is small enough
// for the second cache: a slot has the place in the list and twelve bits of the hash, and rarely needs the list itself.
class MergeTable {
 public:
  static constexpr size_t kMaxMerges = (1 << 20) - 1;
  // `byte_ids` holds the id of each byte. Memory is reserved for `count` merges, at most kMaxMerges.
  MergeTable(const std::array<int32_t, 256>& byte_ids, size_t count);

  // Adds a merge at the end of the list. Of two merges of the same pair the later one counts.
  // @throws INVALID_ARGUMENT for more than `count`
  void add(int32_t left, int32_t right, int32_t merged);

  int32_t byte_id(uint8_t byte) const { return byte_ids_[byte]; }
  // The place of a pair in the list, or -1.
  int32_t rank(int32_t left, int32_t right) const {
    return static_cast<int32_t>(slots_[find(left, right)] & kMaxMerges) - 1;
  }
  int32_t merged(int32_t rank) const { return list_[rank].merged; }

 private:
  struct Merge {
    int32_t left, right, merged;
  };
  static uint64_t hash(int32_t left, int32_t right);
  size_t find(int32_t left, int32_t right) const;  // the slot of a pair, or the empty one where it belongs

  std::array<int32_t, 256> byte_ids_;
  std::vector<uint32_t> slots_;  // the rank + 1 in the lower 20 bits, bits of the hash in the upper 12; 0 if empty
  std::vector<Merge> list_;
  size_t count_;
};

// Encodes the words of a text one after another, in pieces, so that the caller can pause within a long word.
class WordEncoder {
 public:
  explicit WordEncoder(std::shared_ptr<const MergeTable> table) : table_(std::move(table)) {}

  // Continues the text, once work() has returned true. `ends` are the places in `text`, ascending, where words end; what
  // follows the last one belongs to a word that goes on. `text` does not end within a surrogate pair of a word.
  void add(std::u16string text, std::vector<uint32_t> ends);

  // Encodes what was added. Returns whether that is done, after at most `limit` characters, merges and ids.
  bool work(int64_t limit);

  // The ids of the words so far, which are forgotten.
  std::vector<int32_t> take() { return std::exchange(ids_, {}); }

 private:
  struct Symbol {
    int32_t id;
    int32_t rank;  // of the pair with the next symbol, or -1
    uint32_t next, previous;
  };
  struct Pairs : std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> {
    void reserve(size_t count) { c.reserve(count); }
  };
  // Positions of symbols; the first symbol of a word has kNone before it.
  static constexpr uint32_t kNone = UINT32_MAX;

  // A word that reaches the first size in bytes gets room for the second at once: a vector that moves because it grows would
  // hold the event loop for 30 ms in a word of 3 MB. The system gives memory only to what is written.
  static constexpr size_t kLongWord = 1 << 16, kLongestUnmoved = 1 << 22;

  void read_character(size_t end);
  void add_byte(uint8_t byte);
  void find_rank(uint32_t at, uint32_t next);
  void merge_first();

  std::shared_ptr<const MergeTable> table_;
  std::u16string text_;
  std::vector<uint32_t> ends_;
  size_t at_ = 0;    // in text_
  size_t word_ = 0;  // in ends_
  // A symbol stays at the position of its first byte.
  std::vector<Symbol> symbols_;
  uint32_t written_ = 0;  // the symbols before it are in ids_
  // Pairs, the first in the list of merges first: the rank, and the position of the left symbol in the lower half.
  // Those whose symbols were joined to others since then are skipped.
  Pairs pairs_;
  std::vector<int32_t> ids_;
};

}  // namespace caracal
