// A whole epoch in one launch: the weights never leave the chip.
//
// A cluster of CLUSTER blocks takes UNITS hidden units, and each of its blocks FEATURES of the 784
// inputs. A block keeps its piece of the hidden weights, UNITS x FEATURES, in its shared memory for
// the whole epoch, and only its piece of the images passes by. A step is then
//   1. a partial sum of the hidden layer in each block,
//   2. their sum over the cluster, each block for SHARE of the images,
//   3. the partial logits, which all clusters exchange through global memory,
//   4. the loss and the gradients; that of the hidden layer is sent to the whole cluster,
//   5. the update of the small parameters: the output weights and all biases,
//   6. the gradient of the block's piece of the hidden weights, subtracted on the spot.
// Letters: n image, h hidden unit, f feature, o output, r rank in the cluster, g cluster.
// images: (steps * BATCH, INPUTS), labels: (steps * BATCH,), losses: (steps, CLUSTER);
// wh: (HIDDEN, INPUTS), bh: (HIDDEN,), wo: (OUTPUTS, HIDDEN), bo: (OUTPUTS,); cycles: by Phase;
// exchange: (2, GROUPS, CLUSTER, OUTPUTS, SHARE), two buffers that steps use in turn, since a fast
// block may be a step ahead of a slow one; arrived: (CLUSTER,), zeros.
// launches.py gives the sizes, epoch_memory.cuh and epoch_phases.cuh all that is called here.

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
epoch(const float* images, const long long* labels, float* wh, float* bh, float* wo, float* bo,
      float* losses, float* exchange, unsigned* arrived, int steps, float learning_rate,
      long long* cycles) {
    extern __shared__ float4 memory[];
    Shared& s = *(Shared*)memory;
    const int t = threadIdx.x, rank = cluster_rank(), group = blockIdx.x / CLUSTER;
    const int first_unit = group * UNITS, first_feature = rank * FEATURES;
    move_parameters<true>(s, wh, bh, wo, bo, first_unit, first_feature);
    for (int i = t; i < BATCH * PITCH; i += THREADS) (&s.x[0][0])[i] = 0;
    if (t < SHARE) s.y[UNITS][t] = 1;
    __syncthreads();
    for (int chunk = 0; chunk < CHUNKS; chunk++) fetch(s, images, chunk, first_feature);

    Clock clock = {cycles, PROFILE ? clock64() : 0};
    for (int step = 0; step < steps; step++) {
        const bool last = step + 1 == steps;
        const float* next = last ? nullptr : images + (size_t)(step + 1) * BATCH * INPUTS;
        // Long before they are used: the labels and, in the L2 cache, the next batch.
        int label[LOGITS];
        UNROLL for (int j = 0; j < LOGITS; j++)
            label[j] = digit(labels[step * BATCH + rank * SHARE + (t + j * THREADS) % SHARE]);
        for (int f = first_feature; f < min(first_feature + FEATURES, INPUTS); f += 32)
            if (next && step % GROUPS == group) prefetch(next + t * INPUTS + f);
        wait_for_copies();
        __syncthreads();
        mark(clock, Phase::waiting_for_images);

        hidden_partial(s);
        mark(clock, Phase::hidden_partial);
        cluster_sync();
        mark(clock, Phase::first_cluster_barrier);
        sum_over_cluster(s, rank);
        __syncthreads();
        mark(clock, Phase::sum_over_cluster);

        float logits[LOGITS];
        float* buffer = exchange + (step % 2 * GROUPS * CLUSTER + rank) * SHARE * OUTPUTS;
        partial_logits(s, buffer, group, logits);
        mark(clock, Phase::partial_logits);
        if (GROUPS > 1) wait_for_all(&arrived[rank], GROUPS * (step + 1));
        mark(clock, Phase::waiting_for_clusters);
        loss_and_gradient(s, buffer, logits, label);
        __syncthreads();
        mark(clock, Phase::loss_and_gradient);

        send_gradient(s, rank);
        sum_over_share(s, group == 0 ? &losses[step * CLUSTER + rank] : nullptr);
        mark(clock, Phase::send_gradient);
        cluster_sync();
        mark(clock, Phase::second_cluster_barrier);
        update_small(s, rank, learning_rate);
        mark(clock, Phase::update_small);
        update_weights(s, next, first_feature, learning_rate, clock);
        mark(clock, Phase::update_weights);
    }

    cluster_sync();  // the last updates have arrived, and nobody reads this block's memory any more
    move_parameters<false>(s, wh, bh, wo, bo, first_unit, first_feature);
}
