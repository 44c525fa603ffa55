// The phases of a step in wide_epoch.cu.

// 1. The hidden layer before its ReLU. An image comes straight from the L2 cache, since only one
// warp of the block needs it: 16 features at a time, of which a thread takes 4. Blocks begin at
// different features, lest all read the same at once.
INLINE void hidden_layer(const Shared& s, const float* images, Hidden& z) {
    constexpr int GROUPS = INPUTS / 16, N = IMAGES / 8, M = TILES == 4 ? 2 : TILES;
    const auto [warp, g, c] = this_lane();
    const float* mine = images + (warp * IMAGES + g) * INPUTS + 4 * c;
    auto feature = [](int turn) { return (turn + blockIdx.x) % GROUPS * 16; };
    float4 x[AHEAD][N];
    auto read = [&](int turn) {
        const float* from = mine + feature(turn);
        UNROLL for (int n = 0; n < N; n++)
            x[turn % AHEAD][n] = *(const float4*)&from[8 * n * INPUTS];
    };
    UNROLL for (int m = 0; m < TILES; m++)
        UNROLL for (int n = 0; n < N; n++)
            UNROLL for (int i = 0; i < 4; i++) z[m][n][i] = s.small[16 * m + 8 * (i / 2) + g][OUTPUTS];
    UNROLL for (int turn = 0; turn < AHEAD; turn++) read(turn);
    #pragma unroll AHEAD
    for (int turn = 0; turn < GROUPS; turn++) {
        Operand<2> b[2][N];
        UNROLL for (int n = 0; n < N; n++) {
            const float4 four = x[turn % AHEAD][n];
            b[0][n] = Operand<2>({four.x, four.y});
            b[1][n] = Operand<2>({four.z, four.w});
        }
        read(turn + AHEAD);
        UNROLL for (int first = 0; first < TILES; first += M) {
            float few[M][N][4] = {};
            float(*sum)[N][4] = PRODUCTS == 3 ? few : &z[first];
            UNROLL for (int k = 0; k < 2; k++) {
                Operand<4> a[M];
                UNROLL for (int m = 0; m < M; m++)
                    a[m] = Operand<4>(*(float(*)[4])&s.w[8 * (first + m) + g][2 * (feature(turn) + 4 * c + 2 * k)]);
                multiply(sum, a, b[k]);
            }
            if (PRODUCTS == 3)  // tensor cores truncate what they sum: they do so for few features
                UNROLL for (int m = 0; m < M; m++)
                    UNROLL for (int n = 0; n < N; n++)
                        UNROLL for (int i = 0; i < 4; i++) z[first + m][n][i] += few[m][n][i];
        }
    }
}

// 2. The block's part of all logits: a thread gets the sums over the block's units for one image.
INLINE void send_logits(Shared& s, const Hidden& z, Tagged* exchange, int tag) {
    const auto [warp, g, c] = this_lane();
    float logits[8 * OUTPUTS] = {};  // of a thread's 8 images
    UNROLL for (int u = 0; u < 2 * TILES; u++) {
        const Row wo = row_of(s.small[8 * u + g]);
        UNROLL for (int j = 0; j < 8; j++) {
            const float y = relu(z[u / 2][j / 2][u % 2 * 2 + j % 2]);
            UNROLL for (int o = 0; o < OUTPUTS; o++) logits[j * OUTPUTS + o] += wo.at[o] * y;
        }
    }
    fold<8 * OUTPUTS, 16>(logits);
    fold<4 * OUTPUTS, 8>(logits);
    fold<2 * OUTPUTS, 4>(logits);
    float* mine = &s.grad[0][0] + warp * IMAGES * OUTPUTS;  // to be sent in order
    UNROLL for (int o = 0; o < OUTPUTS; o++)
        mine[(g / 2 * 8 + 2 * c + g % 2) * OUTPUTS + o] = logits[o];
    __syncwarp();
    const int first = (blockIdx.x * BATCH + warp * IMAGES) * OUTPUTS;
    UNROLL for (int i = threadIdx.x % 32; i < IMAGES * OUTPUTS; i += 32)
        store_tagged(&exchange[first + i], mine[i], tag);
}

// Receives so many tagged numbers, each BY numbers after the last, all on their way at once.
template <int COUNT, int BY>
INLINE void receive(float (&values)[COUNT], const Tagged* from, int count, int tag) {
    for (bool all = false; !all;) {
        all = true;
        UNROLL for (int k = 0; k < COUNT; k++)
            if (k < count) all &= load_tagged(from + k * BY, tag, values[k]);
    }
}

