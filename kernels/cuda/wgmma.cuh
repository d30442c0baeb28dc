// wgmma: a warpgroup multiplies 64 × 16 by 16 × N (bf16, both from shared memory) onto fp32 sums.
//
// The sums belong to the matrix unit from WgmmaBegin to WgmmaWait; nothing may touch them between.
#pragma once

#include <cstdint>

namespace latentd::cuda {

// Keeps the compiler from moving uses of the sums over the instructions before and after.
template <int kCount>
__device__ inline void HoldRegisters(float (&sums)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}
__device__ inline void WgmmaBegin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void WgmmaWait() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

// sums[N / 2] += A · B. kAlongRows: B's depth runs along the rows of its chunks
// (DescriptorAlongRows), else along the lanes; kAAlongRows: the same of A.
template <int kColumns, bool kAlongRows, bool kAAlongRows = false>
struct Wgmma;

#define LATENTD_SUMS8(i)                                                                     \
  "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3]), "+f"(sums[i + 4]), \
      "+f"(sums[i + 5]), "+f"(sums[i + 6]), "+f"(sums[i + 7])
#define LATENTD_SUMS32(i) \
  LATENTD_SUMS8(i), LATENTD_SUMS8(i + 8), LATENTD_SUMS8(i + 16), LATENTD_SUMS8(i + 24)

template <bool kAlongRows, bool kAAlongRows>
struct Wgmma<8, kAlongRows, kAAlongRows> {
  __device__ static void Add(float (&sums)[4], uint64_t a, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3}, %4, %5, 1, 1, 1, %7, %6;"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "l"(a), "l"(b), "n"(kAlongRows ? 1 : 0), "n"(kAAlongRows ? 1 : 0));
  }
};

template <bool kAlongRows, bool kAAlongRows>
struct Wgmma<16, kAlongRows, kAAlongRows> {
  __device__ static void Add(float (&sums)[8], uint64_t a, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7}, %8, %9, 1, 1, 1, %11, %10;"
        : LATENTD_SUMS8(0)
        : "l"(a), "l"(b), "n"(kAlongRows ? 1 : 0), "n"(kAAlongRows ? 1 : 0));
  }
};

template <bool kAlongRows, bool kAAlongRows>
struct Wgmma<32, kAlongRows, kAAlongRows> {
  __device__ static void Add(float (&sums)[16], uint64_t a, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
        "%16, %17, 1, 1, 1, %19, %18;"
        : LATENTD_SUMS8(0), LATENTD_SUMS8(8)
        : "l"(a), "l"(b), "n"(kAlongRows ? 1 : 0), "n"(kAAlongRows ? 1 : 0));
  }
};

template <bool kAlongRows, bool kAAlongRows>
struct Wgmma<64, kAlongRows, kAAlongRows> {
  __device__ static void Add(float (&sums)[32], uint64_t a, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "%32, %33, 1, 1, 1, %35, %34;"
        : LATENTD_SUMS32(0)
        : "l"(a), "l"(b), "n"(kAlongRows ? 1 : 0), "n"(kAAlongRows ? 1 : 0));
  }
};

template <bool kAlongRows, bool kAAlongRows>
struct Wgmma<128, kAlongRows, kAAlongRows> {
  __device__ static void Add(float (&sums)[64], uint64_t a, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, 1, 1, 1, %67, %66;"
        : LATENTD_SUMS32(0), LATENTD_SUMS32(32)
        : "l"(a), "l"(b), "n"(kAlongRows ? 1 : 0), "n"(kAAlongRows ? 1 : 0));
  }
};

template <bool kAlongRows, bool kAAlongRows>
struct Wgmma<192, kAlongRows, kAAlongRows> {
  __device__ static void Add(float (&sums)[96], uint64_t a, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95}, "
        "%96, %97, 1, 1, 1, %99, %98;"
        : LATENTD_SUMS32(0), LATENTD_SUMS32(32), LATENTD_SUMS32(64)
        : "l"(a), "l"(b), "n"(kAlongRows ? 1 : 0), "n"(kAAlongRows ? 1 : 0));
  }
};

template <bool kAlongRows, bool kAAlongRows>
struct Wgmma<256, kAlongRows, kAAlongRows> {
  __device__ static void Add(float (&sums)[128], uint64_t a, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, "
        "%111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, "
        "%127}, "
        "%128, %129, 1, 1, 1, %131, %130;"
        : LATENTD_SUMS32(0), LATENTD_SUMS32(32), LATENTD_SUMS32(64), LATENTD_SUMS32(96)
        : "l"(a), "l"(b), "n"(kAlongRows ? 1 : 0), "n"(kAAlongRows ? 1 : 0));
  }
};

#undef LATENTD_SUMS32
#undef LATENTD_SUMS8

}  // namespace latentd::cuda
