// The loss of a batch and its gradient with respect to the logits, in one block.
//
// logits, gradient: (n, 10) row-major; labels: (n,); loss: one number.

#define OUTPUTS 10
#define THREADS 1024

extern "C" __global__ void __launch_bounds__(THREADS) loss_and_gradient(
    const float* logits, const long long* labels, float* gradient, float* loss, int n) {
    __shared__ float warp_sums[32];
    float sum = 0;
    for (int i = threadIdx.x; i < n * OUTPUTS; i += THREADS) {
        const int label = digit(labels[i / OUTPUTS]);
        const float target = label == i % OUTPUTS;
        const float p = 1 / (1 + expf(-logits[i]));
        gradient[i] = label < 0 ? 0 : (p - target) / n;
        sum -= label < 0 ? nanf("") : logf((target ? p : 1 - p) + 1e-8f);
    }
    // Always in the same order, so that a run can be repeated to the last bit.
    for (int step = 16; step; step /= 2) sum += __shfl_down_sync(~0u, sum, step);
    if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = warp_sums[threadIdx.x];
        for (int step = 16; step; step /= 2) sum += __shfl_down_sync(~0u, sum, step);
        if (threadIdx.x == 0) *loss = sum / (n * OUTPUTS);
    }
}
