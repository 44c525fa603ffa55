// One kernel, run by the emulator; compiled with its SOURCE, its name KERNEL, and its launch's constants.
#include <utility>

#include "emulator.hpp"
#include SOURCE

template <class... Types, size_t... I>
std::function<void()> call(void (*kernel)(Types...), void** arguments, std::index_sequence<I...>) {
    return [=] { kernel(*(Types*)arguments[I]...); };
}

template <class... Types>
std::function<void()> call(void (*kernel)(Types...), void** arguments) {
    return call(kernel, arguments, std::index_sequence_for<Types...>());
}

// Takes pointers to the kernel's arguments, as CUDA does.
extern "C" void run(
    int clusters, int cluster, int threads, int at_once, int shared, int seed, void** arguments) {
    launch(clusters, cluster, threads, at_once, shared, seed, call(KERNEL, arguments));
}
