// The phases of a step in epoch.cu.

// 1. A warp takes a quarter of the units and half of the images, a thread 4 images.
INLINE void hidden_partial(Shared& s) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int h0 = warp % 4 * (UNITS / 4), n0 = warp / 4 * (BATCH / 2) + lane;
    float partial[UNITS / 4][4] = {};
    float4 x[2][4], w[2][UNITS / 4];  // these features and, on their way, the next four
    auto read = [&](int f, int to) {
        UNROLL for (int j = 0; j < 4; j++) x[to][j] = *(float4*)&s.x[n0 + 32 * j][f];
        UNROLL for (int h = 0; h < UNITS / 4; h++) w[to][h] = *(float4*)&s.w[h0 + h][f];
    };
    read(0, 0);
    #pragma unroll 2
    for (int q = 0; q < FEATURES / 4; q++) {
        read(min(4 * q + 4, FEATURES - 4), (q + 1) % 2);
        UNROLL for (int h = 0; h < UNITS / 4; h++)
            UNROLL for (int j = 0; j < 4; j++)
                partial[h][j] = dot(w[q % 2][h], x[q % 2][j], partial[h][j]);
    }
    UNROLL for (int h = 0; h < UNITS / 4; h++)
        UNROLL for (int j = 0; j < 4; j++) s.partial[h0 + h][n0 + 32 * j] = partial[h][j];
}

// 2. The hidden layer for this block's share of the images; a thread takes a unit of 4 images.
INLINE void sum_over_cluster(Shared& s, int rank) {
    for (int i = threadIdx.x; i < UNITS * SHARE / 4; i += THREADS) {
        const int h = i / (SHARE / 4), n = i % (SHARE / 4) * 4;
        float4 partial[CLUSTER];
        UNROLL for (int r = 0; r < CLUSTER; r++)
            partial[r] = load4(remote(&s.partial[h][rank * SHARE + n], (rank + r) % CLUSTER));
        const float b = s.bh[h];
        float4 four = {b, b, b, b};
        UNROLL for (int r = 0; r < CLUSTER; r++) add(four, 1, partial[r]);
        const float z[4] = {four.x, four.y, four.z, four.w};
        UNROLL for (int j = 0; j < 4; j++) {
            s.y[h][n + j] = z[j] < 0 ? 0 : z[j];  // NaN stays NaN
            s.open[h][n + j] = z[j] < 0 ? 0 : 1;
        }
    }
}

// 3. A thread's partial logits, which it hands to the other clusters, if there are any.
INLINE void partial_logits(const Shared& s, float* exchange, int group, float (&logits)[LOGITS]) {
    UNROLL for (int j = 0; j < LOGITS; j++) {
        const int i = threadIdx.x + j * THREADS, n = i % SHARE, o = i / SHARE;
        if (i >= SHARE * OUTPUTS) break;
        logits[j] = 0;
        UNROLL for (int h = 0; h < UNITS; h++) logits[j] += s.wo[o][h] * s.y[h][n];
        if (GROUPS > 1) __stcg(&exchange[group * BATCH * OUTPUTS + i], logits[j]);
    }
}

// Waits until all blocks that share these images have written their partial logits.
__device__ void wait_for_all(unsigned* arrived, unsigned expected) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(arrived, 1);
        while (load_acquire(arrived) < expected) {}
    }
    __syncthreads();
}

// 4. The loss and its gradient with respect to a thread's logits, now complete.
INLINE void loss_and_gradient(
    Shared& s, const float* exchange, const float (&logits)[LOGITS], const int (&labels)[LOGITS]) {
    UNROLL for (int j = 0; j < LOGITS; j++) {
        const int i = threadIdx.x + j * THREADS, n = i % SHARE, o = i / SHARE;
        if (i >= SHARE * OUTPUTS) break;
        float partial[GROUPS] = {logits[j]}, logit = s.bo[o];
        UNROLL for (int g = 0; g < GROUPS; g++)
            if (GROUPS > 1) partial[g] = __ldcg(&exchange[g * BATCH * OUTPUTS + i]);
        UNROLL for (int g = 0; g < GROUPS; g++) logit += partial[g];
        const Outcome one = outcome(logit, labels[j], o, BATCH);
        s.grad[n][o] = one.gradient;
        s.loss[i] = one.loss;
    }
}

// The hidden layer's gradient, to the whole cluster; a thread takes 4 units of an image.
INLINE void send_gradient(Shared& s, int rank) {
    for (int i = threadIdx.x; i < SHARE * (UNITS / 4); i += THREADS) {
        const int n = i / (UNITS / 4), h = i % (UNITS / 4) * 4;
        float4 grad = {0, 0, 0, 0};
        UNROLL for (int o = 0; o < OUTPUTS; o++) add(grad, s.grad[n][o], *(float4*)&s.wo[o][h]);
        grad.x *= s.open[h][n]; grad.y *= s.open[h + 1][n];
        grad.z *= s.open[h + 2][n]; grad.w *= s.open[h + 3][n];
        UNROLL for (int r = 0; r < CLUSTER; r++)
            store4(remote(&s.grad_hidden[rank * SHARE + n][h], (rank + r) % CLUSTER), grad);
    }
}

