#pragma once
#include <string>

#include "core/error.h"

namespace caracal {

// The fault of an id outside its table, the same on every backend.
inline Error row_id_error(const char* op, const char* argument, int64_t id, int64_t position, int64_t rows) {
  return index_error(op, argument, position, id,
                     "row id " + std::to_string(id) + " at position " + std::to_string(position) +
                         " is outside a table of " + std::to_string(rows) + " rows");
}

}  // namespace caracal
