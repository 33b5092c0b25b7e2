#pragma once

namespace caracal {

enum class BinaryKind { add, mul };

}  // namespace caracal
