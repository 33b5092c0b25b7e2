#pragma once
// A module's tokens with one token of lookahead, for a recursive-descent parser.
#include <string>
#include <string_view>
#include <utility>

#include "ptx/lexer.h"
#include "ptx/syntax.h"

namespace vgpu {

constexpr size_t kMaxNesting = 64;  // depth of scopes, operands and initial values

// All functions that consume tokens may throw PtxError.
class TokenReader {
 public:
  explicit TokenReader(std::string_view text) : lexer_(text) { advance(); }

  const Token& token() const { return token_; }
  Token::Kind kind() const { return token_.kind; }
  std::string text() const { return std::string(token_.text); }
  [[noreturn]] void fail(std::string message) const { throw PtxError{token_.line, std::move(message)}; }

  void advance() { token_ = lexer_.next(); }
  bool is(char mark) const {
    return token_.kind == Token::Kind::mark && token_.value == static_cast<unsigned char>(mark);
  }
  bool is(std::string_view directive) const {
    return token_.kind == Token::Kind::directive && token_.text == directive;
  }
  template <class T>
  bool take(T expected) {
    if (!is(expected)) return false;
    advance();
    return true;
  }
  void expect(char mark) {
    if (!take(mark)) fail(std::string("expected '") + mark + "', got '" + text() + "'");
  }

  std::string_view word() { return text_of(Token::Kind::word, "a name"); }
  std::string_view string() { return text_of(Token::Kind::string, "a string"); }
  int64_t integer() {
    const bool negative = take('-');
    if (token_.kind != Token::Kind::integer) fail("expected an integer, got '" + text() + "'");
    const auto value = static_cast<int64_t>(negative ? uint64_t{0} - token_.value : token_.value);
    advance();
    return value;
  }
  // An integer from 0 to `max`.
  uint32_t small(int64_t max = UINT32_MAX) {
    const int64_t value = integer();
    if (value < 0 || value > max) fail("number out of range: " + std::to_string(value));
    return static_cast<uint32_t>(value);
  }
  // Extends the current token, an opcode, to the instruction's head, and advances past it.
  std::string_view head() {
    const auto head = lexer_.head(token_);
    advance();
    return head;
  }

 private:
  std::string_view text_of(Token::Kind kind, const char* name) {
    if (token_.kind != kind) fail(std::string("expected ") + name + ", got '" + text() + "'");
    const auto text = token_.text;
    advance();
    return text;
  }

  Lexer lexer_;
  Token token_{};
};

}  // namespace vgpu
