#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

template <class T>
struct CodecTables {
  const T *semantic, *a, *b;
  int vocabulary, entries, books;
  int semantic_columns, a_columns, b_columns;
};

inline constexpr int kSemanticFault = 0, kAcousticFault = 1;  // Fault::argument

// semantic codes, acoustic codes, tables, y, whether rows are aligned to 16 bytes, fault
inline constexpr Kernel<const int*, const int*, CodecTables<void>, void*, bool, Fault*> kCodecEmbedding{
    "codec_embedding"};  // codec_embedding_<dtype>

}  // namespace caracal
