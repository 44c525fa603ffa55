// All of a training step that touches the output layer, but for the update itself.
//
// A cluster of CLUSTER blocks takes IMAGES images, and each of its blocks SLICE hidden units:
//   1. partial logits in each block,
//   2. their sum over the cluster, the loss and its gradient, in each block alike,
//   3. the gradient back through the ReLU, and the sums over the cluster's images.
// Only the partial logits, IMAGES x OUTPUTS numbers, travel between the blocks.
// Letters: n image, h hidden unit, o output, r rank in the cluster, g cluster.
// before_relu, grad_hidden: (batch, hidden) row-major; wo: (OUTPUTS, hidden), bo: (OUTPUTS,);
// sums: (clusters, OUTPUTS + 1, hidden), gradients of the output weights and, last, hidden biases;
// small_sums: (clusters, OUTPUTS + 1), of the output biases and, last, the loss.

constexpr int WARPS = THREADS / 32;

struct Shared {
    alignas(16) float grad[IMAGES][12];              // of the logits; rows of 10, padded
    float warp_logits[WARPS / 2][IMAGES * OUTPUTS];  // partial, of two warps each
    float logits[IMAGES * OUTPUTS];                  // partial, of this block
    float loss[IMAGES * OUTPUTS];
    float wo[OUTPUTS][SLICE + 2];                    // so that rows start in different banks
    float z[IMAGES][SLICE + 2];                      // the hidden layer before its ReLU
};
static_assert(sizeof(Shared) == SHARED_BYTES);

// Starts to bring a block's units into shared memory; units and images beyond the last are 0.
INLINE void fetch(
    Shared& s, const float* before_relu, const float* wo, int images, int units, int hidden) {
    for (int h = threadIdx.x; h < SLICE; h += THREADS) {
        for (int o = 0; o < OUTPUTS; o++)
            if (h < units) copy_async(&s.wo[o][h], &wo[o * hidden + h]);
            else s.wo[o][h] = 0;
        for (int n = 0; n < IMAGES; n++)
            if (h < units && n < images)
                copy_async(&s.z[n][h], &before_relu[(size_t)n * hidden + h]);
            else s.z[n][h] = 0;
    }
}

// 1. A lane takes four images and every 128th hidden unit.
INLINE void partial_logits(Shared& s) {
    const int t = threadIdx.x, warp = t / 32, lane = t % 32, n0 = lane / 8 * 4;
    float logits[4 * OUTPUTS] = {};
    for (int h = warp * 8 + lane % 8; h < SLICE; h += WARPS * 8) {
        float y[4];
        UNROLL for (int n = 0; n < 4; n++) y[n] = relu(s.z[n0 + n][h]);
        UNROLL for (int o = 0; o < OUTPUTS; o++) {
            const float w = s.wo[o][h];
            UNROLL for (int n = 0; n < 4; n++) logits[n * OUTPUTS + o] += y[n] * w;
        }
    }
    fold<40, 4>(logits);
    fold<20, 2>(logits);
    fold<10, 1>(logits);
    const int first = n0 * OUTPUTS + (lane & 4 ? 20 : 0) + (lane & 2 ? 10 : 0) + (lane & 1 ? 5 : 0);
    UNROLL for (int k = 0; k < 5; k++)
        if (warp >= WARPS / 2) s.warp_logits[warp - WARPS / 2][first + k] = logits[k];
    __syncthreads();
    UNROLL for (int k = 0; k < 5; k++)
        if (warp < WARPS / 2) s.warp_logits[warp][first + k] += logits[k];
    __syncthreads();
    if (t >= IMAGES * OUTPUTS) return;
    float logit = 0;
    UNROLL for (int k = 0; k < WARPS / 2; k++) logit += s.warp_logits[k][t];
    s.logits[t] = logit;
}

