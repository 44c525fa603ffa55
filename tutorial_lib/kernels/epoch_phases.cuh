// The phases of a step in epoch.cu. g and c say which elements of a fragment are a lane's: see `mma`.

// A tile of a product, (16, 8), as the sum of PRODUCTS: each has a chain of additions of its own,
// so that none waits for another, and small ones are not lost in large ones.
struct Tile {
    float sums[PRODUCTS][4] = {};

    INLINE void add(const Operand<4>& a, const Operand<2>& b) {
        mma(sums[0], a.high, b.high);
        if constexpr (PRODUCTS == 3) {
            mma(sums[1], a.low, b.high);
            mma(sums[2], a.high, b.low);
        }
    }
    INLINE float operator[](int i) const {
        if constexpr (PRODUCTS == 3) return sums[0][i] + (sums[1][i] + sums[2][i]);
        return sums[0][i];
    }
};

INLINE float relu(float z) { return z < 0 ? 0 : z; }  // NaN stays NaN

// 1. A warp takes 32 images, as two tiles of rows, and all units, as tiles of columns. Of 8
// features, a lane takes two neighbors.
INLINE void hidden_partial(Shared& s, const float (*x)[FEATURES], int rank) {
    const int n0 = threadIdx.x / 32 * 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    Tile tiles[2][UNITS / 8];
    #pragma unroll 4
    for (int f = 2 * c; f < FEATURES; f += 8) {
        auto images = [&](int n) {
            const float2 top = *(float2*)&x[n + g][f], bottom = *(float2*)&x[n + g + 8][f];
            return Operand<4>({top.x, bottom.x, top.y, bottom.y});
        };
        const Operand<4> a[2] = {images(n0), images(n0 + 16)};
        UNROLL for (int j = 0; j < UNITS / 8; j++) {
            const float2 w = *(float2*)&s.w[8 * j + g][f];
            const Operand<2> b({w.x, w.y});
            UNROLL for (int i = 0; i < 2; i++) tiles[i][j].add(a[i], b);
        }
    }
    UNROLL for (int i = 0; i < 2; i++)
        UNROLL for (int j = 0; j < UNITS / 8; j++)
            UNROLL for (int half = 0; half < 2; half++) {
                const int n = n0 + 16 * i + 8 * half + g, h = 8 * j + 2 * c;
                const float2 sums = {tiles[i][j][2 * half], tiles[i][j][2 * half + 1]};
                store2(remote(&s.partial[rank][n % SHARE][h], n / SHARE), sums);
            }
}

// 2. The hidden layer for this block's share of the images; a thread takes single numbers.
INLINE void sum_over_cluster(Shared& s) {
    for (int i = threadIdx.x; i < SHARE * UNITS; i += THREADS) {
        float z = 0;
        UNROLL for (int r = 0; r < CLUSTER; r++) z += (&s.partial[r][0][0])[i];
        s.z[i / UNITS][i % UNITS] = z;
    }
}

// The last step's gradient of the output layer, subtracted; all blocks of a cluster do the same.
INLINE void update_output(Shared& s, float learning_rate) {
    for (int i = THREADS - 1 - threadIdx.x; i < OUTPUT_SIZE; i += THREADS) {
        float gradient = 0;
        UNROLL for (int r = 0; r < CLUSTER; r++) gradient += s.grad_output[r][i];
        s.wo[i / (UNITS + 1)][i % (UNITS + 1)] -= learning_rate * gradient;
    }
}

// 3. A thread takes an image and LOGITS of its outputs.
INLINE void partial_logits(const Shared& s, float (&logits)[LOGITS]) {
    const int n = threadIdx.x % SHARE, o = threadIdx.x / SHARE;
    if (threadIdx.x >= OUTPUT_THREADS) return;
    UNROLL for (int j = 0; j < LOGITS; j++) logits[j] = 0;
    UNROLL for (int h = 0; h < UNITS + 4; h += 4) {
        const float4 z = *(float4*)&s.z[n][h];
        UNROLL for (int j = 0; j < LOGITS; j++) {
            const float4 w = *(float4*)&s.wo[o + OUTPUTS / LOGITS * j][h];
            logits[j] += w.x * relu(z.x) + w.y * relu(z.y) + w.z * relu(z.z) + w.w * relu(z.w);
        }
    }
}

// The logits, as sums over all clusters. Each number carries a tag that says of which step it is:
// so a thread that reads one knows whether it has been written, and needs no barrier.
INLINE void sum_over_clusters(Tagged* buffer, int group, int tag, float (&logits)[LOGITS]) {
    if (GROUPS == 1 || threadIdx.x >= OUTPUT_THREADS) return;
    float parts[LOGITS][GROUPS];
    auto place = [&](int g, int j) {
        return buffer + (g * LOGITS + j) * OUTPUT_THREADS + threadIdx.x;
    };
    UNROLL for (int j = 0; j < LOGITS; j++) store_tagged(place(group, j), logits[j], tag);
    for (bool all = false; !all;) {
        all = true;
        UNROLL for (int j = 0; j < LOGITS; j++)
            UNROLL for (int g = 0; g < GROUPS; g++)
                all &= load_tagged(place(g, j), tag, parts[j][g]);
    }
    UNROLL for (int j = 0; j < LOGITS; j++) {
        logits[j] = 0;
        UNROLL for (int g = 0; g < GROUPS; g++) logits[j] += parts[j][g];
    }
}

