#include "cuda/operation_log.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace caracal {

OperationLog::OperationLog(const Driver& driver, size_t checks)
    : slots_(checks), memory_(driver, (checks + 1) * sizeof(Fault)) {
  std::memset(memory_.data(), 0, (checks + 1) * sizeof(Fault));
}

void OperationLog::add(Entry entry) {
  used_ += entry.check.has_value();
  entries_.push_back(std::move(entry));
}

bool OperationLog::raised() const {
  if (std::any_of(faults(), faults() + used_, [](const Fault& f) { return f.raised != 0; })) return true;
  return std::any_of(entries_.begin(), entries_.end(), [](const Entry& e) { return e.graph && e.graph->raised(); });
}

bool OperationLog::launched(const OperationLog& graph) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.graph.get() == &graph; });
}

void OperationLog::spread(Faulty& faulty) const {
  for (const Entry& e : entries_) {
    if (e.graph) {
      e.graph->spread(faulty);
      continue;
    }
    std::shared_ptr<const Error> fault;
    for (const auto& in : e.in)
      if (const auto found = faulty.find(in); found != faulty.end()) fault = found->second;
    if (!fault && e.check && e.check->fault->raised) fault = std::make_shared<Error>(e.check->explain(*e.check->fault));
    for (const auto& out : e.out) {
      if (fault)
        faulty[out] = fault;
      else
        faulty.erase(out);
    }
  }
}

void OperationLog::clear_faults() {
  std::memset(memory_.data(), 0, used_ * sizeof(Fault));
  for (const Entry& e : entries_)
    if (e.graph) e.graph->clear_faults();
}

void OperationLog::settle() {
  if (raised()) {
    Faulty faulty;
    spread(faulty);
    for (const auto& [weak, fault] : faulty)
      if (const auto storage = weak.lock()) storage->fault = fault;
    clear_faults();
  }
  used_ = 0;
  entries_.clear();
}

template <class Fn>
void OperationLog::each(Fn&& fn) const {
  for (const Entry& e : entries_) e.graph ? e.graph->each(fn) : fn(e);
}

std::string OperationLog::names() const {
  std::set<std::string> names;
  each([&](const Entry& e) { names.insert(e.op); });
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

void OperationLog::fail(const std::shared_ptr<const Error>& why) {
  each([&](const Entry& e) {
    for (const auto& out : e.out)
      if (const auto storage = out.lock()) storage->fault = why;
  });
  entries_.clear();
}

}  // namespace caracal
