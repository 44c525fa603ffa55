// One kernel file, run by the emulator; compiled with KERNEL and what the kernel itself wants. Each
// function takes a seed, then the kernel's own arguments, and returns how many blocks it launched.
#include "emulator.hpp"
#include "../../kernels/labels.cuh"
#include KERNEL

#ifdef HIDDEN
extern "C" int shared_bytes() { return sizeof(Shared); }
extern "C" int run_epoch(
    int seed, const float* images, const long long* labels, float* wh, float* bh, float* wo,
    float* bo, float* losses, float* partial_logits, unsigned* arrived, int steps, float rate) {
    if (sizeof(Shared) > sizeof(memory)) abort();
    return launch(GROUPS, CLUSTER, THREADS, GROUPS, seed, [&] {
        epoch(images, labels, wh, bh, wo, bo, losses, partial_logits, arrived, steps, rate);
    });
}
#elif defined(IMAGES)
extern "C" int run_output_layer(
    int seed, const float* before_relu, const float* wo, const float* bo, const long long* labels,
    float* grad_hidden, float* partial, float* partial_small, int n, int hidden) {
    return launch((n + IMAGES - 1) / IMAGES, CLUSTER, THREADS, 1, seed, [&] {
        output_layer(before_relu, wo, bo, labels, grad_hidden, partial, partial_small, n, hidden);
    });
}
extern "C" int run_update_small(
    int seed, const float* partial, const float* partial_small, float* wo, float* bh, float* bo,
    float* loss, int clusters, int hidden, float rate) {
    return launch((11 * hidden + 255) / 256, 1, 256, 1, seed, [&] {
        update_small(partial, partial_small, wo, bh, bo, loss, clusters, hidden, rate);
    });
}
#else
extern "C" int run_loss(
    int seed, const float* logits, const long long* labels, float* gradient, float* loss, int n) {
    return launch(1, 1, THREADS, 1, seed, [&] { loss_and_gradient(logits, labels, gradient, loss, n); });
}
#endif
