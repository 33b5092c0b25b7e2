// Preloaded into a process, it makes the system refuse further threads.
#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>

static std::atomic<bool> refuses{false};

extern "C" void refuse_threads(bool refuse) { refuses = refuse; }

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                              void* argument) {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  return refuses ? EAGAIN : create(thread, attributes, run, argument);
}
