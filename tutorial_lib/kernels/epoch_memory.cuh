// What a block of epoch.cu keeps in its shared memory, and how it gets there.

constexpr int SHARE = BATCH / CLUSTER;             // images of a block in steps 2 to 4
constexpr int LOGITS = SHARE / 16;                 // of a thread, all of the same image
constexpr int OUTPUT_THREADS = SHARE * OUTPUTS / LOGITS, OUTPUT_WARPS = OUTPUT_THREADS / 32;
constexpr int OUTPUT_SIZE = OUTPUTS * (UNITS + 1);  // output weights and biases
constexpr int OUTPUT_WEIGHTS = (OUTPUT_SIZE + THREADS - 1) / THREADS;  // of a thread
constexpr int TILES = (FEATURES + 15) / 16;        // of 16 features
constexpr int SPLIT = THREADS / 32 / TILES;        // warps that share such a tile, by images

// Rows of 8, 24, 40, 56 … floats lie so in the banks that a warp reads its fragments in one go.
// Who writes where, and when may another block do so again?
// - partial: all blocks of the cluster, before the first barrier of a step; it is read before the
//   second, and all pass that before the next step.
// - grad_hidden: the same, before the second barrier, and it is read before the next step's first.
// - grad_output: after the second barrier, and it is read between the next step's two.
// All else only the block itself writes, and __syncthreads() separates that from the reading.
struct Shared {
    float x[BUFFERS][BATCH][FEATURES];     // this block's features of the batch
    float w[UNITS][FEATURES];              // its weights
    float partial[CLUSTER][SHARE][UNITS];  // the hidden layer before its ReLU, from each block
    float grad_hidden[BATCH][UNITS];
    float grad_output[CLUSTER][OUTPUT_SIZE];
    float z[SHARE][UNITS + 4];             // the hidden layer before its ReLU, and a unit that is 1
    float wo[OUTPUTS][UNITS + 4];          // with the weights of that unit, the output biases
    float grad[SHARE][12];                 // of the logits
};
static_assert(sizeof(Shared) == SHARED_BYTES && THREADS == BATCH && OUTPUTS % LOGITS == 0);

enum class Phase {
    waiting_for_images, hidden_partial, first_cluster_barrier, sum_over_cluster, partial_logits,
    waiting_for_clusters, loss_and_gradient, send_gradient, output_gradient,
    second_cluster_barrier, send_output_gradient, update_weights
};

struct Clock { long long *cycles, last; };

// Adds the cycles since the last mark to a phase, as block 0 sees them, if compiled to do so.
INLINE void mark(Clock& clock, Phase phase) {
    if (!PROFILE || threadIdx.x || blockIdx.x) return;
    const long long now = clock64();
    clock.cycles[(int)phase] += now - clock.last;
    clock.last = now;
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
    for (int i = threadIdx.x; i < OUTPUTS * (UNITS + 4); i += THREADS) {
        const int o = i / (UNITS + 4), h = i % (UNITS + 4);
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

// Starts to bring so many images of a batch into shared memory: each warp those features, of those
// images, that it alone reads in step 5.
INLINE void fetch(float (*x)[FEATURES], const float* batch, int first, int count, int f0) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, f = warp % TILES * 16 + lane % 4 * 4;
    if (warp >= TILES * SPLIT || f >= FEATURES || f0 + f >= INPUTS) return;
    #pragma unroll 4
    for (int i = lane / 4; i < count; i += 8) {
        const int n = warp / TILES * (BATCH / SPLIT) + first + i;
        copy4_async(&x[n][f], batch + n * INPUTS + f0 + f);
    }
}

// Brings a block's features of a batch, an image for each thread, into the L2 cache.
INLINE void prefetch_features(const float* batch, int f0) {
    for (int f = f0; f < min(f0 + FEATURES, INPUTS); f += 32)
        prefetch(batch + threadIdx.x * INPUTS + f);
}
