#include "engine/bus_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>

#include "core/math.h"

namespace caracal {
namespace {

std::mutex mutex;
int guards = 0;
bool installed = false;  // whether our handler may be called: by the system, or by one that was set on top of it
std::atomic<BusGuard::Range*> ranges{nullptr};
const uintptr_t page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));

// Replaces the pages from `address` to the end of the guarded range that contains it. Only system calls and atomics: it
// runs in a signal handler.
bool replace_pages(uintptr_t address) {
  for (BusGuard::Range* range = ranges.load(std::memory_order_acquire); range; range = range->next) {
    const uintptr_t end = range->end.load();
    if (address < range->begin.load() || address >= end) continue;
    const uintptr_t page = address / page_bytes * page_bytes;
    constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    if (mmap(reinterpret_cast<void*>(page), end - page, PROT_READ, kFlags, -1, 0) == MAP_FAILED) return false;
    range->lost.store(true);
    return true;
  }
  return false;
}

// What to do with the signals that are not ours: what was found when our handler was set first, and what has been found
// on top of ours since. They are never freed, since the handler reads them at any time; there are few different ones.
struct Found {
  struct sigaction action;
  Found* next;
};
std::atomic<Found*> below{nullptr}, above{nullptr};
Found* all_found = nullptr;
std::atomic<const siginfo_t*> passed_on{nullptr};  // the signal that a handler on top of ours has been called with

void deliver(const struct sigaction& to, int signal, siginfo_t* info, void* context) {
  if (to.sa_flags & SA_SIGINFO) return to.sa_sigaction(signal, info, context);
  const bool sent = info->si_code <= 0;  // by a process, not raised by an instruction
  if (to.sa_handler == SIG_IGN && sent) return;
  if (to.sa_handler != SIG_IGN && to.sa_handler != SIG_DFL) return to.sa_handler(signal);
  // Under the default action, the instruction raises the signal again and ends the process.
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  sigaction(SIGBUS, &standard, nullptr);
  if (sent) raise(signal);
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  const bool replaced = info->si_code == BUS_ADRERR && replace_pages(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = saved;
  if (replaced) return;
  // A handler that was set on top of ours may call ours in turn, with the same signal: it then goes further down.
  const Found* top = above.load(std::memory_order_acquire);
  if (top == nullptr || passed_on.load() == info)
    return deliver(below.load(std::memory_order_acquire)->action, signal, info, context);
  passed_on.store(info);
  deliver(top->action, signal, info, context);
  passed_on.store(nullptr);
}

bool is_same(const struct sigaction& a, const struct sigaction& b) {
  const int kind = SA_SIGINFO;
  if ((a.sa_flags & kind) != (b.sa_flags & kind)) return false;
  return a.sa_flags & kind ? a.sa_sigaction == b.sa_sigaction : a.sa_handler == b.sa_handler;
}

bool is_ours(const struct sigaction& action) {
  return action.sa_flags & SA_SIGINFO && action.sa_sigaction == on_bus_error;
}

Found* remember(const struct sigaction& action) {
  for (Found* found = all_found; found; found = found->next)
    if (is_same(found->action, action)) return found;
  return all_found = new Found{action, all_found};
}

void install() {
  struct sigaction current = {};
  if (sigaction(SIGBUS, nullptr, &current) != 0 || is_ours(current)) return;
  Found* found = remember(current);
  if (installed)
    above.store(found, std::memory_order_release);
  else
    below.store(found, std::memory_order_release);
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  if (sigaction(SIGBUS, &action, nullptr) == 0) installed = true;
}

// The handler is removed with the last guard, since the addon may be unloaded afterwards; but not from below a handler
// that has been set on top of it.
void uninstall() {
  struct sigaction current = {};
  if (!installed || sigaction(SIGBUS, nullptr, &current) != 0 || !is_ours(current)) return;
  const Found* top = above.exchange(nullptr);
  const struct sigaction& action = (top ? top : below.load())->action;
  const bool is_action =
      !(action.sa_flags & SA_SIGINFO) && (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN);
  if (sigaction(SIGBUS, &action, nullptr) == 0) installed = top && !is_action;
}

void release(BusGuard::Range* range) {
  range->end = 0;
  range->begin = 0;
  range->used = false;
  if (--guards == 0) uninstall();
}

}  // namespace

BusGuard::BusGuard(const std::byte* begin, size_t bytes) {
  const std::lock_guard lock(mutex);
  for (range_ = ranges.load(); range_ && range_->used; range_ = range_->next) {
  }
  if (!range_) {
    range_ = new Range;
    range_->next = ranges.load();
    ranges.store(range_, std::memory_order_release);
  }
  range_->used = true;
  range_->lost = false;
  range_->begin = reinterpret_cast<uintptr_t>(begin);
  range_->end = round_up(reinterpret_cast<uintptr_t>(begin) + bytes, page_bytes);
  guards++;
  try {
    install();
  } catch (...) {
    release(range_);
    throw;
  }
}

BusGuard::~BusGuard() {
  const std::lock_guard lock(mutex);
  release(range_);
}

void BusGuard::restore() noexcept {
  struct sigaction current = {};
  if (sigaction(SIGBUS, nullptr, &current) == 0 && is_ours(current)) return;
  const std::lock_guard lock(mutex);
  try {
    if (guards > 0) install();
  } catch (const std::bad_alloc&) {  // the next job tries again
  }
}

}  // namespace caracal