// 2. A thread takes one logit; those of images beyond the last have no gradient and no loss.
INLINE void loss_and_gradient(Shared& s, const float* bo, int label, int images, int batch) {
    const int t = threadIdx.x, n = t / OUTPUTS, o = t % OUTPUTS;
    if (t >= IMAGES * OUTPUTS) return;
    float partial[CLUSTER], logit = bo[o];
    UNROLL for (int r = 0; r < CLUSTER; r++) partial[r] = load(remote(&s.logits[t], r));
    UNROLL for (int r = 0; r < CLUSTER; r++) logit += partial[r];
    const Outcome one = n < images ? outcome(logit, label, o, batch) : Outcome{0, 0};
    s.grad[n][o] = one.gradient;
    s.loss[t] = one.loss;
}

// 3. A thread takes a hidden unit and all images. `grad_hidden` and `sums` are this block's.
INLINE void through_relu(
    const Shared& s, float* grad_hidden, float* sums, int images, int units, int hidden) {
    for (int h = threadIdx.x; h < units; h += THREADS) {
        float w[OUTPUTS], grad_wo[OUTPUTS] = {}, grad_bh = 0;
        UNROLL for (int o = 0; o < OUTPUTS; o++) w[o] = s.wo[o][h];
        #pragma unroll 4
        for (int n = 0; n < IMAGES; n++) {
            const float* grad = s.grad[n];
            const float z = s.z[n][h], y = relu(z);
            float grad_z = 0;
            UNROLL for (int o = 0; o < OUTPUTS; o++) {
                grad_z += grad[o] * w[o];
                grad_wo[o] += grad[o] * y;
            }
            grad_z = z < 0 ? 0 : grad_z;
            grad_bh += grad_z;
            if (n < images) grad_hidden[(size_t)n * hidden + h] = grad_z;
        }
        UNROLL for (int o = 0; o < OUTPUTS; o++) sums[o * hidden + h] = grad_wo[o];
        sums[OUTPUTS * hidden + h] = grad_bh;
    }
}

// The cluster's part of the loss and of the output biases' gradient, by one warp.
INLINE void sum_small(const Shared& s, float* small_sums, int batch) {
    const int lane = threadIdx.x % 32;
    float loss = 0, grad_bo = 0;
    for (int i = lane; i < IMAGES * OUTPUTS; i += 32) loss += s.loss[i];
    loss = warp_sum(loss);
    if (lane == 0) small_sums[OUTPUTS] = loss / (batch * OUTPUTS);
    if (lane >= OUTPUTS) return;
    for (int n = 0; n < IMAGES; n++) grad_bo += s.grad[n][lane];
    small_sums[lane] = grad_bo;
}

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 2)
output_layer(const float* before_relu, const float* wo, const float* bo, const long long* labels,
             float* grad_hidden, float* sums, float* small_sums, int batch, int hidden) {
    extern __shared__ float4 memory[];
    Shared& s = *(Shared*)memory;
    const int t = threadIdx.x, rank = cluster_rank(), g = blockIdx.x / CLUSTER;
    const int first_image = g * IMAGES, images = min(IMAGES, batch - first_image);
    const int first_unit = rank * SLICE, units = max(0, min(SLICE, hidden - first_unit));
    const size_t first = (size_t)first_image * hidden + first_unit;
    const int label = t < images * OUTPUTS ? digit(labels[first_image + t / OUTPUTS]) : 0;

    fetch(s, before_relu + first, wo + first_unit, images, units, hidden);
    wait_for_copies();
    __syncthreads();
    partial_logits(s);
    cluster_sync();
    loss_and_gradient(s, bo, label, images, batch);
    cluster_sync();  // none may end while another still reads its logits
    float* sums_of_block = sums + (size_t)g * (OUTPUTS + 1) * hidden + first_unit;
    through_relu(s, grad_hidden + first, sums_of_block, images, units, hidden);
    if (rank == 0 && t / 32 == WARPS - 1) sum_small(s, small_sums + g * (OUTPUTS + 1), batch);
}
