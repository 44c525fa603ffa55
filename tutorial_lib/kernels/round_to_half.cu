// Rounds float32 to float16 or bfloat16, as FLOAT says. A thread moves four numbers by one load and one
// store: a load of one number each would leave most of the memory's bandwidth unused.

struct alignas(4 * sizeof(FLOAT)) Four { FLOAT x, y, z, w; };

extern "C" __global__ void __launch_bounds__(THREADS) round_to_half(
    const float4* masters, Four* copies, int count) {
    const int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    const float4 exact = masters[i];
    copies[i] = {FLOAT(exact.x), FLOAT(exact.y), FLOAT(exact.z), FLOAT(exact.w)};
}
