#include "ptx/parser.h"

#include <algorithm>
#include <cstdio>
#include <unordered_map>

#include "ptx/operands.h"
#include "ptx/token_reader.h"
#include "ptx/variables.h"

namespace vgpu {
namespace {

using Kind = Token::Kind;

class Parser {
 public:
  Parser(Module& module, std::string_view text) : module_(module), tokens_(text) {}

  void run() {
    while (tokens_.kind() != Kind::end) {
      if (tokens_.kind() != Kind::directive) tokens_.fail("expected a directive, got '" + tokens_.text() + "'");
      top_level();
    }
    if (module_.version_major == 0) tokens_.fail("no .version");
    if (module_.target.empty()) tokens_.fail("no .target");
    resolve_inlined();
  }

 private:
  // --- module -------------------------------------------------------------------------------------------------------

  void top_level() {
    if (tokens_.take(".version")) return version();
    if (tokens_.take(".target")) return target();
    if (tokens_.take(".address_size")) {
      if (tokens_.integer() != 64) tokens_.fail("only .address_size 64 is supported");
      return;
    }
    if (tokens_.take(".file")) return file();
    if (tokens_.take(".section")) return section();
    if (tokens_.take(".pragma")) return pragma();
    bool external = false;
    while (tokens_.is(".visible") || tokens_.is(".extern") || tokens_.is(".weak") || tokens_.is(".common")) {
      external = external || tokens_.is(".extern");
      tokens_.advance();
    }
    if (tokens_.is(".entry") || tokens_.is(".func")) return function();
    if (tokens_.is(".global") || tokens_.is(".const") || tokens_.is(".shared")) {
      module_.variables.push_back(parse_variable(tokens_));
      module_.variables.back().external = external;
      return;
    }
    tokens_.fail("unknown directive " + tokens_.text());
  }

  void version() {
    const std::string text = tokens_.text();  // "9.0" reads as a number
    if (std::sscanf(text.c_str(), "%u.%u", &module_.version_major, &module_.version_minor) != 2)
      tokens_.fail("malformed .version");
    tokens_.advance();
  }

  void target() {
    module_.target = tokens_.word();
    if (module_.target.substr(0, 3) != "sm_") tokens_.fail("unknown target " + std::string(module_.target));
    for (char c : module_.target.substr(3)) {
      if (c < '0' || c > '9') break;
      module_.compute = std::min(module_.compute * 10 + static_cast<uint32_t>(c - '0'), 100000u);
    }
    while (tokens_.take(',')) {
      const auto option = tokens_.word();
      if (option != "debug") tokens_.fail("unknown target option " + std::string(option));
    }
  }

  void file() {
    const uint32_t index = tokens_.small(1 << 20);
    if (module_.files.size() <= index) module_.files.resize(index + 1);
    module_.files[index] = std::string(tokens_.string());
    while (tokens_.take(',')) tokens_.integer();  // time and size of the file
  }

  void section() {
    if (tokens_.kind() != Kind::directive || tokens_.token().text.substr(0, 6) != ".debug")
      tokens_.fail("unknown section " + tokens_.text());
    tokens_.advance();
    tokens_.expect('{');
    while (!tokens_.take('}')) {
      if (tokens_.kind() == Kind::end) tokens_.fail("unterminated section");
      tokens_.advance();
    }
  }

  void pragma() {
    do {
      const auto text = tokens_.string();
      if (text != "nounroll" && text.substr(0, 15) != "used_bytes_mask" && text != "enable_smem_spilling")
        tokens_.fail("unknown .pragma \"" + std::string(text) + "\"");
    } while (tokens_.take(','));
    tokens_.expect(';');
  }

  // --- functions ----------------------------------------------------------------------------------------------------

  void function() {
    auto f = std::make_unique<Function>();
    f->line = tokens_.token().line;
    f->entry = tokens_.is(".entry");
    tokens_.advance();
    if (!f->entry && tokens_.is('(')) f->results = parse_parameters(tokens_);
    f->name = tokens_.word();
    if (tokens_.is('(')) f->parameters = parse_parameters(tokens_);
    while (tokens_.kind() == Kind::directive) function_directive(*f);
    if (!tokens_.take(';')) {
      f->defined = true;
      body(*f);
    }
    // A declaration may precede its definition.
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
    out[0] = tokens_.small();
    out[1] = out[2] = 1;
    for (int i = 1; i < 3 && tokens_.take(','); i++) out[i] = tokens_.small();
  }

  void function_directive(Function& f) {
    if (tokens_.take(".maxntid")) return triple(f.bounds.max_threads);
    if (tokens_.take(".reqntid")) return triple(f.bounds.required_threads);
    if (tokens_.take(".reqnctapercluster")) return triple(f.bounds.cluster);
    if (tokens_.take(".explicitcluster")) {
      f.bounds.explicit_cluster = true;
    } else if (tokens_.take(".minnctapersm")) {
      f.bounds.min_blocks = tokens_.small();
    } else if (tokens_.take(".maxnreg")) {
      f.bounds.max_registers = tokens_.small();
    } else if (tokens_.take(".maxclusterrank")) {
      tokens_.small();
    } else if (tokens_.take(".noreturn")) {
      f.noreturn = true;
    } else {
      tokens_.fail("unknown directive " + tokens_.text());
    }
  }

