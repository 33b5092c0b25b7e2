#include "ptx/parser.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "ptx/lexer.h"

namespace vgpu {
namespace {

using Kind = Token::Kind;

constexpr uint64_t kMostBytes = uint64_t{1} << 40;  // of a variable
constexpr size_t kDeepest = 64;                     // nested scopes and operands

class Parser {
 public:
  Parser(Module& module, std::string_view text) : module_(module), lexer_(text) { advance(); }

  void run() {
    while (t_.kind != Kind::end) {
      if (t_.kind != Kind::directive) fail("expected a directive, got '" + std::string(t_.text) + "'");
      top_level();
    }
    if (module_.version_major == 0) fail("no .version");
    if (module_.target.empty()) fail("no .target");
    resolve_inlined();
  }

 private:
  // --- tokens -------------------------------------------------------------------------------------------------------

  [[noreturn]] void fail(std::string message) const { throw PtxError{t_.line, std::move(message)}; }
  void advance() { t_ = lexer_.next(); }
  bool is(char mark) const { return t_.kind == Kind::mark && t_.value == static_cast<unsigned char>(mark); }
  bool is(std::string_view directive) const { return t_.kind == Kind::directive && t_.text == directive; }
  template <class T>
  bool take(T what) {
    if (!is(what)) return false;
    advance();
    return true;
  }
  void expect(char mark) {
    if (!take(mark)) fail(std::string("expected '") + mark + "', got '" + std::string(t_.text) + "'");
  }
  std::string_view word() {
    if (t_.kind != Kind::word) fail("expected a name, got '" + std::string(t_.text) + "'");
    const auto text = t_.text;
    advance();
    return text;
  }
  int64_t integer() {
    const bool negative = take('-');
    if (t_.kind != Kind::integer) fail("expected an integer, got '" + std::string(t_.text) + "'");
    const auto value = static_cast<int64_t>(negative ? uint64_t{0} - t_.value : t_.value);
    advance();
    return value;
  }
  uint32_t small(int64_t most = UINT32_MAX) {
    const int64_t value = integer();
    if (value < 0 || value > most) fail("number out of range: " + std::to_string(value));
    return static_cast<uint32_t>(value);
  }
  std::string_view string() {
    if (t_.kind != Kind::string) fail("expected a string, got '" + std::string(t_.text) + "'");
    const auto text = t_.text;
    advance();
    return text;
  }

  // --- module -------------------------------------------------------------------------------------------------------

  void top_level() {
    if (take(".version")) return version();
    if (take(".target")) return target();
    if (take(".address_size")) {
      if (integer() != 64) fail("only .address_size 64 is supported");
      return;
    }
    if (take(".file")) return file();
    if (take(".section")) return section();
    if (take(".pragma")) return pragma();
    bool external = false;
    while (is(".visible") || is(".extern") || is(".weak") || is(".common")) {
      external = external || is(".extern");
      advance();
    }
    if (is(".entry") || is(".func")) return function();
    if (is(".global") || is(".const") || is(".shared")) {
      module_.variables.push_back(variable());
      module_.variables.back().external = external;
      return;
    }
    fail("unknown directive " + std::string(t_.text));
  }

  void version() {
    const std::string text(t_.text);  // "9.0" reads as a number
    if (std::sscanf(text.c_str(), "%u.%u", &module_.version_major, &module_.version_minor) != 2)
      fail("malformed .version");
    advance();
  }

  void target() {
    module_.target = word();
    if (module_.target.substr(0, 3) != "sm_") fail("unknown target " + std::string(module_.target));
    for (char c : module_.target.substr(3)) {
      if (c < '0' || c > '9') break;
      module_.compute = std::min(module_.compute * 10 + static_cast<uint32_t>(c - '0'), 100000u);
    }
    while (take(',')) {
      const auto option = word();
      if (option != "debug") fail("unknown target option " + std::string(option));
    }
  }

  void file() {
    const uint32_t index = small(1 << 20);
    if (module_.files.size() <= index) module_.files.resize(index + 1);
    module_.files[index] = std::string(string());
    while (take(',')) integer();  // time and size of the file
  }

  void section() {
    if (t_.kind != Kind::directive || t_.text.substr(0, 6) != ".debug") fail("unknown section " + std::string(t_.text));
    advance();
    expect('{');
    while (!take('}')) {
      if (t_.kind == Kind::end) fail("a section that does not end");
      advance();
    }
  }

  void pragma() {
    do {
      const auto text = string();
      if (text != "nounroll" && text.substr(0, 15) != "used_bytes_mask" && text != "enable_smem_spilling")
        fail("unknown .pragma \"" + std::string(text) + "\"");
    } while (take(','));
    expect(';');
  }

  // --- variables ----------------------------------------------------------------------------------------------------

