// What all kernels ask of a label.

// The label where it is one of the ten digits, otherwise -1.
__device__ int digit(long long label) { return label >= 0 && label < 10 ? (int)label : -1; }
