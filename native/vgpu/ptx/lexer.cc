#include "ptx/lexer.h"

#include <cstdlib>
#include <cstring>

#include "ptx/syntax.h"

namespace vgpu {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%';
}
bool is_word(char c) { return is_word_start(c) || is_digit(c); }

int digit_of(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

}  // namespace

void Lexer::skip_blank() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '\n') {
      line_++;
      at_++;
    } else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v') {
      at_++;
    } else if (c == '/' && text_.substr(at_, 2) == "//") {
      at_ = text_.find('\n', at_);
      if (at_ == text_.npos) at_ = text_.size();
    } else if (c == '/' && text_.substr(at_, 2) == "/*") {
      const size_t end = text_.find("*/", at_ + 2);
      if (end == text_.npos) throw PtxError{line_, "unterminated comment"};
      for (size_t i = at_; i < end; i++) line_ += text_[i] == '\n';
      at_ = end + 2;
    } else if (c == '#' && (at_ == 0 || text_[at_ - 1] == '\n')) {
      at_ = text_.find('\n', at_);
      if (at_ == text_.npos) at_ = text_.size();
    } else {
      return;
    }
  }
}

Token Lexer::number() {
  const size_t begin = at_;
  const uint32_t line = line_;
  auto token = [&](Token::Kind kind, uint64_t value) {
    if (at_ < text_.size() && is_word(text_[at_]))
      throw PtxError{line, "malformed number: " + std::string(text_.substr(begin, at_ + 1 - begin))};
    return Token{kind, line, text_.substr(begin, at_ - begin), value};
  };
  const char second = begin + 1 < text_.size() ? text_[begin + 1] : ' ';
  if (text_[begin] == '0' && (second == 'f' || second == 'F' || second == 'd' || second == 'D')) {
    const bool wide = second == 'd' || second == 'D';
    uint64_t bits = 0;
    const size_t digits = wide ? 16 : 8;
    at_ += 2;
    for (size_t i = 0; i < digits; i++, at_++) {
      const int d = at_ < text_.size() ? digit_of(text_[at_]) : 99;
      if (d > 15) throw PtxError{line, "a hexadecimal float needs " + std::to_string(digits) + " digits"};
      bits = bits << 4 | static_cast<uint64_t>(d);
    }
    return token(wide ? Token::Kind::f64 : Token::Kind::f32, bits);
  }
  int base = 10;
  if (text_[begin] == '0' && (second == 'x' || second == 'X')) {
    base = 16;
    at_ += 2;
  } else if (text_[begin] == '0' && (second == 'b' || second == 'B')) {
    base = 2;
    at_ += 2;
  } else if (text_[begin] == '0' && is_digit(second)) {
    base = 8;
  }
  const size_t first = at_;
  uint64_t value = 0;
  while (at_ < text_.size() && digit_of(text_[at_]) < base) {
    const auto digit = static_cast<uint64_t>(digit_of(text_[at_++]));
    if (value > (UINT64_MAX - digit) / static_cast<uint64_t>(base))
      throw PtxError{line, "a number does not fit in 64 bits"};
    value = value * static_cast<uint64_t>(base) + digit;
  }
  if (at_ == first) throw PtxError{line, "malformed number: " + std::string(text_.substr(begin, 2))};
  if (base == 10 && at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E')) {
    const std::string copy(text_.substr(begin, 400));
    char* end = nullptr;
    const double number = std::strtod(copy.c_str(), &end);
    at_ = begin + static_cast<size_t>(end - copy.c_str());
    uint64_t bits;
    std::memcpy(&bits, &number, 8);
    return token(Token::Kind::f64, bits);
  }
  if (at_ < text_.size() && text_[at_] == 'U') at_++;
  return token(Token::Kind::integer, value);
}

Token Lexer::next() {
  skip_blank();
  if (at_ >= text_.size()) return {Token::Kind::end, line_, {}};
  const size_t begin = at_;
  const char c = text_[at_];
  if (is_digit(c)) return number();
  if (c == '.' && at_ + 1 < text_.size() && is_word_start(text_[at_ + 1])) {
    at_++;
    while (at_ < text_.size() && is_word(text_[at_])) at_++;
    return {Token::Kind::directive, line_, text_.substr(begin, at_ - begin)};
  }
  if (is_word_start(c)) {
    while (at_ < text_.size() && is_word(text_[at_])) at_++;
    // in %tid.x the component belongs to the name
    if (at_ + 1 < text_.size() && text_[at_] == '.' && c == '%' && strchr("xyzw", text_[at_ + 1]) &&
        (at_ + 2 >= text_.size() || !is_word(text_[at_ + 2])))
      at_ += 2;
    const auto text = text_.substr(begin, at_ - begin);
    if (text == "WARP_SZ") return {Token::Kind::integer, line_, text, 32};  // the only constant that PTX predefines
    return {Token::Kind::word, line_, text};
  }
  if (c == '"') {
    const size_t end = text_.find_first_of("\"\n", at_ + 1);
    if (end == text_.npos || text_[end] == '\n') throw PtxError{line_, "unterminated string"};
    at_ = end + 1;
    return {Token::Kind::string, line_, text_.substr(begin + 1, end - begin - 1)};
  }
  at_++;
  return {Token::Kind::mark, line_, text_.substr(begin, 1), static_cast<unsigned char>(c)};
}

std::string_view Lexer::head(const Token& opcode) {
  const size_t begin = static_cast<size_t>(opcode.text.data() - text_.data());
  while (at_ < text_.size() && (is_word(text_[at_]) || text_[at_] == '.' ||
                                (text_[at_] == ':' && at_ + 1 < text_.size() && text_[at_ + 1] == ':'))) {
    at_ += text_[at_] == ':' ? 2 : 1;
  }
  return text_.substr(begin, at_ - begin);
}

}  // namespace vgpu
