#include "ptx/operands.h"

namespace vgpu {
namespace {

using Kind = Token::Kind;

Operand parse_nested(TokenReader& tokens, size_t depth);

void parse_offset(TokenReader& tokens, Operand& o) {
  if (tokens.take('+')) {
    o.value = tokens.integer();
  } else if (tokens.is('-')) {
    o.value = tokens.integer();
  }
}

void parse_address(TokenReader& tokens, Operand& o, size_t depth) {
  o.kind = Operand::Kind::address;
  if (tokens.kind() == Kind::word) {
    o.name = tokens.word();
    parse_offset(tokens, o);
  } else {
    o.value = tokens.integer();
  }
  if (tokens.take(',')) o.parts.push_back(parse_nested(tokens, depth + 1));
  tokens.expect(']');
}

Operand parse_single(TokenReader& tokens, size_t depth) {
  Operand o{};
  o.line = tokens.token().line;
  if (tokens.is('{') || tokens.is('(')) {
    o.kind = Operand::Kind::list;
    const char close = tokens.is('{') ? '}' : ')';
    tokens.advance();
    if (tokens.take(close)) return o;
    do {
      o.parts.push_back(parse_nested(tokens, depth + 1));
    } while (tokens.take(','));
    tokens.expect(close);
  } else if (tokens.take('[')) {
    parse_address(tokens, o, depth);
  } else if (tokens.kind() == Kind::f32 || tokens.kind() == Kind::f64) {
    o.kind = tokens.kind() == Kind::f32 ? Operand::Kind::f32 : Operand::Kind::f64;
    o.value = static_cast<int64_t>(tokens.token().value);
    tokens.advance();
  } else if (tokens.kind() == Kind::integer) {
    o.kind = Operand::Kind::integer;
    o.value = tokens.integer();
  } else if (tokens.take('-')) {
    if (tokens.kind() == Kind::f64 || tokens.kind() == Kind::f32) {
      o.kind = tokens.kind() == Kind::f32 ? Operand::Kind::f32 : Operand::Kind::f64;
      o.value = static_cast<int64_t>(tokens.token().value ^
                                     (tokens.kind() == Kind::f32 ? uint64_t{1} << 31 : uint64_t{1} << 63));
      tokens.advance();
    } else {
      o.kind = Operand::Kind::integer;
      o.value = static_cast<int64_t>(uint64_t{0} - static_cast<uint64_t>(tokens.integer()));
    }
  } else {
    o.negated = tokens.take('!');
    o.name = tokens.word();
    o.kind = o.name == "_" ? Operand::Kind::sink : Operand::Kind::name;
    parse_offset(tokens, o);
  }
  return o;
}

Operand parse_nested(TokenReader& tokens, size_t depth) {
  if (depth > kMaxNesting) tokens.fail("operands nested too deep");
  Operand o = parse_single(tokens, depth);
  if (tokens.is('|')) {
    Operand pair{};
    pair.kind = Operand::Kind::pair;
    pair.line = o.line;
    pair.parts.push_back(std::move(o));
    tokens.advance();
    pair.parts.push_back(parse_single(tokens, depth + 1));
    return pair;
  }
  return o;
}

}  // namespace

Operand parse_operand(TokenReader& tokens) { return parse_nested(tokens, 0); }

}  // namespace vgpu
