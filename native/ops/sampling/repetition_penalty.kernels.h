#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

inline constexpr int kPenaltyThreads = 256;  // entries of the history per block

// repetition_penalty_<dtype>: history, entries per row, y (a copy of the logits), columns, penalty, fault
inline constexpr Kernel<const int*, long long, void*, long long, double, Fault*> kRepetitionPenalty{
    "repetition_penalty"};

}  // namespace caracal
