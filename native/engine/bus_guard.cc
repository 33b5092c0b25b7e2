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
struct sigaction previous;
bool installed = false;
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

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  const bool replaced = info->si_code == BUS_ADRERR && replace_pages(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = saved;
  if (replaced) return;
  if (previous.sa_flags & SA_SIGINFO) return previous.sa_sigaction(signal, info, context);
  const bool sent = info->si_code <= 0;  // by a process, not raised by an instruction
  if (previous.sa_handler == SIG_IGN && sent) return;
  if (previous.sa_handler != SIG_IGN && previous.sa_handler != SIG_DFL) return previous.sa_handler(signal);
  // Under the default action, the instruction raises the signal again and ends the process.
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  sigaction(SIGBUS, &standard, nullptr);
  if (sent) raise(signal);
}

void install() {
  if (guards++ > 0 || installed) return;
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  installed = sigaction(SIGBUS, &action, &previous) == 0;
}

// The handler is removed with the last guard, since the addon may be unloaded afterwards; but not if another handler has
// been put on top of it, which may call it.
void uninstall() {
  if (--guards > 0 || !installed) return;
  struct sigaction current = {};
  if (sigaction(SIGBUS, nullptr, &current) != 0 || current.sa_sigaction != on_bus_error) return;
  installed = sigaction(SIGBUS, &previous, nullptr) != 0;
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
  install();
}

BusGuard::~BusGuard() {
  const std::lock_guard lock(mutex);
  range_->end = 0;
  range_->begin = 0;
  range_->used = false;
  uninstall();
}

}  // namespace caracal
