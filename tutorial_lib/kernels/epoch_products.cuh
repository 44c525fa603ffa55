// The two large products of a step in epoch.cu, on tensor cores. g and c say which elements of a
// fragment are a lane's: see `mma`.

// 16 x 8 elements of a product. Tensor cores round a sum down after each addition: only few of the
// large terms are summed there before they go into `total`; the small ones have a sum of their own.
struct Tile {
    float total[4] = {}, high[4] = {}, low[4] = {};

    INLINE float operator[](int i) const { return PRODUCTS == 3 ? total[i] + low[i] : total[i]; }
};

// Adds a b to M x N tiles. Each PRODUCT goes over all tiles before the next does, since an addition
// must wait for the one before it.
template <int M, int N>
INLINE void multiply(Tile (&tiles)[M][N], const Operand<4> (&a)[M], const Operand<2> (&b)[N]) {
    UNROLL for (int i = 0; i < M * N; i++)
        mma(tiles[i / N][i % N].high, a[i / N].high, b[i % N].high);
    if (PRODUCTS == 1) return;
    UNROLL for (int i = 0; i < M * N; i++)
        mma(tiles[i / N][i % N].low, a[i / N].low, b[i % N].high);
    UNROLL for (int i = 0; i < M * N; i++)
        mma(tiles[i / N][i % N].low, a[i / N].high, b[i % N].low);
}

template <int M, int N> INLINE void settle(Tile (&tiles)[M][N]) {
    UNROLL for (int i = 0; i < M * N; i++)
        UNROLL for (int k = 0; k < 4; k++) {
            Tile& tile = tiles[i / N][i % N];
            tile.total[k] += tile.high[k];
            tile.high[k] = 0;
        }
}

// 1. A warp takes 32 images, as two tiles of rows, and all units, as tiles of columns. Of 8
// features, a lane takes two neighbors; while it works on them, the next 8 are on their way.
INLINE void hidden_partial(Shared& s, const float (*x)[FEATURES], int rank) {
    const int n0 = threadIdx.x / 32 * 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    Tile tiles[2][UNITS / 8];
    float2 images[2][4], weights[2][UNITS / 8];
    auto read = [&](int f, int to) {
        UNROLL for (int i = 0; i < 4; i++) images[to][i] = *(float2*)&x[n0 + 8 * i + g][f];
        UNROLL for (int j = 0; j < UNITS / 8; j++) weights[to][j] = *(float2*)&s.w[8 * j + g][f];
    };
    read(2 * c, 0);
    UNROLL for (int k = 0; k < FEATURES / 8; k++) {
        if (k + 1 < FEATURES / 8) read(8 * (k + 1) + 2 * c, (k + 1) % 2);
        auto rows = [&](int i) {
            const float2 top = images[k % 2][2 * i], bottom = images[k % 2][2 * i + 1];
            return Operand<4>({top.x, bottom.x, top.y, bottom.y});
        };
        const Operand<4> a[2] = {rows(0), rows(1)};
        Operand<2> b[UNITS / 8];
        UNROLL for (int j = 0; j < UNITS / 8; j++) {
            const float2 w = weights[k % 2][j];
            b[j] = {{w.x, w.y}};
        }
        multiply(tiles, a, b);
        if (k % 4 == 3 || k + 1 == FEATURES / 8) settle(tiles);
    }
    UNROLL for (int i = 0; i < 4; i++)
        UNROLL for (int j = 0; j < UNITS / 8; j++) {
            const Tile& tile = tiles[i / 2][j];
            const float2 sums = {tile[i % 2 * 2], tile[i % 2 * 2 + 1]};
            *(float2*)&s.grad_hidden[n0 + 8 * i + g][8 * j + 2 * c] = sums;
        }
    fence_proxy_async();
    __syncwarp();
    const int lane = threadIdx.x % 32, owner = n0 / SHARE + lane;
    if (lane < 32 / SHARE)
        send_copy(remote(&s.partial[rank][0][0], owner), s.grad_hidden[owner * SHARE],
                  4 * SHARE * UNITS, remote(s.partials_in, owner));
}

// 5. A warp takes 16 ROWS features and all units; SPLIT warps share them, by images. Where it has
// read the images, there is room for the next ones, if there is but one buffer.
INLINE void update_weights(
    Shared& s, float (*x)[FEATURES], const float* next, int first_feature, float learning_rate) {
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    const int member = warp / (8 / SPLIT), f0 = warp % (8 / SPLIT) * (16 * ROWS);
    const int n0 = member * (BATCH / SPLIT), n1 = n0 + BATCH / SPLIT, unit = g / 2 + g % 2 * 4;
    Tile tiles[ROWS][UNITS / 8];
    float images[2][4 * ROWS], grads[2][UNITS / 4];
    auto exists = [&](int half) { return f0 + 8 * half < FEATURES; };  // 8 of a tile's 16 features
    auto read = [&](int n, int to) {
        UNROLL for (int i = 0; i < 4 * ROWS; i++)
            images[to][i] = exists(i / 2) ? x[n + c + i % 2 * 4][f0 + g + i / 2 * 8] : 0;
        UNROLL for (int j = 0; j < UNITS / 4; j++)
            grads[to][j] = s.grad_hidden[n + c + j % 2 * 4][j / 2 * 8 + unit];
    };
    read(n0, 0);
    for (int first = n0; first < n1; first += 32) {
        UNROLL for (int k = 0; k < 4; k++) {
            read(min(first + 8 * (k + 1), n1 - 8), (k + 1) % 2);
            const float *now = images[k % 2], *grad = grads[k % 2];
            Operand<4> a[ROWS];
            Operand<2> b[UNITS / 8];
            UNROLL for (int i = 0; i < ROWS; i++)
                a[i] = {{now[4 * i], now[4 * i + 2], now[4 * i + 1], now[4 * i + 3]}};
            UNROLL for (int j = 0; j < UNITS / 8; j++) b[j] = {{grad[2 * j], grad[2 * j + 1]}};
            multiply(tiles, a, b);
        }
        settle(tiles);
        if (BUFFERS == 2 || !next) continue;
        __syncwarp();
        fetch<4 * ROWS>(x, next, first, 32, f0, first_feature);
    }
    UNROLL for (int turn = 0; turn < SPLIT; turn++) {  // always in the same order
        if (turn > 0) __syncthreads();
        if (member != turn) continue;
        UNROLL for (int i = 0; i < ROWS; i++)
            UNROLL for (int j = 0; j < UNITS / 8; j++)
                UNROLL for (int k = 0; k < 4; k++)  // of 8 units c and c + 4, of 16 features two
                    if (exists(2 * i + k / 2))
                        s.w[8 * j + c + k % 2 * 4][f0 + g + 16 * i + k / 2 * 8] -=
                            learning_rate * tiles[i][j][k];
    }
}
