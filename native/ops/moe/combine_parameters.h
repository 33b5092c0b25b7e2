#pragma once
// What the host tells a combine's kernel.
namespace caracal {

struct CombineParameters {
  const void* y;  // [rows, columns]
  const void* x;
  const void* residual;  // or null
  const float* weights;
  const int* slot_of;
  const float* zero_weight;
  void* out;
  long long rows, columns;
  int picks;     // of a token
  bool aligned;  // a row's 16 bytes at a time
};

}  // namespace caracal