// The gradient of the output weights and biases, and the loss, of this block's share.
INLINE void sum_over_share(Shared& s, float* loss) {
    for (int i = threadIdx.x; i < OUTPUTS * (UNITS + 1); i += THREADS) {
        const int o = i / (UNITS + 1), h = i % (UNITS + 1);
        float gradient = 0;
        UNROLL for (int n = 0; n < SHARE; n++) gradient += s.grad[n][o] * s.y[h][n];
        s.grad_output[o][h] = gradient;
    }
    const int lane = threadIdx.x - (THREADS - 32);  // of the last warp
    if (lane < 0 || !loss) return;
    float total = 0;
    for (int i = lane; i < SHARE * OUTPUTS; i += 32) total += s.loss[i];
    total = warp_sum(total);
    if (lane == 0) *loss = total / (BATCH * OUTPUTS);
}

// 5. The last warp updates a part of the output layer in all blocks; for the hidden biases, each
// thread sums some images.
INLINE void update_small(Shared& s, int rank, float learning_rate) {
    const int t = threadIdx.x, lane = t - (THREADS - 32);
    if (lane >= 0) {
        const int all = OUTPUTS * (UNITS + 1), each = (all + CLUSTER - 1) / CLUSTER;
        for (int i = rank * each + lane; i < min((rank + 1) * each, all); i += 32) {
            const int o = i / (UNITS + 1), h = i % (UNITS + 1);
            float partial[CLUSTER], gradient = 0;
            UNROLL for (int r = 0; r < CLUSTER; r++)
                partial[r] = load(remote(&s.grad_output[o][h], (rank + r) % CLUSTER));
            UNROLL for (int r = 0; r < CLUSTER; r++) gradient += partial[r];
            const float* parameter = h < UNITS ? &s.wo[o][h] : &s.bo[o];
            const float value = *parameter - learning_rate * gradient;
            UNROLL for (int r = 0; r < CLUSTER; r++) store(remote(parameter, r), value);
        }
    }
    if (t < THREADS / UNITS * UNITS) {
        float gradient = 0;
        #pragma unroll 8
        for (int n = t / UNITS; n < BATCH; n += THREADS / UNITS)
            gradient += s.grad_hidden[n][t % UNITS];
        s.bias_sums[t / UNITS][t % UNITS] = gradient;
    }
}

// 6. A thread takes 8 x 8 weights; SPLIT threads share them, by images. Each chunk of images makes
// room for that of the next batch, if there is one. In the end the hidden biases follow.
INLINE void update_weights(
    Shared& s, const float* next, int first_feature, float learning_rate, Clock& clock) {
    const int t = threadIdx.x, member = t / TILES;  // of those that share the weights
    const int f0 = t % (FEATURES / 8) * 4, f1 = f0 + FEATURES / 2;
    const int h0 = t / (FEATURES / 8) % (UNITS / 8) * 4, h1 = h0 + UNITS / 2;
    float gradient[8][8] = {};
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        if (member < SPLIT) {
            const int end = (chunk + 1) * CHUNK;
            float4 now[4], then[4];  // of the hidden layer's gradient and of the image, two each
            auto read = [&](int n, float4* to) {
                const float *grad = s.grad_hidden[n], *x = s.x[n];
                const float* from[4] = {&grad[h0], &grad[h1], &x[f0], &x[f1]};
                UNROLL for (int k = 0; k < 4; k++) to[k] = *(float4*)from[k];
            };
            read(chunk * CHUNK + member, now);
            #pragma unroll 2
            for (int n = chunk * CHUNK + member; n < end; n += SPLIT) {
                read(min(n + SPLIT, end - 1), then);
                const float* grad_hidden = (float*)now;
                const float* x = (float*)(now + 2);
                UNROLL for (int h = 0; h < 8; h++)
                    UNROLL for (int f = 0; f < 8; f++) gradient[h][f] += grad_hidden[h] * x[f];
                UNROLL for (int k = 0; k < 4; k++) now[k] = then[k];
            }
        }
        __syncthreads();  // all are done with this chunk
        if (next) fetch(s, next, chunk, first_feature);
    }
    mark(clock, Phase::weight_gradient);
    for (int turn = 0; turn < SPLIT; turn++) {  // always in the same order
        if (member == turn)
            UNROLL for (int h = 0; h < 8; h++) {
                float* w = s.w[h < 4 ? h0 + h : h1 + h - 4];
                const float4* row = (float4*)gradient[h];
                add(*(float4*)&w[f0], -learning_rate, row[0]);
                add(*(float4*)&w[f1], -learning_rate, row[1]);
            }
        __syncthreads();
    }
    if (t < UNITS) {
        float gradient = 0;
        UNROLL for (int k = 0; k < THREADS / UNITS; k++) gradient += s.bias_sums[k][t];
        s.bh[t] -= learning_rate * gradient;
    }
}
