#include "ptx/variables.h"

#include <cstring>
#include <unordered_map>

namespace vgpu {
namespace {

using Kind = Token::Kind;

constexpr uint64_t kMaxVariableBytes = uint64_t{1} << 40;

Space parse_space(TokenReader& tokens) {
  static const std::unordered_map<std::string_view, Space> spaces{
      {".global", Space::global}, {".const", Space::constant}, {".shared", Space::shared},
      {".local", Space::local},   {".param", Space::param},    {".reg", Space::generic}};
  const auto found = tokens.kind() == Kind::directive ? spaces.find(tokens.token().text) : spaces.end();
  if (found == spaces.end()) tokens.fail("expected a state space, got '" + tokens.text() + "'");
  tokens.advance();
  return found->second;
}

uint32_t parse_alignment(TokenReader& tokens) {
  const uint32_t bytes = tokens.small(1 << 20);
  if (bytes == 0 || (bytes & (bytes - 1)) != 0) tokens.fail("an alignment must be a power of two");
  return bytes;
}

void parse_attribute(TokenReader& tokens) {
  tokens.expect('(');
  do {
    if (!tokens.take(".managed")) tokens.fail("unknown attribute " + tokens.text());
  } while (tokens.take(','));
  tokens.expect(')');
}

// .space .align N .type name[n]: the common form of parameters and variables.
Variable parse_declaration(TokenReader& tokens) {
  Variable v{};
  v.line = tokens.token().line;
  v.space = parse_space(tokens);
  uint32_t vector = 1;
  bool has_type = false;
  for (;;) {
    if (tokens.take(".align")) {
      v.alignment = parse_alignment(tokens);
    } else if (tokens.take(".v2")) {
      vector = 2;
    } else if (tokens.take(".v4")) {
      vector = 4;
    } else if (tokens.take(".ptr")) {  // describes what a pointer parameter points to
      while (tokens.is(".global") || tokens.is(".const") || tokens.is(".shared") || tokens.is(".local") ||
             tokens.is(".generic"))
        tokens.advance();
      if (tokens.take(".align")) parse_alignment(tokens);
    } else if (tokens.take(".attribute")) {
      parse_attribute(tokens);
    } else if (tokens.kind() == Kind::directive && !has_type) {
      v.type = parse_type(tokens);
      has_type = true;
    } else {
      break;
    }
  }
  if (!has_type) tokens.fail("a variable without a type");
  if (v.type == Type::pred) tokens.fail("a predicate cannot be in memory");
  v.name = tokens.word();
  const uint64_t element = bytes_of(v.type) * vector;
  if (v.alignment == 0) v.alignment = static_cast<uint32_t>(element);
  v.size = element;
  while (tokens.take('[')) {
    v.array = true;
    const uint64_t count = tokens.is(']') ? 0 : static_cast<uint64_t>(tokens.small());
    tokens.expect(']');
    if (count > 0 && v.size > kMaxVariableBytes / count) tokens.fail("a variable is too large");
    v.size *= count;
  }
  return v;
}

uint64_t parse_constant(TokenReader& tokens, unsigned width, Type type) {
  if (tokens.kind() == Kind::f32 || tokens.kind() == Kind::f64) {
    uint64_t bits = tokens.token().value;
    if (tokens.kind() == Kind::f64 && type == Type::f32) {
      double d;
      std::memcpy(&d, &bits, 8);
      const auto f = static_cast<float>(d);
      bits = 0;
      std::memcpy(&bits, &f, 4);
    } else if ((tokens.kind() == Kind::f32) != (width == 4)) {
      tokens.fail("a float constant has a different width");
    }
    tokens.advance();
    return bits;
  }
  return static_cast<uint64_t>(tokens.integer());
}

// Parses one element or { … }, nested as deeply as the array has dimensions.
template <class F>
void parse_initializer(TokenReader& tokens, F& element, size_t depth) {
  if (!tokens.take('{')) return element();
  if (depth > kMaxNesting) tokens.fail("initial values nested too deep");
  if (tokens.take('}')) return;
  do {
    parse_initializer(tokens, element, depth + 1);
  } while (tokens.take(','));
  tokens.expect('}');
}

void parse_initial_value(TokenReader& tokens, Variable& v) {
  const unsigned width = bytes_of(v.type);
  uint64_t at = 0;
  auto element = [&] {
    if (at + width > v.size) tokens.fail("more initial values than elements");
    if (v.bytes.size() < at + width) v.bytes.resize(at + width);
    if (tokens.kind() == Kind::word) {
      Variable::Address address{at, tokens.word(), 0, false};
      if (address.symbol == "generic") {
        address.generic = true;
        tokens.expect('(');
        address.symbol = tokens.word();
        tokens.expect(')');
      }
      if (tokens.take('+')) address.addend = tokens.integer();
      if (width != 8) tokens.fail("an address needs 64 bits");
      v.addresses.push_back(address);
    } else {
      const uint64_t bits = parse_constant(tokens, width, v.type);
      std::memcpy(v.bytes.data() + at, &bits, width < 8 ? width : 8);
    }
    at += width;
  };
  parse_initializer(tokens, element, 0);
}

}  // namespace

Type parse_type(TokenReader& tokens) {
  const auto found = tokens.kind() == Kind::directive ? type_named(tokens.token().text.substr(1)) : std::nullopt;
  if (!found) tokens.fail("expected a type, got '" + tokens.text() + "'");
  tokens.advance();
  return *found;
}

Variable parse_variable(TokenReader& tokens) {
  Variable v = parse_declaration(tokens);
  if (tokens.take('=')) {
    if (v.size == 0) tokens.fail("an initial value for an array without a length");
    parse_initial_value(tokens, v);
  }
  tokens.expect(';');
  return v;
}

std::vector<Variable> parse_parameters(TokenReader& tokens) {
  std::vector<Variable> list;
  tokens.expect('(');
  if (tokens.take(')')) return list;
  do {
    list.push_back(parse_declaration(tokens));
  } while (tokens.take(','));
  tokens.expect(')');
  return list;
}

}  // namespace vgpu
