#pragma once
#include <memory>
#include <vector>

#include "core/operation.h"

namespace caracal {

struct OperationType {
  const char* name;
  std::shared_ptr<Operation> (*make)();  // its arguments have the contract's defaults
};

// All operations of native/ops. scripts/lib/sources.mjs generates the definition.
std::vector<OperationType> operation_types();

}  // namespace caracal
