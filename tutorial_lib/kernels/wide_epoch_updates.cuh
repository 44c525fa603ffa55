// The last phases of a step in wide_epoch.cu: from the gradients of the logits to all updates.

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