// 3. The share's logits: a thread sums one of them over some blocks, and the first threads over all.
// Each of these sends the gradient of its logit to all blocks.
INLINE void loss_and_gradient(Shared& s, Tagged* exchange, const long long* labels, int tag) {
    constexpr int PARTS = THREADS / LOGITS, COUNT = (BLOCKS + PARTS - 1) / PARTS;
    const int t = threadIdx.x, part = t / LOGITS, i = blockIdx.x * LOGITS + t % LOGITS;
    const int n = i / OUTPUTS, o = i % OUTPUTS;
    const int label = n < BATCH ? digit(labels[n]) : 0;
    if (part < PARTS && n < BATCH) {
        const int count = (BLOCKS - part + PARTS - 1) / PARTS;
        float logits[COUNT], sum = 0;
        receive<COUNT, PARTS * BATCH * OUTPUTS>(
            logits, &exchange[part * BATCH * OUTPUTS + i], count, tag);
        UNROLL for (int k = 0; k < COUNT; k++) sum += k < count ? logits[k] : 0;
        s.logits[t] = sum;
    }
    __syncthreads();
    if (part > 0 || n >= BATCH) return;
    float logit = s.bo[o];
    UNROLL for (int p = 0; p < PARTS; p++) logit += s.logits[p * LOGITS + t];
    const Outcome one = outcome(logit, label, o, BATCH);
    store_tagged(&exchange[(BLOCKS * OUTPUTS + o) * BATCH + n], one.gradient, tag);
    s.loss[t] = one.loss;
}

// Waits for the gradients of all logits, at first for one alone, lest all polls jam; a thread takes
// those of one image.
INLINE void receive_gradients(Shared& s, const Tagged* exchange, int tag) {
    const Tagged* mine = &exchange[BLOCKS * OUTPUTS * BATCH + threadIdx.x];
    float grad[OUTPUTS];
    while (!load_tagged(mine, tag, grad[0])) {}
    receive<OUTPUTS, BATCH>(grad, mine, OUTPUTS, tag);
    UNROLL for (int o = 0; o < OUTPUTS; o++) s.grad[threadIdx.x][o] = grad[o];
}

// 4. The gradients of the output weights and of the hidden layer, which takes its place, on tensor
// cores; the update of the small parameters.
INLINE void update_small(Shared& s, Hidden& z, float learning_rate) {
    constexpr int N = IMAGES / 8, COUNT = OUTPUTS + 1;
    const auto [warp, g, c] = this_lane();
    auto at = [](const float* row, int o) { return o < OUTPUTS ? row[o] : 0; };
    Operand<2> by_image[N][2], by_output[2][N];  // the gradients of the logits, in both orders
    UNROLL for (int n = 0; n < N; n++)
        UNROLL for (int k = 0; k < 2; k++) {
            const float *images = s.grad[warp * IMAGES + 8 * n], *row = images + 12 * g;
            images += 12 * 2 * c;
            by_image[n][k] = Operand<2>({at(images, 8 * k + g), at(images + 12, 8 * k + g)});
            by_output[k][n] = Operand<2>({at(row, 8 * k + c), at(row, 8 * k + c + 4)});
        }
    float grad_wo[TILES][2][4] = {}, grad_bh[TILES][2] = {};
    UNROLL for (int n = 0; n < N; n++) {
        Operand<4> a[TILES];
        UNROLL for (int m = 0; m < TILES; m++) {
            const float(&x)[4] = z[m][n];
            a[m] = Operand<4>({relu(x[0]), relu(x[2]), relu(x[1]), relu(x[3])});
        }
        multiply(grad_wo, a, by_image[n]);
    }
    UNROLL for (int m = 0; m < TILES; m++) {
        const float *upper = s.small[16 * m + g], *lower = upper + 12 * 8;
        float delta[1][N][4] = {};
        UNROLL for (int k = 0; k < 2; k++) {
            const int o = 8 * k + c;
            const Operand<4> a[1] = {
                Operand<4>({at(upper, o), at(lower, o), at(upper, o + 4), at(lower, o + 4)})};
            multiply(delta, a, by_output[k]);
        }
        UNROLL for (int i = 0; i < 4; i++) {
            UNROLL for (int n = 0; n < N; n++)
                grad_bh[m][i / 2] += z[m][n][i] = z[m][n][i] < 0 ? 0 : delta[0][n][i];
        }
        UNROLL for (int i = 0; i < 2; i++) {
            grad_bh[m][i] += __shfl_xor_sync(~0u, grad_bh[m][i], 1);
            grad_bh[m][i] += __shfl_xor_sync(~0u, grad_bh[m][i], 2);
        }
    }
    UNROLL for (int half = 0; half < 2; half++) {  // of the warps: the second adds to the first
        auto put = [=](float& sum, float gradient) { sum = half ? sum + gradient : gradient; };
        UNROLL for (int u = 0; u < 2 * TILES; u++) {
            if (warp / (WARPS / 2) == half) continue;
            float* sums = s.sums[warp % (WARPS / 2)][8 * u + g];
            const float(&grad)[2][4] = grad_wo[u / 2];
            UNROLL for (int i = 0; i < 2; i++) {
                put(sums[2 * c + i], grad[0][u % 2 * 2 + i]);
                if (c == 0) put(sums[8 + i], grad[1][u % 2 * 2 + i]);
            }
            if (c == 1) put(sums[OUTPUTS], grad_bh[u / 2][u % 2]);
        }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < UNITS * COUNT; i += THREADS) {
        const int h = i / COUNT, k = i % COUNT;
        float gradient = 0;
        UNROLL for (int two = 0; two < WARPS / 2; two++) gradient += s.sums[two][h][k];
        s.small[h][k] -= learning_rate * gradient;
    }
}

