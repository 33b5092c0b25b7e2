// Handlers of SIGBUS below and on top of the library's, of which the one on top calls the one that it found.
#include <signal.h>

#include <cstddef>

#include "engine/bus_guard.cc"

static int calls_below = 0, calls_on_top = 0;
static struct sigaction found;

static void below_it(int) { calls_below++; }
static void on_top(int signal, siginfo_t* info, void* context) {
  calls_on_top++;
  found.sa_sigaction(signal, info, context);
}

// 10 · the calls of the handler on top + those of the one below, for two signals that are not the library's.
extern "C" int calls_of_handlers() {
  struct sigaction lower = {}, upper = {};
  lower.sa_handler = below_it;
  sigaction(SIGBUS, &lower, nullptr);
  static std::byte memory[4096];
  const caracal::BusGuard guard(memory, sizeof memory);
  upper.sa_sigaction = on_top;
  upper.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &upper, &found);
  caracal::BusGuard::restore();
  raise(SIGBUS);
  raise(SIGBUS);
  return 10 * calls_on_top + calls_below;
}
