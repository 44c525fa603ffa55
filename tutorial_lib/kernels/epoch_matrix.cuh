// Products of matrices in epoch.cu, on tensor cores.

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
