#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "core/dtype.h"
#include "core/enum_names.h"
#include "core/error.h"

namespace caracal {

class Shape {
 public:
  static constexpr int kMaxRank = 6;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) {
    for (int64_t d : dims) push_back(d);
  }
  void push_back(int64_t d) {
    if (rank_ == kMaxRank)
      throw Error(code::kShapeMismatch, "a tensor has at most " + std::to_string(kMaxRank) + " dimensions");
    dims_[rank_++] = d;
  }
  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[i < 0 ? rank_ + i : i]; }  // -1 is the last dimension
  int64_t& operator[](int i) { return dims_[i < 0 ? rank_ + i : i]; }
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; i++) n *= dims_[i];
    return n;
  }
  // Whether no product of dimensions can overflow, and visiting the rows of a tensor ends. The rows of a tensor with
  // elements are limited by its memory, those of one without by kMaxEmpty.
  bool countable() const {
    constexpr double kMaxElements = 1e15, kMaxEmpty = 1 << 28;
    double n = 1;
    for (int i = 0; i < rank_; i++) n *= static_cast<double>(dims_[i] > 0 ? dims_[i] : 1);
    return n <= (elements_are_none() ? kMaxEmpty : kMaxElements);
  }
  // The rows of [..., C] seen as a matrix [rows, C].
  int64_t rows() const { return rank_ == 0 ? 1 : (dims_[rank_ - 1] == 0 ? 0 : elements() / dims_[rank_ - 1]); }
  Shape with_last(int64_t d) const {
    Shape s = *this;
    s[-1] = d;
    return s;
  }
  bool operator==(const Shape& o) const {
    if (rank_ != o.rank_) return false;
    for (int i = 0; i < rank_; i++)
      if (dims_[i] != o.dims_[i]) return false;
    return true;
  }
  // A dimension of -1, which matches anything, is written as *.
  std::string str() const {
    std::string s = "[";
    for (int i = 0; i < rank_; i++) s += (i ? ", " : "") + (dims_[i] < 0 ? "*" : std::to_string(dims_[i]));
    return s + "]";
  }

 private:
  bool elements_are_none() const {
    for (int i = 0; i < rank_; i++)
      if (dims_[i] == 0) return true;
    return false;
  }

  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

class Device;

// Memory that belongs to something other than a device's allocator, such as a mapped file.
class BorrowedMemory {
 public:
  virtual ~BorrowedMemory() = default;
  virtual void prepare() const noexcept = 0;  // called before every use
  // Why its contents can no longer be trusted, or null. Whatever was computed from them before the call that first
  // returns an error may be wrong, so this is called after every use.
  virtual std::shared_ptr<const Error> error() const = 0;
};

// Bytes on a device. Memory is allocated when the first operation that writes it runs, not when it is called, so a long
// queue of calls does not hold all of its temporaries at once.
struct Storage {
  Storage(std::shared_ptr<Device> d, size_t n) : device(std::move(d)), bytes(n) {}
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::shared_ptr<Device> device;
  size_t bytes;
  std::byte* data = nullptr;                       // once the storage is shared, used only by jobs of the device
  std::shared_ptr<const BorrowedMemory> borrowed;  // set if the bytes are not the device's
  bool read_only = false;              // whether operations and write() are refused; set before the storage is shared
  int handles = 0;                     // JavaScript objects that refer to the bytes; used only on the event loop
  std::shared_ptr<const Error> fault;  // why the contents are invalid; inherited by everything computed from them

  // The error of borrowed memory, after it was read. Called by jobs.
  std::shared_ptr<const Error> lost() const { return borrowed ? borrowed->error() : nullptr; }
};

// `rows` is row-major and contiguous. The others are packed weights, named after what they pack. Only their backend
// knows how the bytes are arranged, which differs from one to the next.
enum class Layout : uint8_t { rows, matrix, experts, conv1d, conv_transpose1d };

template <>
struct EnumNames<Layout> {
  static constexpr const char* names[] = {"rows", "matrix", "experts", "conv1d", "convTranspose1d"};
};

// A tensor of a layout, as messages call it.
inline const char* layout_text(Layout layout) {
  switch (layout) {
    case Layout::rows: return "a plain tensor";
    case Layout::matrix: return "a weight packed by packWeight";
    case Layout::experts: return "a weight packed by packWeights";
    case Layout::conv1d: return "a weight packed by packConv1d";
    case Layout::conv_transpose1d: return "a weight packed by packConvTranspose1d";
  }
  return "";
}

// The scales of a q4 or q8 weight: one, and one bias, of `dtype` for each `group` elements of a row.
struct GroupScales {
  int64_t group = 0;
  DType dtype = DType::f32;

  bool operator==(const GroupScales&) const = default;
};

struct Tensor {
  std::shared_ptr<Storage> storage;
  DType dtype = DType::f32;
  Layout layout = Layout::rows;
  Shape shape;
  size_t offset = 0;   // in bytes, for views along the leading dimension
  int64_t groups = 1;  // those that packConv1d packed the weight for
  GroupScales scales;  // of a packed q4 or q8

  bool packed() const { return layout != Layout::rows; }

  size_t bytes() const { return static_cast<size_t>(shape.elements()) * dtype_bytes(dtype); }
  template <class T>
  T* data() const {
    return reinterpret_cast<T*>(storage->data + offset);
  }
};

}  // namespace caracal
