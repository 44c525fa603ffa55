// A whole epoch in one launch: the weights never leave the chip.
//
// A cluster of CLUSTER blocks takes UNITS hidden units, and each of its blocks FEATURES of the 784
// inputs. A block keeps its piece of weights_hidden, UNITS x FEATURES, in its shared memory for the
// whole epoch, and only its piece of the images passes by. A step is then
//   1. a partial sum of the hidden layer in each block,
//   2. their sum over the cluster, each block for SHARE of the images,
//   3. the partial logits, summed over all clusters through global memory,
//   4. loss, gradient, and the gradient of the hidden layer, sent to the whole cluster,
//   5. the gradient of the block's piece of weights_hidden, subtracted on the spot.
// images (steps * BATCH, INPUTS), labels (steps * BATCH,), losses (steps, CLUSTER).
// Compiled with HIDDEN, UNITS and FEATURES (multiples of 8), CLUSTER given.

#define INPUTS 784
#define OUTPUTS 10
#define BATCH 256
#define THREADS 256
#define GROUPS ((HIDDEN + UNITS - 1) / UNITS)     // clusters
#define SHARE (BATCH / CLUSTER)                   // images of a block in 2 to 4
#define LANES (FEATURES <= 64 ? 16 : 32)          // that fetch one image, four features each
#define PITCH (FEATURES + 4)                      // so eight rows start in eight groups of four banks
#define TILES (UNITS / 8 * (FEATURES / 8))        // of 8 x 8 weights
#define SPLIT min(THREADS / TILES, 8)             // threads that share a piece of the gradient
#define LOGITS ((SHARE * OUTPUTS + THREADS - 1) / THREADS)  // of a thread
#define CHUNKS 4                                  // in which the images come
#define CHUNK (BATCH / CHUNKS)

#ifdef PROFILE  // clock cycles by phase, as block 0 sees them
#define PROFILE_ARGUMENT , long long* profile
#define MARK(phase)                        \
    if (t == 0 && blockIdx.x == 0) {       \
        const long long now = clock64();   \
        profile[phase] += now - last;      \
        last = now;                        \
    }
#else
#define PROFILE_ARGUMENT
#define MARK(phase)
#endif

struct Shared {
    float x[BATCH][PITCH];              // this block's inputs of the batch
    float w[UNITS][PITCH];              // its weights
    float partial[UNITS][BATCH + 16];   // its part of the hidden layer
    float grad_hidden[BATCH][UNITS];
    float wo[OUTPUTS][UNITS + 4];
    float grad[SHARE][12];
    float y[UNITS + 1][SHARE + 1];      // the hidden layer, complete, and a row of ones
    float positive[UNITS][SHARE + 1];
    float grad_output[OUTPUTS][UNITS + 1];  // weights and, in the last column, bias
    float bias_sums[THREADS / UNITS][UNITS];
    float loss[SHARE * OUTPUTS];
    float bh[UNITS];
    float bo[OUTPUTS];
};

__device__ float dot(float4 a, float4 b, float sum) {
    return fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, sum))));
}