  Type type() {
    const auto found = t_.kind == Kind::directive ? type_named(t_.text.substr(1)) : std::nullopt;
    if (!found) fail("expected a type, got '" + std::string(t_.text) + "'");
    advance();
    return *found;
  }

  Space space() {
    static const std::unordered_map<std::string_view, Space> spaces{
        {".global", Space::global}, {".const", Space::constant}, {".shared", Space::shared},
        {".local", Space::local},   {".param", Space::param},    {".reg", Space::generic}};
    const auto found = t_.kind == Kind::directive ? spaces.find(t_.text) : spaces.end();
    if (found == spaces.end()) fail("expected a state space, got '" + std::string(t_.text) + "'");
    advance();
    return found->second;
  }

  uint32_t alignment() {
    const uint32_t bytes = small(1 << 20);
    if (bytes == 0 || (bytes & (bytes - 1)) != 0) fail("an alignment must be a power of two");
    return bytes;
  }

  // .space .align N .type name[n] — what a parameter and a variable have in common.
  Variable declaration() {
    Variable v{};
    v.line = t_.line;
    v.space = space();
    uint32_t vector = 1;
    bool has_type = false;
    for (;;) {
      if (take(".align")) {
        v.alignment = alignment();
      } else if (take(".v2")) {
        vector = 2;
      } else if (take(".v4")) {
        vector = 4;
      } else if (take(".ptr")) {  // describes what a pointer parameter points to
        while (is(".global") || is(".const") || is(".shared") || is(".local") || is(".generic")) advance();
        if (take(".align")) alignment();
      } else if (take(".attribute")) {
        attribute();
      } else if (t_.kind == Kind::directive && !has_type) {
        v.type = type();
        has_type = true;
      } else {
        break;
      }
    }
    if (!has_type) fail("a variable without type");
    if (v.type == Type::pred) fail("a predicate cannot stand in memory");
    v.name = word();
    const uint64_t element = bytes_of(v.type) * vector;
    if (v.alignment == 0) v.alignment = static_cast<uint32_t>(element);
    v.size = element;
    while (take('[')) {
      v.array = true;
      const uint64_t count = is(']') ? 0 : static_cast<uint64_t>(small());
      expect(']');
      if (count > 0 && v.size > kMostBytes / count) fail("a variable that is too large");
      v.size *= count;
    }
    return v;
  }

  void attribute() {
    expect('(');
    do {
      if (!take(".managed")) fail("unknown attribute " + std::string(t_.text));
    } while (take(','));
    expect(')');
  }

  Variable variable() {
    Variable v = declaration();
    if (take('=')) {
      if (v.size == 0) fail("an initial value for an array without length");
      initial_value(v);
    }
    expect(';');
    return v;
  }

  void initial_value(Variable& v) {
    const unsigned width = bytes_of(v.type);
    uint64_t at = 0;
    auto element = [&] {
      if (at + width > v.size) fail("more initial values than elements");
      if (v.bytes.size() < at + width) v.bytes.resize(at + width);
      if (t_.kind == Kind::word) {
        Variable::Address address{at, word(), 0, false};
        if (address.symbol == "generic") {
          address.generic = true;
          expect('(');
          address.symbol = word();
          expect(')');
        }
        if (take('+')) address.addend = integer();
        if (width != 8) fail("an address needs 64 bits");
        v.addresses.push_back(address);
      } else {
        const uint64_t bits = constant(width, v.type);
        std::memcpy(v.bytes.data() + at, &bits, width < 8 ? width : 8);
      }
      at += width;
    };
    initial_values(element, 0);
  }

  // One element, or { … } of them, nested as deep as the array has dimensions.
  template <class F>
  void initial_values(F& element, size_t depth) {
    if (!take('{')) return element();
    if (depth > kDeepest) fail("initial values nested too deep");
    if (take('}')) return;
    do {
      initial_values(element, depth + 1);
    } while (take(','));
    expect('}');
  }

  uint64_t constant(unsigned width, Type type) {
    if (t_.kind == Kind::f32 || t_.kind == Kind::f64) {
      uint64_t bits = t_.value;
      if (t_.kind == Kind::f64 && type == Type::f32) {
        double d;
        std::memcpy(&d, &bits, 8);
        const auto f = static_cast<float>(d);
        bits = 0;
        std::memcpy(&bits, &f, 4);
      } else if ((t_.kind == Kind::f32) != (width == 4)) {
        fail("a float constant of another width");
      }
      advance();
      return bits;
    }
    return static_cast<uint64_t>(integer());
  }

  // --- functions ----------------------------------------------------------------------------------------------------

  std::vector<Variable> parameters() {
    std::vector<Variable> list;
    expect('(');
    if (take(')')) return list;
    do {
      list.push_back(declaration());
    } while (take(','));
    expect(')');
    return list;
  }

