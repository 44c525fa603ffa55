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
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(result) : "r"(address), "r"(rank));
    return result;
}

__device__ float load(Remote address) {
    float x;
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(x) : "r"(address));
    return x;
}

__device__ float4 load4(Remote address) {
    float4 x;
    asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w) : "r"(address));
    return x;
}

__device__ void store(Remote address, float x) {
    asm volatile("st.shared::cluster.f32 [%0], %1;" :: "r"(address), "f"(x) : "memory");
}

__device__ void store4(Remote address, float4 x) {
    asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};"
                 :: "r"(address), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w) : "memory");
}

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

// What other blocks wrote before they changed this number is visible to those who have read it so.
__device__ unsigned load_acquire(const unsigned* from) {
    unsigned x;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(x) : "l"(from) : "memory");
    return x;
}
