#pragma once
// Helpers that contracts use to report invalid arguments. Each message names the operation, the argument, what was
// expected and what was found.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

#include "core/op.h"

namespace caracal {

// The shortest decimal text that reads back as `v`.
inline std::string number_text(double v) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, v).ptr};
}

struct Checker {
  const char* op;

  [[noreturn]] void bad(const char* code, const char* arg, const std::string& what, ErrorDetails more = {}) const {
    ErrorDetails details{{"operation", op}, {"argument", arg}};
    details.insert(details.end(), more.begin(), more.end());
    throw Error(code, std::string(op) + ": " + arg + " " + what, std::move(details));
  }
  // `must` is "must be" or "must have".
  [[noreturn]] void mismatch(const char* code, const char* arg, const std::string& must, const std::string& expected,
                             const std::string& actual) const {
    bad(code, arg, must + " " + expected + ", got " + actual, {{"expected", expected}, {"actual", actual}});
  }

  void rank(const Tensor& t, const char* arg, int rank) const {
    if (t.shape.rank() != rank)
      mismatch(code::kShapeMismatch, arg, "must have", std::to_string(rank) + " dimensions", t.shape.str());
  }
  void rank_at_least(const Tensor& t, const char* arg, int rank) const {
    if (t.shape.rank() < rank)
      mismatch(code::kShapeMismatch, arg, "must have", "at least " + std::to_string(rank) + " dimensions",
               t.shape.str());
  }
  // A dimension of -1 in `want` matches anything.
  void shape(const Tensor& t, const char* arg, const Shape& want) const {
    bool ok = t.shape.rank() == want.rank();
    for (int i = 0; ok && i < want.rank(); i++) ok = want[i] < 0 || want[i] == t.shape[i];
    if (!ok) mismatch(code::kShapeMismatch, arg, "must have shape", want.str(), t.shape.str());
  }
  void shape(const std::optional<Tensor>& t, const char* arg, const Shape& want) const {
    if (t) shape(*t, arg, want);
  }
  void dtype(const Tensor& t, const char* arg, std::initializer_list<DType> allowed) const {
    if (std::find(allowed.begin(), allowed.end(), t.dtype) != allowed.end()) return;
    std::string names;
    for (DType d : allowed) names += (names.empty() ? "" : " or ") + std::string(dtype_name(d));
    mismatch(code::kDtypeMismatch, arg, "must be", names, dtype_name(t.dtype));
  }
  void dtype(const std::optional<Tensor>& t, const char* arg, std::initializer_list<DType> allowed) const {
    if (t) dtype(*t, arg, allowed);
  }
  void activations(const Tensor& t, const char* arg) const { dtype(t, arg, {DType::f32, DType::bf16}); }
  void activations(const std::optional<Tensor>& t, const char* arg) const {
    if (t) activations(*t, arg);
  }
  // The dtype of a result that is computed as activations are.
  void out_dtype(DType dtype) const {
    if (dtype != DType::f32 && dtype != DType::bf16)
      mismatch(code::kDtypeMismatch, "outDtype", "must be", "f32 or bf16", dtype_name(dtype));
  }
  void finite(double v, const char* arg) const {
    if (!std::isfinite(v)) mismatch(code::kInvalidArgument, arg, "must be", "finite", number_text(v));
  }
  void positive(double v, const char* arg) const {
    if (!(v > 0)) mismatch(code::kInvalidArgument, arg, "must be", "positive", number_text(v));
    finite(v, arg);
  }
  void range(int64_t v, const char* arg, int64_t low, int64_t high) const {
    if (v < low || v > high)
      mismatch(code::kInvalidArgument, arg, "must be", "in [" + std::to_string(low) + ", " + std::to_string(high) + "]",
               std::to_string(v));
  }
};

}  // namespace caracal
