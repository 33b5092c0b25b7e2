#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

inline constexpr int kPenaltyThreads = 256;  // entries of the history that a block takes at once

// history, entries of a row, y, columns, penalty, fault. repetition_penalty_<dtype>
inline constexpr Kernel<const int*, long long, void*, long long, double, Fault*> kRepetitionPenalty{
    "repetition_penalty"};

}  // namespace caracal
