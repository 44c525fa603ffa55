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
// exchange: (2, CLUSTER, GROUPS, SHARE * OUTPUTS), zeros; steps use its two buffers in turn, and
// the two tags in pairs: 1 1 0 0.
// launches.py gives the sizes, epoch_*.cuh all that is called here.

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
epoch(const float* images, const long long* labels, float* wh, float* bh, float* wo, float* bo,
      float* losses, float* exchange, int steps, float learning_rate, long long* cycles) {
    extern __shared__ float4 memory[];
    Shared& s = *(Shared*)memory;
    const int t = threadIdx.x, rank = cluster_rank(), group = blockIdx.x / CLUSTER;
    const int first_unit = group * UNITS, first_feature = rank * FEATURES;
    move_parameters<true>(s, wh, bh, wo, bo, first_unit, first_feature);
    fill_constants(s, first_feature, group == 0);
    const int partials = 4 * BATCH * UNITS, outputs = 4 * CLUSTER * OUTPUTS * PADDED;  // bytes
    if (t == 0) {
        start(s.partials_in);
        expect(s.partials_in, partials);
        start(s.grads_in);
        expect(s.grads_in, partials - partials / CLUSTER);
    }
    cluster_sync();
    constexpr int LANES = FEATURES <= 64 ? 16 : 32;  // that fetch an image
    fetch<LANES>(s.x[0], images, t / 32 * 32, 32, 0, first_feature);

    Clock clock = {cycles, PROFILE ? clock64() : 0};
    for (int step = 0; step < steps; step++) {
        auto& x = s.x[step % BUFFERS];
        const float* next = images + (size_t)(step + 1) * BATCH * INPUTS;
        if (step + 1 == steps) next = nullptr;
        // Long before it is used: the label of this thread's image.
        const int label = digit(labels[step * BATCH + rank * SHARE + t % SHARE]);
        if (next && BUFFERS == 1 && step % GROUPS == group) prefetch_features(next, first_feature);
        wait_for_copies();
        __syncthreads();
        mark(clock, Phase::waiting_for_images);

        hidden_partial(s, x, rank);
        mark(clock, Phase::hidden_partial);
        auto fetch_next = [&](int half) {  // of the images, while there is nothing else to do
            if (next && BUFFERS == 2)
                fetch<LANES>(s.x[1 - step % 2], next, t / 32 * 32 + 16 * half, 16, 0, first_feature);
        };
        fetch_next(0);
        wait_for(s.partials_in, step % 2);
        if (t == 0) expect(s.partials_in, (next ? partials : 0) + outputs);
        mark(clock, Phase::waiting_for_partials);
        sum_over_cluster(s);
        if (step > 0) update_output(s, learning_rate);
        __syncthreads();
        mark(clock, Phase::sum_over_cluster);

        float logits[LOGITS];
        float* buffer = exchange + (step % 2 * CLUSTER + rank) * GROUPS * SHARE * OUTPUTS;
        partial_logits(s, logits);
        mark(clock, Phase::partial_logits);
        float4 weights[OUTPUTS];
        read_output_weights(s, weights);
        sum_over_clusters(buffer, group, 1 - step / 2 % 2, logits);
        mark(clock, Phase::waiting_for_clusters);
        gradient(s, logits, label);
        __syncthreads();
        mark(clock, Phase::gradient);

        send_gradient(s, rank, weights);
        mark(clock, Phase::send_gradient);
        fetch_next(1);
        if (group == 0) write_loss(logits, label, losses + (step * CLUSTER + rank) * OUTPUT_WARPS);
        send_output_gradient(s, rank, [&] { wait_for(s.grads_in, step % 2); });
        if (t == 0) expect(s.grads_in, partials - partials / CLUSTER);
        mark(clock, Phase::output_gradient);
        update_weights(s, x, next, first_feature, learning_rate);
        mark(clock, Phase::update_weights);
    }

    wait_for(s.partials_in, steps % 2);  // the last gradients of the output layer
    update_output(s, learning_rate);
    __syncthreads();
    move_parameters<false>(s, wh, bh, wo, bo, first_unit, first_feature);
}
