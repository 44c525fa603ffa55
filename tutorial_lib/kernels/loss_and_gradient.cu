// The loss of a batch and its gradient with respect to the logits, in one block.
//
// logits, gradient: (batch, OUTPUTS) row-major; labels: (batch,); loss: one number. In half precision
// the gradient is not divided by the size of the batch.

extern "C" __global__ void __launch_bounds__(THREADS) loss_and_gradient(
    const FLOAT* logits, const long long* labels, FLOAT* gradient, float* loss, int batch) {
    __shared__ float warp_sums[THREADS / 32];
    const int t = threadIdx.x, warps = THREADS / 32;
    float sum = 0;
    for (int i = t; i < batch * OUTPUTS; i += THREADS) {
        const Outcome one = outcome(float(logits[i]), digit(labels[i / OUTPUTS]), i % OUTPUTS, batch);
        gradient[i] = FLOAT(one.gradient * (HALF ? batch : 1));
        sum += one.loss;
    }
    sum = warp_sum(sum);
    if (t % 32 == 0) warp_sums[t / 32] = sum;
    __syncthreads();
    if (t >= 32) return;
    sum = warp_sum(t < warps ? warp_sums[t] : 0);
    if (t == 0) *loss = sum / (batch * OUTPUTS);
}
