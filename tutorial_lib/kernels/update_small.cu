// One step of gradient descent for the small parameters, with what output_layer.cu summed.
//
// wo: (OUTPUTS, hidden), bh: (hidden,), bo: (OUTPUTS,); loss: one number.

extern "C" __global__ void __launch_bounds__(THREADS) update_small(
    const float* sums, const float* small_sums, float* wo, float* bh, float* bo, float* loss,
    int clusters, int hidden, float learning_rate) {
    const int i = blockIdx.x * THREADS + threadIdx.x, size = OUTPUTS * hidden;
    if (i < size + hidden) {
        float gradient = 0;
        #pragma unroll 16
        for (int g = 0; g < clusters; g++) gradient += sums[(size_t)g * (size + hidden) + i];
        if (i < size) wo[i] -= learning_rate * gradient;
        else bh[i - size] -= learning_rate * gradient;
    }
    if (i <= OUTPUTS) {
        float sum = 0;
        #pragma unroll 16
        for (int g = 0; g < clusters; g++) sum += small_sums[g * (OUTPUTS + 1) + i];
        if (i < OUTPUTS) bo[i] -= learning_rate * sum;
        else *loss = sum;
    }
}
