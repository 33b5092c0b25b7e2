// Debian's libgcc finds the exception handlers of a shared object by _dl_find_object, which musl lacks. The layout is that
// of glibc's <dlfcn.h>.
#define _GNU_SOURCE
#include <link.h>

struct found {
  unsigned long long flags;
  void *start, *end;
  struct link_map* map;
  void* handlers;
  unsigned long long reserved[7];
};

struct query {
  char* address;
  struct found* result;
};

static int visit(struct dl_phdr_info* info, size_t size, void* data) {
  struct query* query = data;
  int is_inside = 0;
  void* handlers = 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr)* segment = info->dlpi_phdr + i;
    char* start = (char*)info->dlpi_addr + segment->p_vaddr;
    if (segment->p_type == PT_GNU_EH_FRAME) handlers = start;
    if (segment->p_type != PT_LOAD || query->address < start || query->address >= start + segment->p_memsz) continue;
    is_inside = 1;
    query->result->start = start;
    query->result->end = start + segment->p_memsz;
  }
  if (!is_inside || !handlers) return 0;
  query->result->handlers = handlers;
  return 1;
}

int _dl_find_object(void* address, struct found* result) {
  struct query query = {address, result};
  return dl_iterate_phdr(visit, &query) ? 0 : -1;
}
