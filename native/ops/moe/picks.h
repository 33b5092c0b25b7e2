#pragma once
// What the host tells the kernels of a permutation.
namespace caracal {

// Rows are i32, so there are no more picks than an int holds.
struct Picks {
  const int* ids;
  int count;
  int per_token;
  int experts;
  int known;  // ids below it are an expert's or a zero expert's
};

}  // namespace caracal