  void function() {
    auto f = std::make_unique<Function>();
    f->line = t_.line;
    f->entry = is(".entry");
    advance();
    if (!f->entry && is('(')) f->results = parameters();
    f->name = word();
    if (is('(')) f->parameters = parameters();
    while (t_.kind == Kind::directive) function_directive(*f);
    if (!take(';')) {
      f->defined = true;
      body(*f);
    }
    // A declaration may be followed by its definition.
    for (auto& other : module_.functions) {
      if (other->name != f->name) continue;
      if (other->defined && f->defined)
        throw PtxError{f->line, "function " + std::string(f->name) + " is defined twice"};
      if (f->defined) other = std::move(f);
      return;
    }
    module_.functions.push_back(std::move(f));
  }

  void triple(uint32_t (&out)[3]) {
    out[0] = small();
    out[1] = out[2] = 1;
    for (int i = 1; i < 3 && take(','); i++) out[i] = small();
  }

  void function_directive(Function& f) {
    if (take(".maxntid")) return triple(f.bounds.max_threads);
    if (take(".reqntid")) return triple(f.bounds.required_threads);
    if (take(".reqnctapercluster")) return triple(f.bounds.cluster);
    if (take(".explicitcluster")) {
      f.bounds.explicit_cluster = true;
    } else if (take(".minnctapersm")) {
      f.bounds.min_blocks = small();
    } else if (take(".maxnreg")) {
      f.bounds.max_registers = small();
    } else if (take(".maxclusterrank")) {
      small();
    } else if (take(".noreturn")) {
      f.noreturn = true;
    } else {
      fail("unknown directive " + std::string(t_.text));
    }
  }

  void body(Function& f) {
    expect('{');
    f.scopes.push_back({-1, {}, {}, {}});
    int32_t scope = 0;
    size_t depth = 1;
    place_ = -1;
    while (depth > 0) {
      if (take('{')) {
        if (++depth > kDeepest) fail("scopes nested too deep");
        f.scopes.push_back({scope, {}, {}, {}});
        scope = static_cast<int32_t>(f.scopes.size()) - 1;
      } else if (take('}')) {
        depth--;
        scope = f.scopes[static_cast<size_t>(scope)].parent;
      } else if (t_.kind == Kind::directive) {
        body_directive(f, f.scopes[static_cast<size_t>(scope)]);
      } else {
        statement(f, scope);
      }
    }
  }

  void body_directive(Function& f, Scope& scope) {
    if (take(".loc")) return location();
    if (take(".pragma")) return pragma();
    if (take(".reg")) return registers(scope);
    if (is(".local") || is(".shared") || is(".param") || is(".global") || is(".const")) {
      Variable v = variable();
      (v.space == Space::global || v.space == Space::constant ? module_.variables : scope.variables)
          .push_back(std::move(v));
      return;
    }
    function_directive(f);
  }

  void registers(Scope& scope) {
    uint32_t vector = 1;
    if (take(".v2") || take(".v4")) vector = 0;
    if (vector == 0) fail("vector registers are not supported");
    const Type t = type();
    do {
      RegisterDeclaration r{t, {}, 0, t_.line};
      r.name = word();
      if (take('<')) {
        r.count = small(1 << 24);
        expect('>');
      }
      scope.registers.push_back(r);
    } while (take(','));
    expect(';');
  }

  // .loc file line column [, function_name label [+ n], inlined_at file line column]
  void location() {
    SourcePlace place{small(1 << 20), small(), -1};
    small();
    if (take(',')) {
      if (word() != "function_name") fail("expected function_name");
      word();
      if (take('+')) integer();
      expect(',');
      if (word() != "inlined_at") fail("expected inlined_at");
      inlined_.push_back({static_cast<uint32_t>(module_.places.size()), small(1 << 20), small()});
      small();
    }
    place_ = static_cast<int32_t>(module_.places.size());
    module_.places.push_back(place);
  }

  // `inlined_at` names a place by file and line: the nearest such place before it is the one meant.
  void resolve_inlined() {
    std::unordered_map<uint64_t, int32_t> latest;
    size_t next = 0;
    for (size_t i = 0; i < module_.places.size(); i++) {
      auto key = [](uint64_t file, uint64_t line) { return file << 32 | line; };
      if (next < inlined_.size() && inlined_[next].place == i) {
        const auto found = latest.find(key(inlined_[next].file, inlined_[next].line));
        if (found != latest.end()) {
          module_.places[i].inlined_at = found->second;
        } else {  // a place that no instruction has of its own
          module_.places.push_back({inlined_[next].file, inlined_[next].line, -1});
          module_.places[i].inlined_at = static_cast<int32_t>(module_.places.size()) - 1;
        }
        next++;
      }
      const auto& place = module_.places[i];
      latest[key(place.file, place.line)] = static_cast<int32_t>(i);
    }
  }

