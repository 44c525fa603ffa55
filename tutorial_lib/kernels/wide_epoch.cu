// A whole epoch of a wide network in one launch: each block keeps the weights of its units.
//
// A block keeps its units' weights, UNITS x 784, in its shared memory for the whole epoch, and
// reads all images. Each of its warps takes IMAGES of the batch. A step is then
//   1. the hidden layer of the block's units, on tensor cores, which stays in registers,
//   2. the block's part of all logits, sent to the blocks that sum them,
//   3. the loss and the gradients of the block's SHARE of the images, sent to all blocks,
//   4. the gradient of the hidden layer, in place of it; the update of the small parameters,
//   5. the gradient of the block's weights, on tensor cores, subtracted on the spot.
// Letters: n image, h or u hidden unit, f feature, o output; a turn is a step of a loop over f.
// images: (steps * BATCH, INPUTS), labels: (steps * BATCH,), losses: (steps, BLOCKS);
// wh: (HIDDEN, INPUTS), bh: (HIDDEN,), wo: (OUTPUTS, HIDDEN), bo: (OUTPUTS,); cycles: by Phase;
// exchange: (BLOCKS + 1, BATCH, OUTPUTS), zeros: the logits of each block and, in the end, the
// gradients of all, these as (OUTPUTS, BATCH). Steps use the two tags in turn.
// One such buffer is enough: a block sends its next logits when it has the gradients of all images,
// so that the last ones have been summed; and a gradient when it has the next logits of all blocks,
// which so have received the last.
// launches.py gives the sizes, the files wide_epoch_*.cuh all that is called here.

extern "C" __global__ void __launch_bounds__(THREADS, 1)
wide_epoch(const float* images, const long long* labels, float* wh, float* bh, float* wo, float* bo,
           float* losses, float* exchange, int steps, float learning_rate, long long* cycles) {
    extern __shared__ float4 memory[];
    Shared& s = *(Shared*)memory;
    move_parameters<true>(s, wh, bh, wo, bo);
    __syncthreads();
    Clock clock = {cycles, PROFILE ? clock64() : 0};
    for (int step = 0; step < steps; step++) {
        const float* next = images + BATCH * INPUTS;
        const int line = (threadIdx.x * BLOCKS + blockIdx.x) * 32;  // brought into the L2 cache
        if (step + 1 < steps && line < BATCH * INPUTS) prefetch(next + line);

        Hidden z;
        hidden_layer(s, images, z);
        mark(clock, Phase::hidden_layer);
        const unsigned tag = 1 - step % 2;
        send_logits(s, z, exchange, tag);
        mark(clock, Phase::send_logits);
        loss_and_gradient(s, exchange, labels, tag);
        mark(clock, Phase::loss_and_gradient);
        receive_gradients(s, exchange, tag);
        __syncthreads();
        mark(clock, Phase::receive_gradients);
        update_small(s, z, learning_rate);
        finish_output(s, &losses[step * BLOCKS + blockIdx.x], learning_rate);
        mark(clock, Phase::update_small);
        update_weights(s, images, z, learning_rate);
        mark(clock, Phase::update_weights);
        images = next;
        labels += BATCH;
    }
    move_parameters<false>(s, wh, bh, wo, bo);
}
