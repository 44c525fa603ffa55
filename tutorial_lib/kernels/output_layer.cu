// All of a training step that touches the output layer, in two kernels.
//
// A cluster of CLUSTER blocks takes IMAGES images; each block takes a slice of the hidden layer,
// and only the partial logits, IMAGES x 10 numbers, travel between the blocks.
// before_relu, grad_hidden: (n, hidden) row-major; wo: (10, hidden) row-major.
// partial: (clusters, 11, hidden), sums over a cluster's images: ten rows for the weights of the
// output layer, one for the bias of the hidden layer. partial_small: (clusters, 11): the output
// bias, the loss.

#define OUTPUTS 10
#define CLUSTER 8
#define IMAGES 16
#define THREADS 512  // two blocks fit on a multiprocessor
#define WARPS (THREADS / 32)

// NaN stays NaN, which fmaxf would hide.
__device__ float relu(float x) { return x < 0 ? 0 : x; }

// Each lane's COUNT values become half as many, summed over the lanes that differ in bit `BIT`.
template <int COUNT, int BIT>
__device__ void fold(float* values) {
    const bool upper = threadIdx.x & BIT;
    #pragma unroll
    for (int k = 0; k < COUNT / 2; k++) {
        const float low = values[k], high = values[k + COUNT / 2];
        values[k] = (upper ? high : low) + __shfl_xor_sync(~0u, upper ? low : high, BIT);
    }
}

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 2)
output_layer(const float* before_relu, const float* wo, const float* bo, const long long* labels,
             float* grad_hidden, float* partial, float* partial_small, int n, int hidden) {
    extern __shared__ float4 memory[];
    const int slice = (hidden + 32 * CLUSTER - 1) / (32 * CLUSTER) * 32;  // hidden units of a block
    const int row = slice + 2;          // so that rows start in different banks
    float* w = (float*)memory;          // [OUTPUTS][row]
    float* z = w + OUTPUTS * row;       // [IMAGES][row]
    __shared__ float warp_sums[WARPS / 2][IMAGES * OUTPUTS], sums[IMAGES * OUTPUTS];
    __shared__ float4 grad4[IMAGES * 3];  // a row of 10, padded to 12
    __shared__ float losses[IMAGES * OUTPUTS];
    float* grad = (float*)grad4;

    const int t = threadIdx.x, warp = t / 32, lane = t % 32;
    const int rank = cluster_rank(), cluster = blockIdx.x / CLUSTER;
    const int first_image = cluster * IMAGES, images = min(IMAGES, n - first_image);
    const int first = rank * slice, units = max(0, min(slice, hidden - first));
    const int label = t < images * OUTPUTS ? digit(labels[first_image + t / OUTPUTS]) : 0;

    for (int h = t; h < slice; h += THREADS) {
        const bool inside = h < units;
        for (int o = 0; o < OUTPUTS; o++)
            if (inside) copy_async(&w[o * row + h], &wo[o * hidden + first + h]);
            else w[o * row + h] = 0;
        for (int i = 0; i < IMAGES; i++)
            if (inside && i < images)
                copy_async(&z[i * row + h], &before_relu[(size_t)(first_image + i) * hidden + first + h]);
            else z[i * row + h] = 0;
    }
    wait_for_copies();
    __syncthreads();

    // Partial logits: a lane takes four images and every 128th hidden unit.
    {
        const int i0 = lane / 8 * 4;
        float sum[4 * OUTPUTS] = {};
        for (int h = warp * 8 + lane % 8; h < slice; h += WARPS * 8) {
            float y[4];
            #pragma unroll
            for (int i = 0; i < 4; i++) y[i] = relu(z[(i0 + i) * row + h]);
            #pragma unroll
            for (int o = 0; o < OUTPUTS; o++) {
                const float v = w[o * row + h];
                #pragma unroll
                for (int i = 0; i < 4; i++) sum[i * OUTPUTS + o] += y[i] * v;
            }
        }
        fold<40, 4>(sum);
        fold<20, 2>(sum);
        fold<10, 1>(sum);
        const int base = i0 * OUTPUTS + (lane & 4 ? 20 : 0) + (lane & 2 ? 10 : 0) + (lane & 1 ? 5 : 0);
        #pragma unroll
        for (int k = 0; k < 5; k++)
            if (warp >= WARPS / 2) warp_sums[warp - WARPS / 2][base + k] = sum[k];
        __syncthreads();
        #pragma unroll
        for (int k = 0; k < 5; k++)
            if (warp < WARPS / 2) warp_sums[warp][base + k] += sum[k];
    }
    __syncthreads();
    if (t < IMAGES * OUTPUTS) {
        float sum = 0;
        #pragma unroll
        for (int k = 0; k < WARPS / 2; k++) sum += warp_sums[k][t];
        sums[t] = sum;
    }
    cluster_sync();

    // The logits, the loss and its gradient, in each block of the cluster.
    if (t < IMAGES * OUTPUTS) {
        const int i = t / OUTPUTS, o = t % OUTPUTS;
        float part[CLUSTER], logit = bo[o], g = 0, loss = 0;
        #pragma unroll
        for (int r = 0; r < CLUSTER; r++) part[r] = load(remote(&sums[t], r));
        #pragma unroll
        for (int r = 0; r < CLUSTER; r++) logit += part[r];
        if (i < images) {
            const float p = 1 / (1 + expf(-logit));
            g = label < 0 ? 0 : (p - (label == o)) / n;
            loss = label < 0 ? nanf("") : -logf((label == o ? p : 1 - p) + 1e-8f);
        }
        grad[i * 12 + o] = g;
        losses[t] = loss;
    }
    cluster_sync();  // none may end while another still reads its sums

    // Back through the ReLU: a thread takes a hidden unit and all images.
    for (int h = t; h < units; h += THREADS) {
        float wh[OUTPUTS], sum[OUTPUTS] = {}, bias = 0;
        #pragma unroll
        for (int o = 0; o < OUTPUTS; o++) wh[o] = w[o * row + h];
        float* out = grad_hidden + (size_t)first_image * hidden + first + h;
        #pragma unroll 4
        for (int i = 0; i < IMAGES; i++) {
            const float4 a = grad4[3 * i], b = grad4[3 * i + 1], c = grad4[3 * i + 2];
            const float g[OUTPUTS] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w, c.x, c.y};
            const float before = z[i * row + h], y = relu(before);
            float gh = 0;
            #pragma unroll
            for (int o = 0; o < OUTPUTS; o++) {
                gh += g[o] * wh[o];
                sum[o] += g[o] * y;
            }
            gh = before < 0 ? 0 : gh;
            bias += gh;
            if (i < images) out[(size_t)i * hidden] = gh;
        }
        float* sums_out = partial + (size_t)cluster * (OUTPUTS + 1) * hidden + first + h;
        #pragma unroll
        for (int o = 0; o < OUTPUTS; o++) sums_out[o * hidden] = sum[o];
        sums_out[OUTPUTS * hidden] = bias;
    }

    if (rank == 0 && warp == WARPS - 1) {
        float sum = 0;
        for (int i = lane; i < IMAGES * OUTPUTS; i += 32) sum += losses[i];
        for (int d = 16; d; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
        float* out = partial_small + cluster * (OUTPUTS + 1);
        if (lane == OUTPUTS) out[OUTPUTS] = sum / (n * OUTPUTS);
        if (lane < OUTPUTS) {
            sum = 0;
            for (int i = 0; i < IMAGES; i++) sum += grad[i * 12 + lane];
            out[lane] = sum;
        }
    }
}

// Sums over the clusters, and one step of gradient descent with the sums.
extern "C" __global__ void update_small(
    const float* partial, const float* partial_small, float* wo, float* bh, float* bo, float* loss,
    int clusters, int hidden, float learning_rate) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, size = OUTPUTS * hidden;
    if (i < size + hidden) {
        float sum = 0;
        #pragma unroll 16
        for (int c = 0; c < clusters; c++) sum += partial[(size_t)c * (size + hidden) + i];
        if (i < size) wo[i] -= learning_rate * sum;
        else bh[i - size] -= learning_rate * sum;
    }
    if (i <= OUTPUTS) {
        float sum = 0;
        #pragma unroll 16
        for (int c = 0; c < clusters; c++) sum += partial_small[c * (OUTPUTS + 1) + i];
        if (i < OUTPUTS) bo[i] -= learning_rate * sum;
        else *loss = sum;
    }
}
