// What a block of epoch.cu keeps in its shared memory, and how it gets there.

constexpr int SHARE = BATCH / CLUSTER;             // images of a block in steps 2 to 4
constexpr int LOGITS = SHARE / 16;                 // of a thread, all of the same image
constexpr int OUTPUT_THREADS = SHARE * OUTPUTS / LOGITS, OUTPUT_WARPS = OUTPUT_THREADS / 32;
constexpr int PADDED = UNITS + 4;                  // units, one that is always 1, and zeros
constexpr int QUADS = OUTPUTS * PADDED / 4;        // of output weights
constexpr int HELPERS = THREADS / QUADS >= 8 ? 8 : 2;  // threads that share the work on a quad
constexpr int ROWS = FEATURES <= 64 ? 1 : 2, SPLIT = 2;  // step 5: tiles of a warp, warps of a tile

static_assert(OUTPUTS % LOGITS == 0 && QUADS * HELPERS <= THREADS && FEATURES <= 128);

// Rows of 8, 24, 40, 56 … floats lie so in the banks that a warp reads its fragments in one go.
// Other blocks of the cluster write into `partial`, `grad_hidden` and `grad_output`. None does so
// again before this block has read it: for the next step's partials a block needs this step's
// hidden gradients from all blocks, and those are sent after the partials have been read. In the
// same way, the next hidden gradients need the next partials, and the next output gradients them.
// A block's own partial sums start from `grad_hidden`, in which a block writes gradients over those
// that it has received only.
struct Shared {
    float x[BUFFERS][BATCH][FEATURES];     // this block's features of the batch
    float w[UNITS][FEATURES];              // its weights
    float partial[CLUSTER][SHARE][UNITS];  // the hidden layer before its ReLU, from each block
    float grad_hidden[BATCH][UNITS];
    float grad_output[CLUSTER][OUTPUTS][PADDED];
    float z[SHARE][PADDED];                // the hidden layer before its ReLU, and a unit that is 1
    float wo[OUTPUTS][PADDED];             // with the weights of that unit, the output biases
    float grad[SHARE][12];                 // of the logits
    Arrivals partials_in, grads_in;        // the first also counts grad_output, of the step before
};
static_assert(sizeof(Shared) == SHARED_BYTES && THREADS == BATCH);

enum class Phase {
    waiting_for_images, hidden_partial, waiting_for_partials, sum_over_cluster, partial_logits,
    waiting_for_clusters, gradient, send_gradient, output_gradient, update_weights
};

__device__ void add(float4& sum, float factor, float4 a) {
    sum.x += factor * a.x; sum.y += factor * a.y; sum.z += factor * a.z; sum.w += factor * a.w;
}

// Brings the block's parameters in, or back. Those beyond the last are 0, and stay 0. What several
// blocks have, the first of them brings back.
template <bool IN>
INLINE void move_parameters(Shared& s, float* wh, float* bh, float* wo, float* bo, int h0, int f0) {
    auto move = [](float& here, float* there, bool exists) {
        if (IN) here = exists ? *there : 0;
        else if (exists) *there = here;
    };
    for (int i = threadIdx.x; i < UNITS * FEATURES; i += THREADS) {
        const int h = h0 + i / FEATURES, f = f0 + i % FEATURES;
        float* there = f == INPUTS ? &bh[h] : &wh[h * INPUTS + f];
        move(s.w[i / FEATURES][i % FEATURES], there, h < HIDDEN && f <= INPUTS);
    }
    if (!IN && f0 > 0) return;
    for (int i = threadIdx.x; i < OUTPUTS * PADDED; i += THREADS) {
        const int o = i / PADDED, h = i % PADDED;
        const bool bias = h == UNITS && h0 == 0;
        float* there = bias ? &bo[o] : &wo[o * HIDDEN + h0 + h];
        move(s.wo[o][h], there, bias || h < UNITS && h0 + h < HIDDEN);
    }
}

// The features beyond the last are 0, but for the one that is always 1; so is, in the first
// cluster, one more hidden unit.
INLINE void fill_constants(Shared& s, int f0, bool first_cluster) {
    for (int i = threadIdx.x; i < BUFFERS * BATCH * FEATURES; i += THREADS)
        (&s.x[0][0][0])[i] = f0 + i % FEATURES == INPUTS;
    for (int i = threadIdx.x; i < SHARE * 4; i += THREADS)
        s.z[i / 4][UNITS + i % 4] = i % 4 == 0 && first_cluster;
}

// A warp starts to bring `count` images of a batch into shared memory, from n0 on, of each of them
// 4 LANES features, from f on.
template <int LANES>
INLINE void fetch(float (*x)[FEATURES], const float* batch, int n0, int count, int f, int f0) {
    const int lane = threadIdx.x % 32;
    f += lane % LANES * 4;
    if (f >= FEATURES || f0 + f >= INPUTS) return;
    #pragma unroll 4
    for (int n = n0 + lane / LANES; n < n0 + count; n += 32 / LANES)
        copy4_async(&x[n][f], batch + n * INPUTS + f0 + f);
}

// Brings a block's features of a batch, an image for each thread, into the L2 cache.
INLINE void prefetch_features(const float* batch, int f0) {
    for (int f = f0; f < min(f0 + FEATURES, INPUTS); f += 32)
        prefetch(batch + threadIdx.x * INPUTS + f);
}
