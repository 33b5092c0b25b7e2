// The tile of a matrix product as the host's functions return it (native/cuda/gemm/tiles.h).
import koffi from "koffi";

export interface Tile {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly threads: number;
  readonly stages: number;
  readonly shared: number;
}

koffi.struct("Tile", {
  name: "const char *",
  rows: "int64_t",
  columns: "int64_t",
  threads: "uint",
  stages: "int",
  shared: "size_t",
});
