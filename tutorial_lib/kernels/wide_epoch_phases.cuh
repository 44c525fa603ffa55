// The first phases of a step in wide_epoch.cu: from images to the gradients of the logits.

// 1. The hidden layer before its ReLU. An image comes straight from the L2 cache, since only one
// warp of the block needs it: 16 features at a time, of which a thread takes 4. Blocks begin at
// different features, lest all read the same at once.
INLINE void hidden_layer(const Shared& s, const float* images, Hidden& z) {
    constexpr int GROUPS = INPUTS / 16, N = IMAGES / 8;
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
            UNROLL for (int i = 0; i < 4; i++)
                z[m][n][i] = s.small[16 * m + i / 2 * 8 + g][OUTPUTS];
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
        UNROLL for (int m = 0; m < TILES; m++) {
            const float(*w)[4] = (float(*)[4])&s.w[8 * m + g][2 * (feature(turn) + 4 * c)];
            float few[1][N][4] = {};
            float(*sum)[N][4] = PRODUCTS == 3 ? few : &z[m];
            UNROLL for (int k = 0; k < 2; k++) {
                const Operand<4> a[1] = {Operand<4>(w[k])};
                multiply(sum, a, b[k]);
            }
            if (PRODUCTS == 3)  // tensor cores truncate what they sum: they do so for few features
                UNROLL for (int n = 0; n < N; n++)
                    UNROLL for (int i = 0; i < 4; i++) z[m][n][i] += few[0][n][i];
        }
    }
}

// 2. The block's part of all logits: a thread gets the sums over the block's units for one image.
INLINE void send_logits(Shared& s, const Hidden& z, float* exchange, unsigned tag) {
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
INLINE void receive(float (&values)[COUNT], const float* from, int count, unsigned tag) {
    for (bool all = false; !all;) {
        all = true;
        UNROLL for (int k = 0; k < COUNT; k++)
            if (k < count) all &= load_tagged(from + k * BY, tag, values[k]);
    }
}

// 3. The share's logits: a thread sums one of them over some blocks, and the first threads over
// all. Each of these sends the gradient of its logit to all blocks.
INLINE void loss_and_gradient(Shared& s, float* exchange, const long long* labels, unsigned tag) {
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
INLINE void receive_gradients(Shared& s, const float* exchange, unsigned tag) {
    const float* mine = &exchange[BLOCKS * OUTPUTS * BATCH + threadIdx.x];
    float grad[OUTPUTS];
    while (!load_tagged(mine, tag, grad[0])) {}
    receive<OUTPUTS, BATCH>(grad, mine, OUTPUTS, tag);
    UNROLL for (int o = 0; o < OUTPUTS; o++) s.grad[threadIdx.x][o] = grad[o];
}
