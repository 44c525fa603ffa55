// The phases of a step in epoch.cu. g and c say which elements of a fragment are a lane's: see `mma`.

INLINE float relu(float z) { return z < 0 ? 0 : z; }  // NaN stays NaN

// 1. A warp takes 32 images, as two tiles of rows, and all units, as tiles of columns. Of 8
// features, a lane takes two neighbors; while it works on them, the next 8 are on their way.
INLINE void hidden_partial(Shared& s, const float (*x)[FEATURES], int rank) {
    const int n0 = threadIdx.x / 32 * 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    Tile tiles[2][UNITS / 8];
    float2 images[2][4], weights[2][UNITS / 8];
    auto read = [&](int f, int to) {
        UNROLL for (int i = 0; i < 4; i++) images[to][i] = *(float2*)&x[n0 + 8 * i + g][f];
        UNROLL for (int j = 0; j < UNITS / 8; j++) weights[to][j] = *(float2*)&s.w[8 * j + g][f];
    };
    read(2 * c, 0);
    #pragma unroll 4
    for (int k = 0; k < FEATURES / 8; k++) {
        if (k + 1 < FEATURES / 8) read(8 * (k + 1) + 2 * c, (k + 1) % 2);
        auto rows = [&](int i) {
            const float2 top = images[k % 2][2 * i], bottom = images[k % 2][2 * i + 1];
            return Operand<4>({top.x, bottom.x, top.y, bottom.y});
        };
        const Operand<4> a[2] = {rows(0), rows(1)};
        Operand<2> b[UNITS / 8];
        UNROLL for (int j = 0; j < UNITS / 8; j++) {
            const float2 w = weights[k % 2][j];
            b[j] = {{w.x, w.y}};
        }
        multiply(tiles, a, b);
        if (k % 4 == 3 || k + 1 == FEATURES / 8) settle(tiles);
    }
    UNROLL for (int i = 0; i < 4; i++)
        UNROLL for (int j = 0; j < UNITS / 8; j++) {
            const int n = n0 + 8 * i + g, owner = n / SHARE;
            const Tile& tile = tiles[i / 2][j];
            send(remote(&s.partial[rank][n % SHARE][8 * j + 2 * c], owner),
                 float2{tile[i % 2 * 2], tile[i % 2 * 2 + 1]}, remote(s.partials_in, owner));
        }
}

// 2. The hidden layer for this block's share of the images; a thread takes single numbers.
INLINE void sum_over_cluster(Shared& s) {
    UNROLL for (int k = 0; k < (SHARE * UNITS + THREADS - 1) / THREADS; k++) {
        const int i = threadIdx.x + k * THREADS;
        if (i >= SHARE * UNITS) break;
        float z = 0;
        UNROLL for (int r = 0; r < CLUSTER; r++) z += (&s.partial[r][0][0])[i];
        s.z[i / UNITS][i % UNITS] = z;
    }
}

// The last step's gradient of the output layer, subtracted; all blocks of a cluster do the same.
INLINE void update_output(Shared& s, float learning_rate) {
    const int i = THREADS - 1 - threadIdx.x, o = i / (PADDED / 4), h = i % (PADDED / 4) * 4;
    if (i >= QUADS) return;
    float4 gradient = {0, 0, 0, 0};
    UNROLL for (int r = 0; r < CLUSTER; r++) add(gradient, 1, *(float4*)&s.grad_output[r][o][h]);
    add(*(float4*)&s.wo[o][h], -learning_rate, gradient);
}

// 3. A thread takes an image and LOGITS of its outputs.
INLINE void partial_logits(const Shared& s, float (&logits)[LOGITS]) {
    const int n = threadIdx.x % SHARE, o = threadIdx.x / SHARE;
    if (threadIdx.x >= OUTPUT_THREADS) return;
    UNROLL for (int j = 0; j < LOGITS; j++) logits[j] = 0;
    UNROLL for (int h = 0; h < PADDED; h += 4) {
        const float4 z = *(float4*)&s.z[n][h];
        UNROLL for (int j = 0; j < LOGITS; j++) {
            const float4 w = *(float4*)&s.wo[o + OUTPUTS / LOGITS * j][h];
            logits[j] += w.x * relu(z.x) + w.y * relu(z.y) + w.z * relu(z.z) + w.w * relu(z.w);
        }
    }
}

// The output weights of four units, read while a thread waits for the other clusters.
INLINE void read_output_weights(const Shared& s, float4 (&weights)[OUTPUTS]) {
    const int h = threadIdx.x % (UNITS / 4) * 4;
    UNROLL for (int o = 0; o < OUTPUTS; o++) weights[o] = *(float4*)&s.wo[o][h];
}