  // --- statements ---------------------------------------------------------------------------------------------------

  void statement(Function& f, int32_t scope) {
    Instruction in{};
    in.line = t_.line;
    in.place = place_;
    if (take('@')) {
      in.guard_negated = take('!');
      in.guard = word();
    }
    if (t_.kind != Kind::word) fail("expected an instruction, got '" + std::string(t_.text) + "'");
    const Token opcode = t_;
    in.line = opcode.line;
    in.head = lexer_.head(opcode);
    advance();
    if (in.guard.empty() && in.head == opcode.text && take(':')) return label(f, scope, opcode.text);
    if (!is(';')) {
      do {
        in.operands.push_back(operand(0));
      } while (take(','));
    }
    expect(';');
    f.instructions.push_back(std::move(in));
    f.scope_of.push_back(scope);
  }

  void label(Function& f, int32_t scope, std::string_view name) {
    if (take(".branchtargets") || take(".calltargets")) {
      Function::Table table{name, scope, {}};
      do {
        table.targets.push_back(word());
      } while (take(','));
      expect(';');
      f.tables.push_back(std::move(table));
    } else if (take(".callprototype")) {
      Function::Prototype prototype{name, {}, {}};
      if (is('(')) prototype.results = parameters();
      word();
      if (is('(')) prototype.parameters = parameters();
      take(".noreturn");
      expect(';');
      f.prototypes.push_back(std::move(prototype));
    } else {
      f.scopes[static_cast<size_t>(scope)].labels.push_back({name, static_cast<uint32_t>(f.instructions.size())});
    }
  }

  Operand operand(size_t depth) {
    if (depth > kDeepest) fail("operands nested too deep");
    Operand o = single(depth);
    if (is('|')) {
      Operand pair{};
      pair.kind = Operand::Kind::pair;
      pair.line = o.line;
      pair.parts.push_back(std::move(o));
      advance();
      pair.parts.push_back(single(depth + 1));
      return pair;
    }
    return o;
  }

  Operand single(size_t depth) {
    Operand o{};
    o.line = t_.line;
    if (is('{') || is('(')) {
      o.kind = Operand::Kind::list;
      const char close = is('{') ? '}' : ')';
      advance();
      if (take(close)) return o;
      do {
        o.parts.push_back(operand(depth + 1));
      } while (take(','));
      expect(close);
    } else if (take('[')) {
      address(o, depth);
    } else if (t_.kind == Kind::f32 || t_.kind == Kind::f64) {
      o.kind = t_.kind == Kind::f32 ? Operand::Kind::f32 : Operand::Kind::f64;
      o.value = static_cast<int64_t>(t_.value);
      advance();
    } else if (t_.kind == Kind::integer) {
      o.kind = Operand::Kind::integer;
      o.value = integer();
    } else if (take('-')) {
      if (t_.kind == Kind::f64 || t_.kind == Kind::f32) {
        o.kind = t_.kind == Kind::f32 ? Operand::Kind::f32 : Operand::Kind::f64;
        o.value = static_cast<int64_t>(t_.value ^ (t_.kind == Kind::f32 ? uint64_t{1} << 31 : uint64_t{1} << 63));
        advance();
      } else {
        o.kind = Operand::Kind::integer;
        o.value = static_cast<int64_t>(uint64_t{0} - static_cast<uint64_t>(integer()));
      }
    } else {
      o.negated = take('!');
      o.name = word();
      o.kind = o.name == "_" ? Operand::Kind::sink : Operand::Kind::name;
      offset(o);
    }
    return o;
  }

  void offset(Operand& o) {
    if (take('+')) {
      o.value = integer();
    } else if (is('-')) {
      o.value = integer();
    }
  }

  void address(Operand& o, size_t depth) {
    o.kind = Operand::Kind::address;
    if (t_.kind == Kind::word) {
      o.name = word();
      offset(o);
    } else {
      o.value = integer();
    }
    if (take(',')) o.parts.push_back(operand(depth + 1));
    expect(']');
  }

  struct Inlined {
    uint32_t place, file, line;
  };

  Module& module_;
  Lexer lexer_;
  Token t_{};
  int32_t place_ = -1;
  std::vector<Inlined> inlined_;
};

}  // namespace

Module parse_ptx(std::string text) {
  Module module;
  module.text = std::make_unique<const std::string>(std::move(text));
  const std::string_view view(*module.text);
  if (const size_t nul = view.find('\0'); nul != view.npos) throw PtxError{0, "a NUL byte in the text"};
  Parser(module, view).run();
  return module;
}

}  // namespace vgpu
