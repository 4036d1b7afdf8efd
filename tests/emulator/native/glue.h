// Included after the kernels: a C entry for each, and its parameters as text for the caller.
#pragma once
#include <utility>

namespace {

// "p4" a pointer to elements of 4 bytes, "c4" to const ones, "i4" "u4" "f4" scalars, "s24" a struct.
template <class P> void emulator_describe(char*& text)
{
    using T = std::remove_cv_t<P>;
    using E = std::remove_pointer_t<T>;
    if constexpr (std::is_pointer_v<T>) {
        constexpr int size = [] { if constexpr (std::is_void_v<E>) return 1; else return int(sizeof(E)); }();
        text += sprintf(text, "%c%d ", std::is_const_v<E> ? 'c' : 'p', size);
    } else {
        const char kind = std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : std::is_integral_v<T> ? 'u' : 's';
        text += sprintf(text, "%c%d ", kind, int(sizeof(T)));
    }
}

template <class... P> const char* emulator_signature(void (*)(P...))
{
    static char text[16 * sizeof...(P) + 1];
    char* end = text;
    (emulator_describe<P>(end), ...);
    return text;
}

template <class... P, size_t... I>
EMULATOR_UNCHECKED void emulator_invoke(void (*kernel)(P...), void** arguments, std::index_sequence<I...>)
{
    kernel(*static_cast<std::remove_reference_t<P>*>(arguments[I])...);
}

template <class... P> EMULATOR_UNCHECKED void emulator_invoke(void (*kernel)(P...), void** arguments)
{
    emulator_invoke(kernel, arguments, std::index_sequence_for<P...>());
}

}   // namespace

#define EMULATOR_EXPORT extern "C" __attribute__((visibility("default")))
#define EMULATOR_KERNEL(NUMBER, ...) \
    EMULATOR_EXPORT EMULATOR_UNCHECKED void emulator_call_##NUMBER(void** arguments) { emulator_invoke(&__VA_ARGS__, arguments); } \
    EMULATOR_EXPORT EMULATOR_UNCHECKED const char* emulator_signature_##NUMBER() { return emulator_signature(&__VA_ARGS__); }
