#pragma once
#include <memory>
#include <vector>

#include "core/operation.h"

namespace caracal {

struct OperationType {
  const char* name;
  std::unique_ptr<Operation> (*make)();  // with the contract's defaults as arguments
};

// Every operation of native/ops. scripts/lib/operations.mjs writes the definition.
std::vector<OperationType> operation_types();

}  // namespace caracal