  void body(Function& f) {
    tokens_.expect('{');
    f.scopes.push_back({-1, {}, {}, {}});
    int32_t scope = 0;
    size_t depth = 1;
    location_ = -1;
    while (depth > 0) {
      if (tokens_.take('{')) {
        if (++depth > kMaxNesting) tokens_.fail("scopes nested too deep");
        f.scopes.push_back({scope, {}, {}, {}});
        scope = static_cast<int32_t>(f.scopes.size()) - 1;
      } else if (tokens_.take('}')) {
        depth--;
        scope = f.scopes[static_cast<size_t>(scope)].parent;
      } else if (tokens_.kind() == Kind::directive) {
        body_directive(f, f.scopes[static_cast<size_t>(scope)]);
      } else {
        statement(f, scope);
      }
    }
  }

  void body_directive(Function& f, Scope& scope) {
    if (tokens_.take(".loc")) return location();
    if (tokens_.take(".pragma")) return pragma();
    if (tokens_.take(".reg")) return registers(scope);
    if (tokens_.is(".local") || tokens_.is(".shared") || tokens_.is(".param") || tokens_.is(".global") ||
        tokens_.is(".const")) {
      Variable v = parse_variable(tokens_);
      (v.space == Space::global || v.space == Space::constant ? module_.variables : scope.variables)
          .push_back(std::move(v));
      return;
    }
    function_directive(f);
  }

  void registers(Scope& scope) {
    if (tokens_.is(".v2") || tokens_.is(".v4")) tokens_.fail("vector registers are not supported");
    const Type t = parse_type(tokens_);
    do {
      RegisterDeclaration r{t, {}, 0, tokens_.token().line};
      r.name = tokens_.word();
      if (tokens_.take('<')) {
        r.count = tokens_.small(1 << 24);
        tokens_.expect('>');
      }
      scope.registers.push_back(r);
    } while (tokens_.take(','));
    tokens_.expect(';');
  }

  // .loc file line column [, function_name label [+ n], inlined_at file line column]
  void location() {
    SourceLocation location{tokens_.small(1 << 20), tokens_.small(), -1};
    tokens_.small();
    if (tokens_.take(',')) {
      if (tokens_.word() != "function_name") tokens_.fail("expected function_name");
      tokens_.word();
      if (tokens_.take('+')) tokens_.integer();
      tokens_.expect(',');
      if (tokens_.word() != "inlined_at") tokens_.fail("expected inlined_at");
      inlined_.push_back({static_cast<uint32_t>(module_.locations.size()), tokens_.small(1 << 20), tokens_.small()});
      tokens_.small();
    }
    location_ = static_cast<int32_t>(module_.locations.size());
    module_.locations.push_back(location);
  }

  // `inlined_at` names a location by file and line; the nearest preceding place that matches is meant.
  void resolve_inlined() {
    std::unordered_map<uint64_t, int32_t> latest;
    size_t next = 0;
    for (size_t i = 0; i < module_.locations.size(); i++) {
      auto key = [](uint64_t file, uint64_t line) { return file << 32 | line; };
      if (next < inlined_.size() && inlined_[next].location == i) {
        const auto found = latest.find(key(inlined_[next].file, inlined_[next].line));
        if (found != latest.end()) {
          module_.locations[i].inlined_at = found->second;
        } else {  // a location that no instruction has
          module_.locations.push_back({inlined_[next].file, inlined_[next].line, -1});
          module_.locations[i].inlined_at = static_cast<int32_t>(module_.locations.size()) - 1;
        }
        next++;
      }
      const auto& location = module_.locations[i];
      latest[key(location.file, location.line)] = static_cast<int32_t>(i);
    }
  }

  // --- statements ---------------------------------------------------------------------------------------------------

  void statement(Function& f, int32_t scope) {
    Instruction in{};
    in.line = tokens_.token().line;
    in.location = location_;
    if (tokens_.take('@')) {
      in.guard_negated = tokens_.take('!');
      in.guard = tokens_.word();
    }
    if (tokens_.kind() != Kind::word) tokens_.fail("expected an instruction, got '" + tokens_.text() + "'");
    const Token opcode = tokens_.token();
    in.line = opcode.line;
    in.head = tokens_.head();
    if (in.guard.empty() && in.head == opcode.text && tokens_.take(':')) return label(f, scope, opcode.text);
    if (!tokens_.is(';')) {
      do {
        in.operands.push_back(parse_operand(tokens_));
      } while (tokens_.take(','));
    }
    tokens_.expect(';');
    f.instructions.push_back(std::move(in));
    f.scope_of.push_back(scope);
  }

  void label(Function& f, int32_t scope, std::string_view name) {
    if (tokens_.take(".branchtargets") || tokens_.take(".calltargets")) {
      Function::Table table{name, scope, {}};
      do {
        table.targets.push_back(tokens_.word());
      } while (tokens_.take(','));
      tokens_.expect(';');
      f.tables.push_back(std::move(table));
    } else if (tokens_.take(".callprototype")) {
      Function::Prototype prototype{name, {}, {}};
      if (tokens_.is('(')) prototype.results = parse_parameters(tokens_);
      tokens_.word();
      if (tokens_.is('(')) prototype.parameters = parse_parameters(tokens_);
      tokens_.take(".noreturn");
      tokens_.expect(';');
      f.prototypes.push_back(std::move(prototype));
    } else {
      f.scopes[static_cast<size_t>(scope)].labels.push_back({name, static_cast<uint32_t>(f.instructions.size())});
    }
  }

  struct Inlined {
    uint32_t location, file, line;
  };

  Module& module_;
  TokenReader tokens_;
  int32_t location_ = -1;
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
