// Preloaded into a process, it makes the operator new that the addon calls fail: at one call, or at all from then on.
#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

namespace {

std::atomic<long> calls_left{0};  // until the one that fails; none does if it is 0
std::atomic<bool> fails_on{false}, has_failed_once{false};

bool is_addon(void* caller) {
  Dl_info found;
  return dladdr(caller, &found) != 0 && std::strstr(found.dli_fname, "caracal.node") != nullptr;
}

void* allocate(std::size_t bytes, void* caller) {
  if (calls_left.load() > 0 && is_addon(caller)) {
    const long left = calls_left.fetch_sub(1);
    if (left == 1) {
      has_failed_once = true;
      if (fails_on) calls_left = 1;
      throw std::bad_alloc();
    }
  }
  void* p = std::malloc(bytes > 0 ? bytes : 1);
  if (!p) throw std::bad_alloc();
  return p;
}

}  // namespace

extern "C" void fail_at(long call, bool and_later) {
  has_failed_once = false;
  fails_on = and_later;
  calls_left = call;
}
extern "C" bool has_failed() { return has_failed_once; }

void* operator new(std::size_t bytes) { return allocate(bytes, __builtin_return_address(0)); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