// The loss of the block's share; the update of the output biases, alike in all blocks.
INLINE void finish_output(Shared& s, float* loss, float learning_rate) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int o = warp; o < OUTPUTS; o += WARPS) {
        float gradient = 0;
        UNROLL for (int n = 0; n < BATCH; n += 32) gradient += s.grad[n + lane][o];
        gradient = warp_sum(gradient);
        if (lane == 0) s.bo[o] -= learning_rate * gradient;
    }
    if (warp < WARPS - 1) return;
    float sum = 0;
    for (int i = lane; i < min(LOGITS, (BATCH - (int)blockIdx.x * SHARE) * OUTPUTS); i += 32)
        sum += s.loss[i];
    sum = warp_sum(sum);
    if (lane == 0) *loss = sum / (BATCH * OUTPUTS);
}

// 5. Each warp has the gradient's part of its own images, and subtracts it, 16 features at a time,
// in turn: no two warps are at the same features, and the order is always the same, since none gets
// as far ahead of another as they are APART. Half of the warps wait before they subtract, half
// after: so the ones compute while the others subtract.
INLINE void update_weights(
    Shared& s, const float* images, const Hidden& delta, float learning_rate) {
    constexpr int GROUPS = INPUTS / 16, APART = GROUPS / WARPS, K = IMAGES / 8;
    static_assert(APART > 1);
    const auto [warp, g, c] = this_lane();
    const float* mine = images + (warp * IMAGES + 2 * c) * INPUTS + 2 * g;
    const int first = warp * APART + blockIdx.x;
    const bool late = warp >= WARPS / 2;
    auto feature = [=](int turn) { return (turn + first) % GROUPS * 16; };
    Operand<4> a[K][TILES];
    UNROLL for (int k = 0; k < K; k++)
        UNROLL for (int m = 0; m < TILES; m++) {
            const float(&d)[4] = delta[m][k];
            a[k][m] = Operand<4>({d[0], d[2], d[1], d[3]});
        }
    float2 x[AHEAD][K][2];  // of two neighboring images
    auto read = [&](int turn) {
        const float* from = mine + feature(turn);
        UNROLL for (int k = 0; k < K; k++)
            UNROLL for (int i = 0; i < 2; i++)
                x[turn % AHEAD][k][i] = *(const float2*)&from[(8 * k + i) * INPUTS];
    };
    UNROLL for (int turn = 0; turn < AHEAD; turn++) read(turn);
    #pragma unroll AHEAD
    for (int turn = 0; turn < GROUPS; turn++) {
        Operand<2> b[K][2];
        UNROLL for (int k = 0; k < K; k++) {
            const float2(&two)[2] = x[turn % AHEAD][k];
            b[k][0] = Operand<2>({two[0].x, two[1].x});
            b[k][1] = Operand<2>({two[0].y, two[1].y});
        }
        read(turn + AHEAD);
        float gradient[TILES][2][4] = {};
        UNROLL for (int k = 0; k < K; k++) multiply(gradient, a[k], b[k]);
        const bool meet = turn % (APART - 1) == APART - 2;
        if (meet && late) __syncthreads();
        UNROLL for (int m = 0; m < TILES; m++) {
            float4* w = (float4*)&s.w[8 * m + g][2 * (feature(turn) + 4 * c)];
            UNROLL for (int i = 0; i < 2; i++) {  // two features, of two units each
                w[i].x -= learning_rate * gradient[m][0][i];
                w[i].y -= learning_rate * gradient[m][0][2 + i];
                w[i].z -= learning_rate * gradient[m][1][i];
                w[i].w -= learning_rate * gradient[m][1][2 + i];
            }
        }
        if (meet && !late) __syncthreads();
    }
    __syncthreads();
}
