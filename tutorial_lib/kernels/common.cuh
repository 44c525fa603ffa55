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

// NaN stays NaN, which fmaxf would hide.
__device__ float relu(float z) { return z < 0 ? 0 : z; }

// Each lane's COUNT values become half as many, summed over the lanes that differ in bit BIT.
template <int COUNT, int BIT>
__device__ void fold(float* values) {
    const bool upper = threadIdx.x & BIT;
    UNROLL for (int k = 0; k < COUNT / 2; k++) {
        const float low = values[k], high = values[k + COUNT / 2];
        values[k] = (upper ? high : low) + __shfl_xor_sync(~0u, upper ? low : high, BIT);
    }
}

#ifdef PROFILE

struct Clock { long long *cycles, last; };

// Adds the cycles since the last mark to a phase, as block 0 sees them, if compiled to do so.
template <class Phase> INLINE void mark(Clock& clock, Phase phase) {
    if (!PROFILE || threadIdx.x || blockIdx.x) return;
    const long long now = clock64();
    clock.cycles[(int)phase] += now - clock.last;
    clock.last = now;
}

#endif
#ifdef PRODUCTS

// Operands of `mma`: each number as the sum of two of TF32, or, for one product, rounded to TF32.
template <int COUNT> struct Operand {
    float high[COUNT], low[COUNT];

    Operand() = default;
    __device__ Operand(const float (&x)[COUNT]) {
        UNROLL for (int i = 0; i < COUNT; i++) {
            high[i] = to_tf32(x[i]);
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

// The same for M x N tiles in turn, so that no product has to wait for the last of its tile.
template <int M, int N>
INLINE void multiply(float (*d)[N][4], const Operand<4> (&a)[M], const Operand<2> (&b)[N]) {
    UNROLL for (int product = 3 - PRODUCTS; product < 3; product++)
        UNROLL for (int m = 0; m < M; m++)
            UNROLL for (int n = 0; n < N; n++)
                mma(d[m][n], product == 0 ? a[m].low : a[m].high,
                    product == 1 ? b[n].low : b[n].high);
}

#endif
