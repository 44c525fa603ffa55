// What a block of wide_epoch.cu keeps in its shared memory, and what a thread has of its products.

constexpr int WARPS = THREADS / 32;
constexpr int IMAGES = BATCH / WARPS;                 // of a warp, in all products
constexpr int TILES = UNITS / 16;                     // of the products, 16 units each
constexpr int AHEAD = PRODUCTS == 3 ? 1 : 2;          // turns that images are read ahead
constexpr int SHARE = (BATCH + BLOCKS - 1) / BLOCKS;  // images whose loss a block computes
constexpr int LOGITS = SHARE * OUTPUTS;               // of these images

struct Shared {
    float w[UNITS / 2][2 * INPUTS + 4];  // the hidden weights, those of units h and h + 8 by turns
    float small[UNITS][12];              // of a unit: its output weights, its hidden bias
    float grad[BATCH][12];               // of the logits; earlier in a step, the logits to be sent
    float sums[WARPS / 2][UNITS][12];    // of small's gradients, of two warps each
    float logits[THREADS];               // of the share, partial
    float loss[LOGITS];
    float bo[12];
};
static_assert(sizeof(Shared) == SHARED_BYTES && THREADS == BATCH);
static_assert(INPUTS % 16 == 0 && LOGITS <= THREADS);

// A thread's part of units x images: by m and n, units 16 m + g and 8 further, each of the images
// 8 n + 2 c and the next, with g = lane / 4, c = lane % 4. So mma leaves it, and takes it again.
typedef float Hidden[TILES][IMAGES / 8][4];

enum class Phase {
    hidden_layer, send_logits, loss_and_gradient, receive_gradients, update_small, update_weights
};

struct Lane { int warp, g, c; };

__device__ Lane this_lane() {
    const int t = threadIdx.x;
    return {t / 32, t % 32 / 4, t % 4};
}

struct Row { alignas(16) float at[12]; };

__device__ Row row_of(const float* from) { return *(const Row*)from; }

// Brings the block's parameters in, or back. Those beyond the last are 0, and stay 0.
template <bool IN>
INLINE void move_parameters(Shared& s, float* wh, float* bh, float* wo, float* bo) {
    const int first = blockIdx.x * UNITS;
    auto move = [](float& here, float* there, bool exists) {
        if (IN) here = exists ? *there : 0;
        else if (exists) *there = here;
    };
    for (int i = threadIdx.x; i < UNITS * INPUTS; i += THREADS) {
        const int h = i / INPUTS, f = i % INPUTS;
        float& w = s.w[h / 16 * 8 + h % 8][2 * f + h / 8 % 2];
        move(w, &wh[first * INPUTS + i], first + h < HIDDEN);
    }
    for (int i = threadIdx.x; i < UNITS * (OUTPUTS + 1); i += THREADS) {
        const int h = i % UNITS, o = i / UNITS;
        float* there = o < OUTPUTS ? &wo[o * HIDDEN + first + h] : &bh[first + h];
        move(s.small[h][o], there, first + h < HIDDEN);
    }
    if (threadIdx.x < OUTPUTS) move(s.bo[threadIdx.x], &bo[threadIdx.x], IN || first == 0);
}