// The logits, as sums over all clusters. Each number carries a tag, this step's or an older one's:
// so a thread that reads one knows whether it has been written, and needs no barrier.
INLINE void sum_over_clusters(float* buffer, int group, unsigned tag, float (&logits)[LOGITS]) {
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

// 4. The gradient with respect to a thread's logits.
INLINE void gradient(Shared& s, const float (&logits)[LOGITS], int label) {
    const int n = threadIdx.x % SHARE, o = threadIdx.x / SHARE;
    if (threadIdx.x >= OUTPUT_THREADS) return;
    UNROLL for (int j = 0; j < LOGITS; j++) {
        const int output = o + OUTPUTS / LOGITS * j;
        s.grad[n][output] = outcome(logits[j], label, output, BATCH).gradient;
    }
}

// The hidden layer's gradient, to the whole cluster; a thread takes four units of an image, and
// where there are more threads than that, a part of the blocks.
INLINE void send_gradient(Shared& s, int rank, const float4 (&weights)[OUTPUTS]) {
    constexpr int SLOTS = THREADS / (UNITS / 4), PARTS = SLOTS < SHARE ? 1 : SLOTS / SHARE;
    const int h = threadIdx.x % (UNITS / 4) * 4, first = threadIdx.x / (UNITS / 4);
    for (int slot = first; first < SLOTS && slot < SHARE * PARTS; slot += SLOTS) {
        const int n = slot % SHARE;
        float4 grad = {0, 0, 0, 0};
        UNROLL for (int o = 0; o < OUTPUTS; o++) add(grad, s.grad[n][o], weights[o]);
        const float4 z = *(float4*)&s.z[n][h];
        grad = {z.x < 0 ? 0 : grad.x, z.y < 0 ? 0 : grad.y, z.z < 0 ? 0 : grad.z,
                z.w < 0 ? 0 : grad.w};
        UNROLL for (int r = slot / SHARE; r < CLUSTER; r += PARTS)
            send(remote(&s.grad_hidden[rank * SHARE + n][h], r), grad, remote(s.grads_in, r));
    }
}

// This block's part of the gradient of the output layer, to the whole cluster, once `wait` is over.
// HELPERS threads take four weights, each of them some of the images, then some of the blocks.
template <class Wait>
INLINE void send_output_gradient(Shared& s, int rank, Wait wait) {
    const int i = min((int)threadIdx.x / HELPERS, QUADS - 1), helper = threadIdx.x % HELPERS;
    const int o = i / (PADDED / 4), h = i % (PADDED / 4) * 4;
    float sums[4] = {};
    UNROLL for (int n = helper; n < SHARE; n += HELPERS)
        UNROLL for (int k = 0; k < 4; k++) sums[k] += s.grad[n][o] * relu(s.z[n][h + k]);
    UNROLL for (int lanes = 1; lanes < HELPERS; lanes *= 2)
        UNROLL for (int k = 0; k < 4; k++) sums[k] += __shfl_xor_sync(~0u, sums[k], lanes);
    wait();
    if (threadIdx.x < QUADS * HELPERS)
        UNROLL for (int r = helper; r < CLUSTER; r += HELPERS)
            send(remote(&s.grad_output[rank][o][h], r), *(float4*)sums, remote(s.partials_in, r));
}

// The loss, a part from each warp that has logits.
INLINE void write_loss(const float (&logits)[LOGITS], int label, float* losses) {
    if (threadIdx.x >= OUTPUT_THREADS) return;
    float loss = 0;
    UNROLL for (int j = 0; j < LOGITS; j++)
        loss += outcome(logits[j], label, threadIdx.x / SHARE + OUTPUTS / LOGITS * j, BATCH).loss;
    loss = warp_sum(loss);
    if (threadIdx.x % 32 == 0) losses[threadIdx.x / 32] = loss / (BATCH * OUTPUTS);
}

// 5. A warp takes 16 ROWS features and all units; SPLIT warps share them, by images. Where it has
// read the images, there is room for the next ones, if there is but one buffer.
INLINE void update_weights(
    Shared& s, float (*x)[FEATURES], const float* next, int first_feature, float learning_rate) {
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    const int member = warp / (8 / SPLIT), f0 = warp % (8 / SPLIT) * (16 * ROWS);
    const int n0 = member * (BATCH / SPLIT), n1 = n0 + BATCH / SPLIT, unit = g / 2 + g % 2 * 4;
    Tile tiles[ROWS][UNITS / 8];
    float images[2][4 * ROWS], grads[2][UNITS / 4];
    auto exists = [&](int half) { return f0 + 8 * half < FEATURES; };  // 8 of a tile's 16 features
    auto read = [&](int n, int to) {
        UNROLL for (int i = 0; i < 4 * ROWS; i++)
            images[to][i] = exists(i / 2) ? x[n + c + i % 2 * 4][f0 + g + i / 2 * 8] : 0;
        UNROLL for (int j = 0; j < UNITS / 4; j++)
            grads[to][j] = s.grad_hidden[n + c + j % 2 * 4][j / 2 * 8 + unit];
    };
    read(n0, 0);
    for (int first = n0; first < n1; first += 32) {
        UNROLL for (int k = 0; k < 4; k++) {
            read(min(first + 8 * (k + 1), n1 - 8), (k + 1) % 2);
            const float *now = images[k % 2], *grad = grads[k % 2];
            Operand<4> a[ROWS];
            Operand<2> b[UNITS / 8];
            UNROLL for (int i = 0; i < ROWS; i++)
                a[i] = {{now[4 * i], now[4 * i + 2], now[4 * i + 1], now[4 * i + 3]}};
            UNROLL for (int j = 0; j < UNITS / 8; j++) b[j] = {{grad[2 * j], grad[2 * j + 1]}};
            multiply(tiles, a, b);
        }
        settle(tiles);
        if (BUFFERS == 2 || !next) continue;
        __syncwarp();
        fetch<4 * ROWS>(x, next, first, 32, f0, first_feature);
    }
    UNROLL for (int turn = 0; turn < SPLIT; turn++) {  // always in the same order
        if (turn > 0) __syncthreads();
        if (member != turn) continue;
        UNROLL for (int i = 0; i < ROWS; i++)
            UNROLL for (int j = 0; j < UNITS / 8; j++)
                UNROLL for (int k = 0; k < 4; k++)  // of 8 units c and c + 4, of 16 features two
                    if (exists(2 * i + k / 2))
                        s.w[8 * j + c + k % 2 * 4][f0 + g + 16 * i + k / 2 * 8] -=
                            learning_rate * tiles[i][j][k];
    }
}
