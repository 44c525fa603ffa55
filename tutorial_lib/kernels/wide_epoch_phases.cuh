// The phases of a step in wide_epoch.cu.

// 1. The hidden layer before its ReLU. An image comes straight from the L2 cache, since only one
// warp of the block needs it: 16 features at a time, of which a thread takes 4. Blocks begin at
// different features, lest all read the same at once.
INLINE void hidden_layer(const Shared& s, const float* images, Hidden& z) {
    constexpr int GROUPS = INPUTS / 16, TURNS = AHEAD + 1;
    const auto [warp, g, c] = this_lane();
    const float* mine = images + (warp * IMAGES + g) * INPUTS + 4 * c;
    auto feature = [](int turn) { return (turn + blockIdx.x) % GROUPS * 16; };
    float4 x[TURNS][IMAGES / 8];  // of this turn and, on their way, of the next
    auto read = [&](int turn) {
        UNROLL for (int n = 0; n < IMAGES / 8; n++)
            x[turn % TURNS][n] = *(const float4*)&mine[8 * n * INPUTS + feature(turn)];
    };
    UNROLL for (int m = 0; m < TILES; m++)
        UNROLL for (int n = 0; n < IMAGES / 8; n++)
            UNROLL for (int i = 0; i < 4; i++) z[m][n][i] = s.small[16 * m + 8 * (i / 2) + g][OUTPUTS];
    UNROLL for (int turn = 0; turn < AHEAD; turn++) read(turn);
    #pragma unroll TURNS
    for (int turn = 0; turn < GROUPS; turn++) {
        read(turn + AHEAD);
        Operand<2> b[2][IMAGES / 8];
        UNROLL for (int n = 0; n < IMAGES / 8; n++) {
            const float4 four = x[turn % TURNS][n];
            b[0][n] = Operand<2>({four.x, four.y});
            b[1][n] = Operand<2>({four.z, four.w});
        }
        UNROLL for (int m = 0; m < TILES; m++) {
            const float* w = &s.w[16 * m + g][feature(turn) + 4 * c];
            const float4 upper = *(float4*)w, lower = *(float4*)(w + 8 * INPUTS);
            multiply(z[m], Operand<4>({upper.x, lower.x, upper.y, lower.y}), b[0]);
            multiply(z[m], Operand<4>({upper.z, lower.z, upper.w, lower.w}), b[1]);
        }
    }
}

// 2. The block's part of the logits; of the sums over its units, a thread sends those of one image.
INLINE void send_logits(const Shared& s, const Hidden& z, Tagged* exchange, int tag) {
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
    const int n = warp * IMAGES + g / 2 * 8 + 2 * c + g % 2;
    UNROLL for (int o = 0; o < OUTPUTS; o++)
        store_tagged(&exchange[(blockIdx.x * BATCH + n) * OUTPUTS + o], logits[o], tag);
}

// 3. A warp takes an image: a lane sums the logits of every 32nd block. Then lane 2 o has logit o,
// and sends its gradient to all blocks.
INLINE void loss_and_gradient(Shared& s, Tagged* exchange, const long long* labels, int tag) {
    constexpr int PARTS = (BLOCKS + 31) / 32;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, o = lane / 2;
    float loss = 0;
    for (int i = warp; i < SHARE; i += WARPS) {
        const int n = blockIdx.x * SHARE + i;
        if (n >= BATCH) break;
        const int label = digit(labels[n]);
        float parts[PARTS][OUTPUTS], logits[16] = {};
        for (bool all = false; !all;) {
            all = true;
            UNROLL for (int p = 0; p < PARTS; p++) {
                const int from = min(lane + 32 * p, BLOCKS - 1);
                UNROLL for (int k = 0; k < OUTPUTS; k++)
                    all &= load_tagged(&exchange[(from * BATCH + n) * OUTPUTS + k], tag, parts[p][k]);
            }
        }
        UNROLL for (int p = 0; p < PARTS; p++)
            UNROLL for (int k = 0; k < OUTPUTS; k++)
                if (lane + 32 * p < BLOCKS) logits[k] += parts[p][k];
        fold<16, 16>(logits);
        fold<8, 8>(logits);
        fold<4, 4>(logits);
        fold<2, 2>(logits);
        const float logit = logits[0] + __shfl_xor_sync(~0u, logits[0], 1);
        if (o >= OUTPUTS || lane % 2) continue;
        const Outcome one = outcome(s.bo[o] + logit, label, o, BATCH);
        store_tagged(&exchange[(BLOCKS * BATCH + n) * OUTPUTS + o], one.gradient, tag);
        loss += one.loss;
    }
    loss = warp_sum(loss);
    if (lane == 0) s.loss[warp] = loss;
}

// Waits for the gradients of all logits; first for one of a thread's alone, lest all polls jam.
INLINE void receive_gradients(Shared& s, const Tagged* exchange, int tag) {
    const Tagged* mine = &exchange[BLOCKS * BATCH * OUTPUTS + threadIdx.x];
    float grads[OUTPUTS];
    while (!load_tagged(mine, tag, grads[0])) {}
    for (bool all = false; !all;) {
        all = true;
        UNROLL for (int k = 0; k < OUTPUTS; k++) all &= load_tagged(mine + k * THREADS, tag, grads[k]);
    }
    UNROLL for (int k = 0; k < OUTPUTS; k++) {
        const int i = threadIdx.x + k * THREADS;
        s.grad[i / OUTPUTS][i % OUTPUTS] = grads[k];
    }
}