// 4. The loss of a thread's logits, and their gradient.
INLINE void loss_and_gradient(Shared& s, const float (&logits)[LOGITS], int label, float& loss) {
    const int n = threadIdx.x % SHARE, o = threadIdx.x / SHARE;
    if (threadIdx.x >= OUTPUT_THREADS) return;
    UNROLL for (int j = 0; j < LOGITS; j++) {
        const Outcome one = outcome(logits[j], label, o + OUTPUTS / LOGITS * j, BATCH);
        s.grad[n][o + OUTPUTS / LOGITS * j] = one.gradient;
        loss += one.loss;
    }
}

// The hidden layer's gradient, to the whole cluster; a thread takes 4 units of an image, and if
// there are more threads than that, a part of the blocks.
INLINE void send_gradient(Shared& s, int rank) {
    constexpr int QUADS = SHARE * UNITS / 4, PARTS = QUADS < THREADS ? THREADS / QUADS : 1;
    for (int i = threadIdx.x; i < QUADS * PARTS; i += THREADS) {
        const int n = i % QUADS / (UNITS / 4), h = i % (UNITS / 4) * 4;
        float grad[4] = {};
        UNROLL for (int o = 0; o < OUTPUTS; o++)
            UNROLL for (int k = 0; k < 4; k++) grad[k] += s.grad[n][o] * s.wo[o][h + k];
        UNROLL for (int k = 0; k < 4; k++) grad[k] = s.z[n][h + k] < 0 ? 0 : grad[k];
        UNROLL for (int r = i / QUADS; r < CLUSTER; r += PARTS)
            store4(remote(&s.grad_hidden[rank * SHARE + n][h], r), *(float4*)grad);
    }
}

// This block's part of the gradient of the output layer; a thread takes single weights.
INLINE void output_gradient(const Shared& s, float (&gradient)[OUTPUT_WEIGHTS]) {
    UNROLL for (int k = 0; k < OUTPUT_WEIGHTS; k++) {
        const int i = threadIdx.x + k * THREADS, o = i / (UNITS + 1), h = i % (UNITS + 1);
        gradient[k] = 0;
        if (i < OUTPUT_SIZE)
            UNROLL for (int n = 0; n < SHARE; n++) gradient[k] += s.grad[n][o] * relu(s.z[n][h]);
    }
}

// The same, to the whole cluster.
INLINE void send_output_gradient(Shared& s, int rank, const float (&gradient)[OUTPUT_WEIGHTS]) {
    UNROLL for (int k = 0; k < OUTPUT_WEIGHTS; k++) {
        const int i = threadIdx.x + k * THREADS;
        if (i < OUTPUT_SIZE)
            UNROLL for (int r = 0; r < CLUSTER; r++)
                store(remote(&s.grad_output[rank][i], r), gradient[k]);
    }
}

// The loss, a part from each warp that has logits.
INLINE void write_loss(float loss, float* losses) {
    if (threadIdx.x >= OUTPUT_THREADS) return;
    const float total = warp_sum(loss);
    if (threadIdx.x % 32 == 0) losses[threadIdx.x / 32] = total / (BATCH * OUTPUTS);
}

// 5. A warp takes 16 features, as rows, and all units, as tiles of columns; SPLIT warps share them,
// by images. Where it has read the images, there is room for the next, if there is but one buffer.
INLINE void update_weights(
    Shared& s, float (*x)[FEATURES], const float* next, int first_feature, float learning_rate) {
    constexpr int COUNT = BATCH / SPLIT, CHUNK = BUFFERS == 1 ? 16 : COUNT;
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    const int member = warp / TILES, f = warp % TILES * 16 + g, unit = g / 2 + g % 2 * 4;
    const bool bottom = f - g + 8 < FEATURES;  // whether the tile has all of its 16 rows
    Tile tiles[UNITS / 8];
    if (member < SPLIT)
        for (int first = 0; first < COUNT; first += CHUNK) {
            #pragma unroll 4
            for (int n = member * COUNT + first + c; n < member * COUNT + first + CHUNK; n += 8) {
                const Operand<4> a({x[n][f], bottom ? x[n][f + 8] : 0,
                                    x[n + 4][f], bottom ? x[n + 4][f + 8] : 0});
                UNROLL for (int j = 0; j < UNITS / 8; j++) {
                    const float *now = &s.grad_hidden[n][8 * j + unit], *then = now + 4 * UNITS;
                    tiles[j].add(a, Operand<2>({*now, *then}));
                }
            }
            if (BUFFERS == 2 || !next) continue;
            __syncwarp();
            fetch(x, next, first, CHUNK, first_feature);
        }
    UNROLL for (int turn = 0; turn < SPLIT; turn++) {  // always in the same order
        if (turn > 0) __syncthreads();
        if (member == turn)
            UNROLL for (int j = 0; j < UNITS / 8; j++)
                UNROLL for (int i = 0; i < 4; i++)  // unit c and c + 4 of 8, feature g and g + 8
                    if (i < 2 || bottom)
                        s.w[8 * j + c + i % 2 * 4][f + i / 2 * 8] -= learning_rate * tiles[j][i];
    }
}
