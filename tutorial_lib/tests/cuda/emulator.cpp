// Enough of CUDA to run one of this book's kernels, KERNEL, put in for SOURCE, on a CPU: a block is a
// thread of the operating system, its CUDA threads are fibers that take turns in random order, and
// change only where they wait.
//
// What it finds: wrong indices, reads of memory that nobody wrote (it is filled with NaN), missing
// barriers (the order is random, and a copy runs at once or as late as it may), a block that reads
// another's memory too early. What it cannot find: what depends on the GPU's weaker memory order.

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <thread>
#include <tuple>
#include <vector>

#define __global__
#define __device__ inline
#define __forceinline__
#define __shared__ thread_local
#define __launch_bounds__(...)
#define __cluster_dims__(...)
using std::max;
using std::min;

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct Index { int x; };
struct Copy { float* to; const float* from; int count; };

const int SHARED_FLOATS = 58 * 1024;  // 232 KB
thread_local float4 memory[SHARED_FLOATS / 4];
thread_local Index threadIdx, blockIdx;

struct Barrier { std::atomic<int> arrived{0}, generation{0}; };
struct Fragments { float* d; float a[4], b[2]; };  // of a lane, in `mma`
struct Warp : Barrier { float slots[32]; Fragments lanes[32]; };

struct Cluster : Barrier {
    std::atomic<int> started{0}, ended{0};
    std::vector<char*> bases;  // where each block's shared memory begins
};

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    std::vector<Copy> copies;
    bool done = false;
};

struct Block : Barrier {
    Cluster* cluster;
    int rank;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    ucontext_t scheduler;
    std::mt19937 random;
};

struct Launch {
    int blocks, threads, shared, seed;  // blocks of a cluster, threads of a block, bytes
    std::function<void()> kernel;
};

static Launch launch;

thread_local Block* block;

static void let_others_run() {
    const int me = threadIdx.x;
    swapcontext(&block->fibers[me].context, &block->scheduler);
    threadIdx.x = me;
}

static void wait_at(Barrier& barrier, int expected) {
    const int generation = barrier.generation;
    if (++barrier.arrived == expected) {
        barrier.arrived = 0;
        ++barrier.generation;
    } else {
        while (barrier.generation == generation) let_others_run();
    }
}

static void __syncthreads() { wait_at(*block, launch.threads); }
static void __syncwarp() { wait_at(block->warps[threadIdx.x / 32], 32); }

static float exchange(float value, int lane) {
    Warp& warp = block->warps[threadIdx.x / 32];
    warp.slots[threadIdx.x % 32] = value;
    wait_at(warp, 32);
    const float result = warp.slots[lane];
    wait_at(warp, 32);
    return result;
}
static float __shfl_xor_sync(unsigned, float value, int bits) {
    return exchange(value, threadIdx.x % 32 ^ bits);
}
static float __shfl_down_sync(unsigned, float value, int delta) {
    return exchange(value, min(threadIdx.x % 32 + delta, 31));
}

static float __fmul_rn(float x, float y) { return x * y; }
static unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    return bits;
}
static float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
static long long clock64() { static std::atomic<long long> now{0}; return ++now; }

// What kernels/ptx.cuh has in PTX.
typedef float* Remote;
static unsigned cluster_rank() { return block->rank; }
static void cluster_sync() { wait_at(*block->cluster, launch.blocks * launch.threads); }
static Remote remote(const float* local, unsigned rank) {
    return (Remote)(block->cluster->bases[rank] + ((char*)local - (char*)memory));
}
static float load(Remote from) { return *from; }