// 4. The hidden layer becomes its gradient; the small parameters are updated. A thread takes four
// of its units at a time, and keeps the sums of one of them.
INLINE void update_small(Shared& s, Hidden& z, float learning_rate) {
    const auto [warp, g, c] = this_lane();
    constexpr int FOURS = (TILES + 1) / 2, COUNT = OUTPUTS + 1;
    float kept[FOURS][COUNT];
    UNROLL for (int four = 0; four < FOURS; four++) {
        float sums[4 * COUNT] = {};
        UNROLL for (int j = 0; j < 8; j++) {
            const Row grad = row_of(s.grad[warp * IMAGES + j / 2 * 8 + 2 * c + j % 2]);
            UNROLL for (int v = 0; v < 4; v++) {
                const int u = 4 * four + v;
                if (u >= 2 * TILES) continue;
                const Row wo = row_of(s.small[8 * u + g]);
                float& x = z[u / 2][j / 2][u % 2 * 2 + j % 2];
                const bool closed = x < 0;
                const float y = relu(x);
                x = 0;
                UNROLL for (int o = 0; o < OUTPUTS; o++) {
                    sums[v * COUNT + o] += grad.at[o] * y;
                    x += grad.at[o] * wo.at[o];
                }
                x = closed ? 0 : x;
                sums[v * COUNT + OUTPUTS] += x;
            }
        }
        fold<4 * COUNT, 2>(sums);
        fold<2 * COUNT, 1>(sums);
        UNROLL for (int k = 0; k < COUNT; k++) kept[four][k] = sums[k];
        __syncwarp();  // so that the compiler reads the rows again, rather than keep them all
    }
    UNROLL for (int half = 0; half < 2; half++) {
        if (warp / (WARPS / 2) != half)
            UNROLL for (int v = 0; v < FOURS; v++)
                UNROLL for (int k = 0; k < COUNT; k++) {
                    const int h = 8 * (4 * v + c) + g;
                    if (h >= UNITS) continue;
                    float& sum = s.sums[warp % (WARPS / 2)][h][k];
                    sum = half ? sum + kept[v][k] : kept[v][k];
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
    if (threadIdx.x) return;
    float sum = 0;
    UNROLL for (int w = 0; w < WARPS; w++) sum += s.loss[w];
    *loss = sum / (BATCH * OUTPUTS);
}

// 5. Each warp has the gradient's part of its own images, and subtracts it, 32 features at a time,
// in turn: no two warps are at the same features, and the order is always the same.
INLINE void update_weights(
    Shared& s, const float* images, const Hidden& delta, float learning_rate) {
    constexpr int GROUPS = (INPUTS + 31) / 32, APART = GROUPS / WARPS;
    const auto [warp, g, c] = this_lane();
    const int first = warp * APART + blockIdx.x, column = g / 2 * 4 + g % 2 * 16;
    const float* mine = images + (warp * IMAGES + 2 * c) * INPUTS + column;
    auto feature = [=](int turn) { return (turn + first) % GROUPS * 32; };
    float4 x[2][IMAGES / 4];  // of this turn and, on their way, of the next
    auto read = [&](int turn) {
        const int f = feature(turn);
        UNROLL for (int n = 0; n < IMAGES / 4; n++)
            x[turn % 2][n] = f + column < INPUTS
                ? *(const float4*)&mine[(n / 2 * 8 + n % 2) * INPUTS + f] : float4{0, 0, 0, 0};
    };
    read(0);
    #pragma unroll 2
    for (int turn = 0; turn < GROUPS; turn++) {
        read(turn + 1);
        Operand<2> b[IMAGES / 8][4];
        UNROLL for (int k = 0; k < IMAGES / 8; k++)
            UNROLL for (int n = 0; n < 4; n++)
                b[k][n] = Operand<2>({((float*)&x[turn % 2][2 * k])[n], ((float*)&x[turn % 2][2 * k + 1])[n]});
        UNROLL for (int m = 0; m < TILES; m++) {
            float gradient[4][4] = {};
            UNROLL for (int k = 0; k < IMAGES / 8; k++) {
                const float(&d)[4] = delta[m][k];
                multiply(gradient, Operand<4>({d[0], d[2], d[1], d[3]}), b[k]);
            }
            UNROLL for (int i = 0; i < 4; i++) {  // two units, of each twice four features
                const int f = feature(turn) + i % 2 * 16;
                if (f >= INPUTS) continue;
                float4& w = *(float4*)&s.w[16 * m + 8 * (i / 2) + g][f + 4 * c];
                w.x -= learning_rate * gradient[0][i];
                w.y -= learning_rate * gradient[1][i];
                w.z -= learning_rate * gradient[2][i];
                w.w -= learning_rate * gradient[3][i];
            }
        }
        if (turn % APART == APART - 1) __syncthreads();  // none is APART turns ahead of another
    }
    __syncthreads();
}
