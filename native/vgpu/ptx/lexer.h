#pragma once
#include <cstdint>
#include <string_view>

namespace vgpu {

struct Token {
  enum class Kind : uint8_t { end, word, directive, integer, f32, f64, string, mark };
  Kind kind;
  uint32_t line;
  std::string_view text;  // includes a directive's dot, excludes a string's quotes
  uint64_t value = 0;     // a number, or a mark's character
};

// Splits PTX text into tokens. Comments and lines that begin with '#' are skipped.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  // @throws PtxError
  Token next();
  // Extends an opcode to the instruction's head: modifiers continue across dots and '::'.
  std::string_view head(const Token& opcode);

 private:
  void skip_blank();
  Token number();

  std::string_view text_;
  size_t at_ = 0;
  uint32_t line_ = 1;
};

}  // namespace vgpu
