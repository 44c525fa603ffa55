// What the kernels have in common.

#if HALF
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#define UNROLL _Pragma("unroll")
#define INLINE __device__ __forceinline__

struct Outcome { float gradient, loss; };  // the gradient with respect to the logit

// The label where it is one of the digits, otherwise -1.
__device__ int digit(long long label) { return label >= 0 && label < OUTPUTS ? (int)label : -1; }

// What logit o of one of `batch` images comes to; of label -1, no gradient, and a loss of NaN.
__device__ Outcome outcome(float logit, int label, int o, int batch) {
    const bool target = label == o;
    const float p = 1 / (1 + expf(-logit));
    if (label < 0) return {0, nanf("")};
    return {(p - target) / batch, -logf((target ? p : 1 - p) + 1e-8f)};
}

// The sum over a warp, in its lane 0, always in the same order: a run can be repeated to the bit.
__device__ float warp_sum(float x) {
    for (int lanes = 16; lanes; lanes /= 2) x += __shfl_down_sync(~0u, x, lanes);
    return x;
}

#ifdef PRODUCTS

// Operands of `mma`, each number rounded to TF32, as `high`, and what that leaves over, as `low`.
// `cvt.rna.tf32` would be four instructions. Bits are rounded in two, which may lose a NaN, but
// `low` has it, too. Where only `high` is used, Veltkamp's way to round keeps it: a product that
// must not be merged with the difference.
template <int COUNT> struct Operand {
    float high[COUNT], low[COUNT];

    Operand() = default;
    __device__ Operand(const float (&x)[COUNT]) {
        UNROLL for (int i = 0; i < COUNT; i++) {
            const float product = __fmul_rn(8193, x[i]);  // 2^13 + 1: 11 of 24 bits are to stay
            const unsigned bits = __float_as_uint(x[i]) + 0x1000 & 0xffffe000;
            high[i] = PRODUCTS == 3 ? __uint_as_float(bits) : product - (product - x[i]);
            low[i] = x[i] - high[i];
        }
    }
};

// d += a b by so many PRODUCTS of TF32: by three, it is as exact as in float32.
INLINE void multiply(float (&d)[4], const Operand<4>& a, const Operand<2>& b) {
    if (PRODUCTS == 3) {
        mma(d, a.low, b.high);
        mma(d, a.high, b.low);
    }
    mma(d, a.high, b.high);
}

#endif
