// What a block of epoch.cu keeps in its shared memory, and how it gets there.

constexpr int SHARE = BATCH / CLUSTER;              // images of a block in steps 2 to 4
constexpr int LOGITS = (SHARE * OUTPUTS + THREADS - 1) / THREADS;  // of a thread
constexpr int PITCH = FEATURES + 4;                 // floats from row to row, for the sake of banks
constexpr int FETCHERS = FEATURES <= 64 ? 16 : 32;  // threads that fetch an image, 4 features each
constexpr int CHUNKS = 4, CHUNK = BATCH / CHUNKS;   // in which the images come; images of one
constexpr int TILES = UNITS / 8 * (FEATURES / 8);   // of 8 x 8 weights
constexpr int SPLIT = THREADS / TILES < 8 ? THREADS / TILES : 8;  // threads that share a tile

struct Shared {
    float x[BATCH][PITCH];              // this block's features of the batch
    float w[UNITS][PITCH];              // its weights
    float partial[UNITS][BATCH + 16];   // its part of the hidden layer
    float grad_hidden[BATCH][UNITS];
    float wo[OUTPUTS][UNITS + 4];
    float grad[SHARE][12];              // of the logits
    float y[UNITS + 1][SHARE + 1];      // the hidden layer, complete, and a row of ones
    float open[UNITS][SHARE + 1];       // 1 where the ReLU lets the gradient pass, otherwise 0
    float grad_output[OUTPUTS][UNITS + 1];  // of wo and, in the last column, of bo
    float bias_sums[THREADS / UNITS][UNITS];
    float loss[SHARE * OUTPUTS];
    float bh[UNITS];
    float bo[OUTPUTS];
};
static_assert(sizeof(Shared) == SHARED_BYTES && THREADS == BATCH);

enum class Phase {
    waiting_for_images, hidden_partial, first_cluster_barrier, sum_over_cluster, partial_logits,
    waiting_for_clusters, loss_and_gradient, send_gradient, second_cluster_barrier, update_small,
    weight_gradient, update_weights
};

__device__ float dot(float4 a, float4 b, float sum) {
    return fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, sum))));
}

__device__ void add(float4& sum, float factor, float4 a) {
    sum.x += factor * a.x; sum.y += factor * a.y; sum.z += factor * a.z; sum.w += factor * a.w;
}

// Brings the block's parameters in, or back. Those beyond the last are 0, and stay 0. What several
// blocks have, the first of them brings back.
template <bool IN>
INLINE void move_parameters(Shared& s, float* wh, float* bh, float* wo, float* bo, int h0, int f0) {
    const int t = threadIdx.x;
    auto move = [](float& here, float* there, bool exists) {
        if (IN) here = exists ? *there : 0;
        else if (exists) *there = here;
    };
    for (int i = t; i < UNITS * FEATURES; i += THREADS) {
        const int h = h0 + i / FEATURES, f = f0 + i % FEATURES;
        move(s.w[i / FEATURES][i % FEATURES], &wh[h * INPUTS + f], h < HIDDEN && f < INPUTS);
    }
    if (!IN && f0 > 0) return;
    for (int i = t; i < OUTPUTS * UNITS; i += THREADS) {
        const int o = i / UNITS, h = h0 + i % UNITS;
        move(s.wo[o][i % UNITS], &wo[o * HIDDEN + h], h < HIDDEN);
    }
    if (t < UNITS) move(s.bh[t], &bh[h0 + t], h0 + t < HIDDEN);
    if (t < OUTPUTS) move(s.bo[t], &bo[t], IN || h0 == 0);
}

// Starts to bring one chunk of a batch into shared memory, while the threads go on.
__device__ void fetch(Shared& s, const float* batch, int chunk, int first_feature) {
    const int f = threadIdx.x % FETCHERS * 4;
    if (f >= FEATURES || first_feature + f >= INPUTS) return;
    UNROLL for (int i = threadIdx.x / FETCHERS; i < CHUNK; i += THREADS / FETCHERS) {
        const int n = chunk * CHUNK + i;
        copy4_async(&s.x[n][f], batch + n * INPUTS + first_feature + f);
    }
}
