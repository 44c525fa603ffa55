// A whole epoch in one launch: the weights never leave the chip.
//
// A cluster of CLUSTER blocks takes UNITS hidden units, and each of its blocks FEATURES of the
// inputs. A block keeps its piece of the hidden weights, UNITS x FEATURES, in its shared memory for
// the whole epoch, and only its piece of the images passes by. Input number INPUTS is always 1, so
// its weights are the hidden biases. A step is then
//   1. a partial sum of the hidden layer in each block, sent to the block that has the image,
//   2. their sum over the cluster, each block for SHARE of the images,
//   3. the partial logits, which all clusters exchange through global memory,
//   4. the loss and the gradients; that of the hidden layer is sent to the whole cluster,
//   5. the gradient of the block's piece of the hidden weights, subtracted on the spot.
// What a cluster has of the output layer, each of its blocks has, too. Its gradient is not urgent:
// it is summed and sent while a block would wait, and subtracted in the next step.
// Letters: n image, h hidden unit, f feature, o output, r rank in the cluster, g cluster.
// images: (steps * BATCH, INPUTS), labels: (steps * BATCH,), losses: (steps, CLUSTER, OUTPUT_WARPS);
// wh: (HIDDEN, INPUTS), bh: (HIDDEN,), wo: (OUTPUTS, HIDDEN), bo: (OUTPUTS,); cycles: by Phase;
// exchange: (2, CLUSTER, GROUPS, SHARE * OUTPUTS), zeros; steps use its two buffers in turn.
// launches.py gives the sizes, epoch_memory.cuh and epoch_phases.cuh all that is called here.

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
epoch(const float* images, const long long* labels, float* wh, float* bh, float* wo, float* bo,
      float* losses, Tagged* exchange, int steps, float learning_rate, long long* cycles) {
    extern __shared__ float4 memory[];
    Shared& s = *(Shared*)memory;
    const int t = threadIdx.x, rank = cluster_rank(), group = blockIdx.x / CLUSTER;
    const int first_unit = group * UNITS, first_feature = rank * FEATURES;
    move_parameters<true>(s, wh, bh, wo, bo, first_unit, first_feature);
    fill_constants(s, first_feature, group == 0);
    __syncthreads();
    fetch(s.x[0], images, 0, BATCH / SPLIT, first_feature);

    Clock clock = {cycles, PROFILE ? clock64() : 0};
    for (int step = 0; step < steps; step++) {
        auto& x = s.x[step % BUFFERS];
        const float* next = images + (size_t)(step + 1) * BATCH * INPUTS;
        if (step + 1 == steps) next = nullptr;
        // Long before it is used: the label of this thread's image.
        const int label = digit(labels[step * BATCH + rank * SHARE + t % SHARE]);
        wait_for_copies();
        __syncthreads();
        mark(clock, Phase::waiting_for_images);
        if (next && BUFFERS == 2) fetch(s.x[1 - step % 2], next, 0, BATCH / SPLIT, first_feature);
        if (next && BUFFERS == 1 && step % GROUPS == group) prefetch_features(next, first_feature);

        hidden_partial(s, x, rank);
        mark(clock, Phase::hidden_partial);
        cluster_sync();
        mark(clock, Phase::first_cluster_barrier);
        sum_over_cluster(s);
        if (step > 0) update_output(s, learning_rate);
        __syncthreads();
        mark(clock, Phase::sum_over_cluster);

        float logits[LOGITS], loss = 0;
        Tagged* buffer = exchange + (step % 2 * CLUSTER + rank) * GROUPS * SHARE * OUTPUTS;
        partial_logits(s, logits);
        mark(clock, Phase::partial_logits);
        sum_over_clusters(buffer, group, step + 1, logits);
        mark(clock, Phase::waiting_for_clusters);
        loss_and_gradient(s, logits, label, loss);
        __syncthreads();
        mark(clock, Phase::loss_and_gradient);

        send_gradient(s, rank);
        mark(clock, Phase::send_gradient);
        cluster_arrive();
        float output[OUTPUT_WEIGHTS];
        output_gradient(s, output);
        if (group == 0) write_loss(loss, losses + (step * CLUSTER + rank) * OUTPUT_WARPS);
        mark(clock, Phase::output_gradient);
        cluster_wait();
        mark(clock, Phase::second_cluster_barrier);
        send_output_gradient(s, rank, output);
        mark(clock, Phase::send_output_gradient);
        update_weights(s, x, next, first_feature, learning_rate);
        mark(clock, Phase::update_weights);
    }

    cluster_sync();  // the last gradients have arrived
    update_output(s, learning_rate);
    __syncthreads();
    move_parameters<false>(s, wh, bh, wo, bo, first_unit, first_feature);
}