struct alignas(8) Arrivals { int missing; short expected, parity; };  // bytes; whether they are known
static Arrivals* remote(const Arrivals& local, unsigned rank) {
    return (Arrivals*)remote((const float*)&local, rank);
}
static void change(Arrivals& arrivals, int bytes, bool expected) {
    Arrivals old, now;
    __atomic_load(&arrivals, &old, __ATOMIC_SEQ_CST);
    do {
        now = {old.missing + bytes, short(old.expected | expected), old.parity};
        if (now.expected && now.missing == 0) now = {0, 0, short(1 - now.parity)};
    } while (!__atomic_compare_exchange(
        &arrivals, &old, &now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
}
static void start(Arrivals& arrivals) { arrivals = {0, 0, 0}; }
static void expect(Arrivals& arrivals, int bytes) { change(arrivals, bytes, true); }
static void wait_for(Arrivals& arrivals, int parity) {
    Arrivals now;
    for (;; let_others_run()) {
        __atomic_load(&arrivals, &now, __ATOMIC_SEQ_CST);
        if (now.parity != parity) return;
    }
}
static void send_copy(Remote to, const float* from, int bytes, Arrivals* arrivals) {
    if ((size_t)to % 16 || (size_t)from % 16 || bytes % 16) abort();
    memcpy(to, from, bytes);
    change(*arrivals, -bytes, false);
}
static void fence_proxy_async() {}
template <class Floats> static void send(Remote to, Floats x, Arrivals* arrivals) {
    if ((size_t)to % sizeof(x)) abort();
    *(Floats*)to = x;
    change(*arrivals, -(int)sizeof(x), false);
}
static void begin_copy(Copy copy) {
    if (block->random() % 2) memcpy(copy.to, copy.from, copy.count * sizeof(float));
    else block->fibers[threadIdx.x].copies.push_back(copy);
}
static void copy_async(float* to, const float* from) { begin_copy({to, from, 1}); }
static void copy4_async(float* to, const float* from) {
    if ((size_t)to % 16 || (size_t)from % 16) abort();  // a GPU would stop here, too
    begin_copy({to, from, 4});
}
static void wait_for_copies() {
    for (Copy& copy : block->fibers[threadIdx.x].copies)
        memcpy(copy.to, copy.from, copy.count * sizeof(float));
    block->fibers[threadIdx.x].copies.clear();
}
static void prefetch(const float* from) { (void)*(volatile const float*)from; }
static void store_tagged(float* to, float value, unsigned tag) {
    __atomic_store_n((unsigned*)to, __float_as_uint(value) & ~1u | tag, __ATOMIC_SEQ_CST);
}
static bool load_tagged(const float* from, unsigned tag, float& value) {
    const unsigned bits = __atomic_load_n((const unsigned*)from, __ATOMIC_SEQ_CST);
    value = __uint_as_float(bits);
    if ((bits & 1) != tag) let_others_run();
    return (bits & 1) == tag;
}

static float to_tf32(float x) {  // round to nearest, of two to the even one
    unsigned bits = __float_as_uint(x);
    if (x - x == 0) bits += 0xfff + (bits >> 13 & 1);  // infinities and NaN stay what they are
    return __uint_as_float(bits & 0xffffe000);
}
static float cut_to_tf32(float x) {
    return x - x == 0 ? __uint_as_float(__float_as_uint(x) & 0xffffe000) : x;
}
static void mma(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
    Warp& warp = block->warps[threadIdx.x / 32];
    Fragments& mine = warp.lanes[threadIdx.x % 32];
    mine.d = d;
    for (int i = 0; i < 4; i++) mine.a[i] = cut_to_tf32(a[i]);
    for (int i = 0; i < 2; i++) mine.b[i] = cut_to_tf32(b[i]);
    if (warp.arrived == 31)  // the last lane multiplies for all
        for (int g = 0; g < 16; g++)
            for (int n = 0; n < 8; n++) {
                float& sum = warp.lanes[g % 8 * 4 + n / 2].d[g / 8 * 2 + n % 2];
                double exact = sum;
                for (int k = 0; k < 8; k++)
                    exact += (double)warp.lanes[g % 8 * 4 + k % 4].a[g / 8 + k / 4 * 2]
                             * warp.lanes[n * 4 + k % 4].b[k / 4];
                sum = exact;  // to nearest, and then towards 0, as tensor cores round
                if (fabs(sum) > fabs(exact)) sum = nextafterf(sum, 0);
            }
    wait_at(warp, 32);
}

static void run_fiber() {
    launch.kernel();
    block->fibers[threadIdx.x].done = true;
    swapcontext(&block->fibers[threadIdx.x].context, &block->scheduler);
}

static void forget() {
    std::fill_n((float*)memory, SHARED_FLOATS, std::numeric_limits<float>::quiet_NaN());
}

static void run_block(Cluster& cluster, int index, int rank) {
    const int threads = launch.threads;
    Block mine;
    block = &mine;
    mine.cluster = &cluster;
    mine.rank = rank;
    mine.fibers = std::vector<Fiber>(threads);
    mine.warps = std::vector<Warp>(threads / 32);
    mine.random.seed(launch.seed + index);
    blockIdx.x = index;
    forget();
    cluster.bases[rank] = (char*)memory;
    for (++cluster.started; cluster.started < launch.blocks;) sched_yield();
    std::vector<int> order(threads);
    for (int i = 0; i < threads; i++) {
        Fiber& fiber = mine.fibers[i];
        fiber.stack.resize(64 * 1024);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        makecontext(&fiber.context, run_fiber, 0);
        order[i] = i;
    }
    for (int running = threads; running; sched_yield()) {
        std::shuffle(order.begin(), order.end(), mine.random);
        for (int i : order) {
            if (mine.fibers[i].done) continue;
            threadIdx.x = i;
            swapcontext(&mine.scheduler, &mine.fibers[i].context);
            running -= mine.fibers[i].done;
        }
    }
    for (int i = (launch.shared + 3) / 4; i < SHARED_FLOATS; i++)  // beyond what was asked for
        if (!std::isnan(((float*)memory)[i])) abort();
    forget();  // a block's memory is gone when it ends: what another reads there is NaN
    for (++cluster.ended; cluster.ended < launch.blocks;) sched_yield();
}

#include SOURCE

template <class... Types>
std::function<void()> call(void (*kernel)(Types...), void** arguments) {
    const std::tuple<Types...> values{*(Types*)*arguments++...};
    return [=] { std::apply(kernel, values); };
}

// Takes pointers to the kernel's arguments, as CUDA does; `at_once` clusters of `blocks` at a time.
extern "C" void run(
    int clusters, int blocks, int threads, int at_once, int shared, int seed, void** arguments) {
    launch = {blocks, threads, shared, seed, call(KERNEL, arguments)};
    for (int first = 0; first < clusters; first += at_once) {
        const int count = min(at_once, clusters - first);
        std::vector<Cluster> wave(count);
        std::vector<std::thread> running;
        for (int c = 0; c < count; c++) {
            wave[c].bases.resize(blocks);
            for (int r = 0; r < blocks; r++)
                running.emplace_back(run_block, std::ref(wave[c]), (first + c) * blocks + r, r);
        }
        for (std::thread& one : running) one.join();
    }
}