// Starts to bring one chunk of a batch into shared memory, behind the threads' backs.
__device__ void fetch(Shared& s, const float* batch, int chunk, int first_feature) {
    const int f = threadIdx.x % LANES * 4;
    if (f >= FEATURES || first_feature + f >= INPUTS) return;
    #pragma unroll
    for (int i = threadIdx.x / LANES; i < CHUNK; i += THREADS / LANES) {
        const int n = chunk * CHUNK + i;
        copy4_async(&s.x[n][f], batch + n * INPUTS + first_feature + f);
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

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
epoch(const float* images, const long long* labels, float* wh, float* bh, float* wo, float* bo,
      float* losses, float* partial_logits, unsigned* arrived, int steps,
      float learning_rate PROFILE_ARGUMENT) {
    extern __shared__ float4 memory[];
    Shared& s = *(Shared*)memory;
    const int t = threadIdx.x, warp = t / 32, lane = t % 32;
    const int rank = cluster_rank(), group = blockIdx.x / CLUSTER;
    const int first_feature = rank * FEATURES, first_unit = group * UNITS;

    // Parameters come in; units and features beyond the last are 0, and stay 0.
    for (int i = t; i < UNITS * FEATURES; i += THREADS) {
        const int h = first_unit + i / FEATURES, f = first_feature + i % FEATURES;
        s.w[i / FEATURES][i % FEATURES] = h < HIDDEN && f < INPUTS ? wh[h * INPUTS + f] : 0;
    }
    for (int i = t; i < OUTPUTS * UNITS; i += THREADS) {
        const int h = first_unit + i % UNITS;
        s.wo[i / UNITS][i % UNITS] = h < HIDDEN ? wo[i / UNITS * HIDDEN + h] : 0;
    }
    if (t < UNITS) s.bh[t] = first_unit + t < HIDDEN ? bh[first_unit + t] : 0;
    if (t < OUTPUTS) s.bo[t] = bo[t];
    if (t < SHARE) s.y[UNITS][t] = 1;
    for (int i = t; i < BATCH * PITCH; i += THREADS) (&s.x[0][0])[i] = 0;
    __syncthreads();
    for (int chunk = 0; chunk < CHUNKS; chunk++) fetch(s, images, chunk, first_feature);

#ifdef PROFILE
    long long last = clock64();
#endif
    for (int step = 0; step < steps; step++) {
        const float* next = images + (size_t)(step + 1) * BATCH * INPUTS;
        // Long before it is used: the labels, and in the L2 cache the next batch.
        int label[LOGITS];
        #pragma unroll
        for (int j = 0; j < LOGITS; j++) {
            const int n = (t + j * THREADS) % SHARE;
            label[j] = digit(labels[step * BATCH + rank * SHARE + n]);
        }
        if (step + 1 < steps && step % GROUPS == group)
            for (int f = 0; f < FEATURES; f += 32)
                if (first_feature + f < INPUTS) prefetch(next + t * INPUTS + first_feature + f);
        wait_for_copies();
        __syncthreads();
        MARK(0)

        // 1. A warp takes a quarter of the units and half of the images, a thread 4 images.
        {
            const int h0 = warp % 4 * (UNITS / 4), n0 = warp / 4 * (BATCH / 2) + lane;
            float sum[UNITS / 4][4] = {};
            float4 x[2][4], w[2][UNITS / 4];  // these features and, on their way, the next four
            auto read = [&](int f, int to) {
                #pragma unroll
                for (int j = 0; j < 4; j++) x[to][j] = *(float4*)&s.x[n0 + 32 * j][f];
                #pragma unroll
                for (int h = 0; h < UNITS / 4; h++) w[to][h] = *(float4*)&s.w[h0 + h][f];
            };
            read(0, 0);
            #pragma unroll 2
            for (int q = 0; q < FEATURES / 4; q++) {
                read(min(4 * q + 4, FEATURES - 4), (q + 1) % 2);
                #pragma unroll
                for (int h = 0; h < UNITS / 4; h++)
                    #pragma unroll
                    for (int j = 0; j < 4; j++)
                        sum[h][j] = dot(w[q % 2][h], x[q % 2][j], sum[h][j]);
            }
            #pragma unroll
            for (int h = 0; h < UNITS / 4; h++)
                #pragma unroll
                for (int j = 0; j < 4; j++) s.partial[h0 + h][n0 + 32 * j] = sum[h][j];
        }
        MARK(1)
        cluster_sync();
        MARK(2)

        // 2. The hidden layer for this block's share of the images.
        for (int i = t; i < UNITS * SHARE / 4; i += THREADS) {
            const int h = i / (SHARE / 4), n = i % (SHARE / 4) * 4;
            float4 part[CLUSTER];
            #pragma unroll
            for (int r = 0; r < CLUSTER; r++)
                part[r] = load4(remote(&s.partial[h][rank * SHARE + n], (rank + r) % CLUSTER));
            const float b = s.bh[h];
            float z[4] = {b, b, b, b};
            #pragma unroll
            for (int r = 0; r < CLUSTER; r++) {
                z[0] += part[r].x; z[1] += part[r].y; z[2] += part[r].z; z[3] += part[r].w;
            }
            #pragma unroll
            for (int j = 0; j < 4; j++) {
                s.y[h][n + j] = z[j] < 0 ? 0 : z[j];  // NaN stays NaN
                s.positive[h][n + j] = z[j] < 0 ? 0 : 1;
            }
        }
        __syncthreads();
        MARK(3)

        // 3. Partial logits, in two buffers in turn: a fast block may be a step ahead of a slow one.
        const size_t stride = CLUSTER * SHARE * OUTPUTS;
        float* mine = partial_logits + step % 2 * GROUPS * stride + rank * SHARE * OUTPUTS;
        float logits[LOGITS];
        #pragma unroll
        for (int j = 0; j < LOGITS; j++) {
            const int i = t + j * THREADS, n = i % SHARE, o = i / SHARE;
            if (i >= SHARE * OUTPUTS) break;
            float sum = 0;
            #pragma unroll
            for (int h = 0; h < UNITS; h++) sum += s.wo[o][h] * s.y[h][n];
            logits[j] = sum;
            if (GROUPS > 1) __stcg(&mine[group * stride + i], sum);
        }
        MARK(4)
        if (GROUPS > 1) wait_for_all(&arrived[rank], GROUPS * (step + 1));
        MARK(5)

        // 4. Probabilities, loss, gradient.
        #pragma unroll
        for (int j = 0; j < LOGITS; j++) {
            const int i = t + j * THREADS, n = i % SHARE, o = i / SHARE;
            if (i >= SHARE * OUTPUTS) break;
            float z = s.bo[o];
            if (GROUPS > 1) {
                float part[GROUPS];
                #pragma unroll
                for (int g = 0; g < GROUPS; g++) part[g] = __ldcg(&mine[g * stride + i]);
                #pragma unroll
                for (int g = 0; g < GROUPS; g++) z += part[g];
            } else {
                z += logits[j];
            }
            const bool target = label[j] == o;
            const float p = 1 / (1 + expf(-z));
            const bool known = label[j] >= 0;  // else left out, and the loss says so
            s.grad[n][o] = known ? (p - target) / BATCH : 0;
            s.loss[i] = known ? -logf((target ? p : 1 - p) + 1e-8f) : nanf("");
        }
        __syncthreads();
        MARK(6)
        for (int i = t; i < SHARE * (UNITS / 4); i += THREADS) {
            const int n = i / (UNITS / 4), h = i % (UNITS / 4) * 4;
            float4 sum = {0, 0, 0, 0};
            #pragma unroll
            for (int o = 0; o < OUTPUTS; o++) {
                const float g = s.grad[n][o];
                const float4 w = *(float4*)&s.wo[o][h];
                sum.x += g * w.x; sum.y += g * w.y; sum.z += g * w.z; sum.w += g * w.w;
            }
            sum.x *= s.positive[h][n]; sum.y *= s.positive[h + 1][n];
            sum.z *= s.positive[h + 2][n]; sum.w *= s.positive[h + 3][n];
            #pragma unroll
            for (int r = 0; r < CLUSTER; r++)
                store4(remote(&s.grad_hidden[rank * SHARE + n][h], (rank + r) % CLUSTER), sum);
        }
        for (int i = t; i < OUTPUTS * (UNITS + 1); i += THREADS) {
            const int o = i / (UNITS + 1), h = i % (UNITS + 1);
            float sum = 0;
            #pragma unroll
            for (int n = 0; n < SHARE; n++) sum += s.grad[n][o] * s.y[h][n];
            s.grad_output[o][h] = sum;
        }
        if (group == 0 && warp == THREADS / 32 - 1) {
            float sum = 0;
            for (int i = lane; i < SHARE * OUTPUTS; i += 32) sum += s.loss[i];
            for (int d = 16; d; d /= 2) sum += __shfl_down_sync(~0u, sum, d);
            if (lane == 0) losses[step * CLUSTER + rank] = sum / (BATCH * OUTPUTS);
        }
        MARK(7)
        cluster_sync();
        MARK(8)

        // The small parameters: a block sums a part of their gradients, and tells the others.
        if (warp == THREADS / 32 - 1) {
            const int all = OUTPUTS * (UNITS + 1), each = (all + CLUSTER - 1) / CLUSTER;
            for (int i = rank * each + lane; i < min((rank + 1) * each, all); i += 32) {
                const int o = i / (UNITS + 1), h = i % (UNITS + 1);
                float part[CLUSTER], sum = 0;
                #pragma unroll
                for (int r = 0; r < CLUSTER; r++)
                    part[r] = load(remote(&s.grad_output[o][h], (rank + r) % CLUSTER));
                #pragma unroll
                for (int r = 0; r < CLUSTER; r++) sum += part[r];
                const float* parameter = h < UNITS ? &s.wo[o][h] : &s.bo[o];
                const float value = *parameter - learning_rate * sum;
                #pragma unroll
                for (int r = 0; r < CLUSTER; r++) store(remote(parameter, r), value);
            }
        }
        if (t < THREADS / UNITS * UNITS) {
            float sum = 0;
            #pragma unroll 8
            for (int n = t / UNITS; n < BATCH; n += THREADS / UNITS)
                sum += s.grad_hidden[n][t % UNITS];
            s.bias_sums[t / UNITS][t % UNITS] = sum;
        }
        MARK(9)

        // 5. A thread takes 8 x 8 weights; SPLIT threads share them, by images.
        {
            const int f0 = t % (FEATURES / 8) * 4, f1 = f0 + FEATURES / 2;
            const int h0 = t / (FEATURES / 8) % (UNITS / 8) * 4, h1 = h0 + UNITS / 2;
            const int part = t / TILES;
            float sum[8][8] = {};
            for (int chunk = 0; chunk < CHUNKS; chunk++) {
                if (part < SPLIT) {
                    const int end = (chunk + 1) * CHUNK;
                    float4 now[4], then[4];  // of the gradient and of the image, two each
                    auto read = [&](int n, float4* to) {
                        to[0] = *(float4*)&s.grad_hidden[n][h0];
                        to[1] = *(float4*)&s.grad_hidden[n][h1];
                        to[2] = *(float4*)&s.x[n][f0];
                        to[3] = *(float4*)&s.x[n][f1];
                    };
                    read(chunk * CHUNK + part, now);
                    #pragma unroll 2
                    for (int n = chunk * CHUNK + part; n < end; n += SPLIT) {
                        read(min(n + SPLIT, end - 1), then);
                        const float* g = (float*)now;
                        const float* x = (float*)(now + 2);
                        #pragma unroll
                        for (int a = 0; a < 8; a++)
                            #pragma unroll
                            for (int b = 0; b < 8; b++) sum[a][b] += g[a] * x[b];
                        #pragma unroll
                        for (int k = 0; k < 4; k++) now[k] = then[k];
                    }
                }
                __syncthreads();  // all are done with this chunk: the next batch's may come
                if (step + 1 < steps) fetch(s, next, chunk, first_feature);
            }
            MARK(10)
            for (int turn = 0; turn < SPLIT; turn++) {  // always in the same order
                if (part == turn)
                    #pragma unroll
                    for (int a = 0; a < 8; a++)
                        #pragma unroll
                        for (int half = 0; half < 2; half++) {
                            float4* w = (float4*)&s.w[a < 4 ? h0 + a : h1 + a - 4][half ? f1 : f0];
                            const float* g = &sum[a][4 * half];
                            float4 v = *w;
                            v.x -= learning_rate * g[0]; v.y -= learning_rate * g[1];
                            v.z -= learning_rate * g[2]; v.w -= learning_rate * g[3];
                            *w = v;
                        }
                __syncthreads();
            }
            if (t < UNITS) {
                float sum = 0;
                #pragma unroll
                for (int p = 0; p < THREADS / UNITS; p++) sum += s.bias_sums[p][t];
                s.bh[t] -= learning_rate * sum;
            }
        }
        MARK(11)
    }

    cluster_sync();  // the last updates have arrived, and nobody reads this block's memory any more
    for (int i = t; i < UNITS * FEATURES; i += THREADS) {
        const int h = first_unit + i / FEATURES, f = first_feature + i % FEATURES;
        if (h < HIDDEN && f < INPUTS) wh[h * INPUTS + f] = s.w[i / FEATURES][i % FEATURES];
    }
    if (rank == 0) {
        for (int i = t; i < OUTPUTS * UNITS; i += THREADS) {
            const int h = first_unit + i % UNITS;
            if (h < HIDDEN) wo[i / UNITS * HIDDEN + h] = s.wo[i / UNITS][i % UNITS];
        }
        if (t < UNITS && first_unit + t < HIDDEN) bh[first_unit + t] = s.bh[t];
        if (group == 0 && t < OUTPUTS) bo[t] = s.bo[t];
    }
}
