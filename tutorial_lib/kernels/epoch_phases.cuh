// The other phases of a step in epoch.cu.

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

// The hidden layer's gradient, to the whole cluster; a thread takes four units of an image.
INLINE void send_gradient(Shared& s, int rank, const float4 (&weights)[OUTPUTS]) {
    constexpr int SLOTS = THREADS / (UNITS / 4);
    const int h = threadIdx.x % (UNITS / 4) * 4, slot = threadIdx.x / (UNITS / 4);
    float(*share)[UNITS] = &s.grad_hidden[rank * SHARE];
    for (int n = slot; slot < SLOTS && n < SHARE; n += SLOTS) {
        float4 grad = {0, 0, 0, 0};
        UNROLL for (int o = 0; o < OUTPUTS; o++) add(grad, s.grad[n][o], weights[o]);
        const float4 z = *(float4*)&s.z[n][h];
        grad = {z.x < 0 ? 0 : grad.x, z.y < 0 ? 0 : grad.y, z.z < 0 ? 0 : grad.z,
                z.w < 0 ? 0 : grad.w};
        *(float4*)&share[n][h] = grad;
    }
    fence_proxy_async();
    __syncthreads();
    const int r = threadIdx.x;
    if (r < CLUSTER && r != rank)
        send_copy(remote(share[0], r), share[0], 4 * SHARE * UNITS, remote(s.grads_in, r));
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
