// What CUDA C++ has no plain name for, in PTX, so that NVRTC needs no header. Source: the PTX ISA.

// --- Thread block clusters: blocks that run together and reach each other's shared memory.

typedef unsigned Remote;  // an address in the shared memory of any block of the cluster

__device__ unsigned cluster_rank() {
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// Waits for all threads of the cluster; what they wrote before is visible after.
__device__ void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Where `local` lies in the shared memory of the cluster's block `rank`.
__device__ Remote remote(const float* local, unsigned rank) {
    unsigned address = (unsigned)__cvta_generic_to_shared(local), result;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(result) : "r"(address), "r"(rank));
    return result;
}

__device__ float load(Remote address) {
    float x;
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(x) : "r"(address));
    return x;
}

// --- Numbers for any block of the cluster: their bytes are counted where they arrive.

typedef unsigned long long Arrivals;  // of one step after the other, in shared memory

__device__ Remote remote(const Arrivals& local, unsigned rank) {
    return remote((const float*)&local, rank);
}

__device__ void start(Arrivals& arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\nfence.mbarrier_init.release.cluster;"
                 :: "r"((unsigned)__cvta_generic_to_shared(&arrivals)) : "memory");
}

// So many bytes will arrive in the step that has not ended yet; one thread says so, once.
__device__ void expect(Arrivals& arrivals, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :: "r"((unsigned)__cvta_generic_to_shared(&arrivals)), "r"(bytes) : "memory");
}

// Waits until all bytes of a step have arrived; it takes its parity.
__device__ void wait_for(Arrivals& arrivals, int parity) {
    int done;
    do asm volatile("{.reg .pred p;\n"
                    "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
                    "selp.s32 %0, 1, 0, p;}"
                    : "=r"(done) : "r"((unsigned)__cvta_generic_to_shared(&arrivals)), "r"(parity)
                    : "memory");
    while (!done);
}

__device__ void send(Remote to, float2 x, Remote arrivals) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 "
                 "[%0], {%1, %2}, [%3];"
                 :: "r"(to), "f"(x.x), "f"(x.y), "r"(arrivals) : "memory");
}

__device__ void send(Remote to, float4 x, Remote arrivals) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 "
                 "[%0], {%1, %2, %3, %4}, [%5];"
                 :: "r"(to), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w), "r"(arrivals) : "memory");
}

// As `send`, for so many bytes of this block's shared memory, by a unit that threads do not wait for.
__device__ void send_copy(Remote to, const float* from, int bytes, Remote arrivals) {
    asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];"
                 :: "r"(to), "r"((unsigned)__cvta_generic_to_shared(from)), "r"(bytes), "r"(arrivals)
                 : "memory");
}

// What this thread has written, later copies by that unit will find.
__device__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// --- Copies from global to shared memory that the thread does not wait for.

__device__ void copy_async(float* to, const float* from) {
    unsigned address = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" :: "r"(address), "l"(from) : "memory");
}

__device__ void copy4_async(float* to, const float* from) {
    unsigned address = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(address), "l"(from) : "memory");
}

// Waits for the copies that this thread has begun; for those of others, add a barrier.
__device__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Brings what is there, in global memory, into the L2 cache, some time soon.
__device__ void prefetch(const float* from) {
    asm volatile("prefetch.global.L2 [%0];" :: "l"(from));
}

// --- Numbers for other blocks, in global memory. The last bit of a number is no part of it, but a
// tag: it says when the number was written. (So what is infinite may become NaN.)

__device__ void store_tagged(float* to, float value, unsigned tag) {
    const unsigned bits = __float_as_uint(value) & ~1u | tag;
    asm volatile("st.relaxed.gpu.global.b32 [%0], %1;" :: "l"(to), "r"(bits) : "memory");
}

// Whether the tag is the right one; only then is the value, too.
__device__ bool load_tagged(const float* from, unsigned tag, float& value) {
    unsigned bits;
    asm volatile("ld.relaxed.gpu.global.b32 %0, [%1];" : "=r"(bits) : "l"(from) : "memory");
    value = __uint_as_float(bits);
    return (bits & 1) == tag;
}

// --- Tensor cores: a warp multiplies two matrices that are spread over its registers.

// The float nearest to x of those with ten bits after the point, TF32.
__device__ float to_tf32(float x) {
    unsigned bits;
    asm("cvt.rn.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return __uint_as_float(bits);
}

// d += a b for a (16, 8), b (8, 8), d (16, 8); of a and b it looks at the bits of TF32 only. With
// g = lane / 4 and c = lane % 4, a thread has of a the elements (g, c), (g + 8, c), (g, c + 4),
// (g + 8, c + 4), of b (c, g), (c + 4, g), and of d (g, 2c), (g, 2c + 1), (g + 8, 2c),
// (g + 8, 2c + 1).
__device__ void mma(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
    const unsigned *i = (const unsigned*)a, *j = (const unsigned*)b;
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(i[0]), "r"(i[1]), "r"(i[2]), "r"(i[3]), "r"(j[0]), "r"(j[1]));
}
