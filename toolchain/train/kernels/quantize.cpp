// A quantizer with a learned step in one pass each way: round(clamp(t, low, high)) * s of t = (x * slope - offset) / s,
// and its gradients.
//
// The forward pass and the gradient to x are bit for bit those of the tensor operations: each rounds its result to the
// type it computes in; factors are float32, and what is subtracted is rounded to that type too. Sums go in the order of 16 lanes and blocks whatever the instructions
// are, so that all machines train alike.

#include <cmath>
#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define EXPORTED extern "C" __attribute__((visibility("default"), target_clones("avx512f", "avx2", "default")))
#else
#define EXPORTED extern "C" __attribute__((visibility("default")))
#endif
#define INLINED __attribute__((always_inline)) inline  // compiled for the instructions of each clone

namespace {

constexpr int lanes = 16;
constexpr std::int64_t block = 256 * lanes;  // float sums of so many; those of blocks are double

struct bfloat16 {
    std::uint16_t bits;
};

INLINED float wide(float value) { return value; }
INLINED float wide(bfloat16 value) { return __builtin_bit_cast(float, static_cast<std::uint32_t>(value.bits) << 16); }

// The bits of a float whose upper half is the nearest bfloat16, ties to even; the lower half is any.
INLINED std::uint32_t nearest(float value) {
    const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, value);
    return bits + 0x7fff + ((bits >> 16) & 1);
}

template <class T>
INLINED T narrow(float value) {
    if constexpr (sizeof(T) == sizeof(float))
        return value;
    else
        return T{static_cast<std::uint16_t>((value != value ? 0x7fc00000 : nearest(value)) >> 16)};
}

// The nearest T. Of what is no number the lower half must be 0, as in all that operations on bfloat16 make.
template <class T>
INLINED float rounded(float value) {
    if constexpr (sizeof(T) == sizeof(float))
        return value;
    else
        return __builtin_bit_cast(float, nearest(value) & 0xffff0000);
}

// A value that is a T.
template <class T>
INLINED T exact(float value) {
    if constexpr (sizeof(T) == sizeof(float))
        return value;
    else
        return T{static_cast<std::uint16_t>(__builtin_bit_cast(std::uint32_t, value) >> 16)};
}

INLINED float code(float scaled, float low, float high) {
    const float above = scaled < low ? low : scaled;
    return std::nearbyint(above > high ? high : above);
}

// A quantizer of values that are rounded to T behind each operation.
struct Range {
    float scale, low, high, slope, offset;

    template <class T, bool line>
    INLINED float scaled(float x) const {
        if constexpr (line) x = rounded<T>(rounded<T>(x * slope) - offset);
        return rounded<T>(x / scale);
    }
    INLINED bool outside(float t) const { return (t <= low) | (t >= high); }
};

// From From to To, computing in Work.
template <class From, class To, class Work, bool line>
INLINED void quantize(const void* x, void* y, std::int64_t rows, std::int64_t size, const float* scale, float low,
                      float high, const float* slope) {
    for (std::int64_t row = 0; row < rows; ++row) {
        const Range range{scale[row], low, high, line ? slope[0] : 1, line ? rounded<Work>(slope[1]) : 0};
        const From* from = static_cast<const From*>(x) + row * size;
        To* to = static_cast<To*>(y) + row * size;
        for (std::int64_t i = 0; i < size; ++i) {
            const float t = range.template scaled<Work, line>(wide(from[i]));
            to[i] = narrow<To>(code(t, low, high) * range.scale);
        }
    }
}

struct Sums {
    float codes[lanes] = {}, inside[lanes] = {}, slope[lanes] = {}, offset[lanes] = {};
};

template <class From, class To, class Work, bool line>
INLINED void pull_back(const To& g, const From& x, From& to_x, const Range& range, Sums& sums, int lane) {
    const float value = wide(x), down = wide(g);
    const float t = range.template scaled<Work, line>(value);
    const float passed = range.outside(t) ? 0.0f : down;
    if constexpr (line)
        to_x = narrow<From>(passed * range.slope);  // Work is the wider of From and To
    else
        to_x = sizeof(To) > sizeof(From) ? narrow<From>(passed) : exact<From>(passed);
    sums.codes[lane] += down * code(t, range.low, range.high);
    sums.inside[lane] += passed * t;
    if constexpr (line) {
        sums.slope[lane] += passed * value;
        sums.offset[lane] += passed;
    }
}

template <class From, class To, class Work, bool line>
INLINED void gradients(const void* g, const void* x, void* to_x, float* to_scale, std::int64_t rows, std::int64_t size,
                       const float* scale, float low, float high, const float* slope, float* to_slope) {
    const To* down = static_cast<const To*>(g);
    const From* from = static_cast<const From*>(x);
    From* to = static_cast<From*>(to_x);
    double slopes = 0, offsets = 0;
    for (std::int64_t row = 0; row < rows; ++row) {
        const Range range{scale[row], low, high, line ? slope[0] : 1, line ? rounded<Work>(slope[1]) : 0};
        double codes = 0, inside = 0;
        for (std::int64_t first = row * size; first < (row + 1) * size; first += block) {
            const std::int64_t left = (row + 1) * size - first, count = left < block ? left : block;
            const std::int64_t whole = first + count - count % lanes;
            Sums sums;
            for (std::int64_t i = first; i < whole; i += lanes)
                for (int lane = 0; lane < lanes; ++lane)
                    pull_back<From, To, Work, line>(down[i + lane], from[i + lane], to[i + lane], range, sums, lane);
            for (std::int64_t i = whole; i < first + count; ++i)
                pull_back<From, To, Work, line>(down[i], from[i], to[i], range, sums, 0);
            for (int lane = 0; lane < lanes; ++lane) {
                codes += sums.codes[lane];
                inside += sums.inside[lane];
                slopes += sums.slope[lane];
                offsets += sums.offset[lane];
            }
        }
        to_scale[row] = static_cast<float>(codes - inside);
    }
    if constexpr (line) {
        to_slope[0] = static_cast<float>(slopes);
        to_slope[1] = static_cast<float>(-offsets);
    }
}

}  // namespace

// y of x, (rows, size) each; a scale a row; slope is null or holds a slope and an offset for all.
#define QUANTIZE(name, From, To, Work)                                                                              \
    EXPORTED void name(const void* x, void* y, std::int64_t rows, std::int64_t size, const float* scale, float low, \
                       float high, const float* slope) {                                                            \
        if (slope == nullptr)                                                                                       \
            quantize<From, To, Work, false>(x, y, rows, size, scale, low, high, slope);                             \
        else                                                                                                        \
            quantize<From, To, Work, true>(x, y, rows, size, scale, low, high, slope);                              \
    }

// to_x (rows, size), to_scale (rows) and to_slope (as slope) of the gradient g (rows, size) of y.
#define GRADIENTS(name, From, To, Work)                                                                            \
    EXPORTED void name(const void* g, const void* x, void* to_x, float* to_scale, std::int64_t rows,               \
                       std::int64_t size, const float* scale, float low, float high, const float* slope,           \
                       float* to_slope) {                                                                          \
        if (slope == nullptr)                                                                                      \
            gradients<From, To, Work, false>(g, x, to_x, to_scale, rows, size, scale, low, high, slope, to_slope); \
        else                                                                                                       \
            gradients<From, To, Work, true>(g, x, to_x, to_scale, rows, size, scale, low, high, slope, to_slope);  \
    }

QUANTIZE(fpgaflow_quantize_float32, float, float, float)
QUANTIZE(fpgaflow_quantize_bfloat16, bfloat16, bfloat16, bfloat16)
QUANTIZE(fpgaflow_quantize_widened, bfloat16, float, float)
QUANTIZE(fpgaflow_quantize_narrowed, float, bfloat16, float)
GRADIENTS(fpgaflow_gradients_float32, float, float, float)
GRADIENTS(fpgaflow_gradients_bfloat16, bfloat16, bfloat16, bfloat16)
GRADIENTS(fpgaflow_gradients_widened, bfloat16, float, float)
GRADIENTS(fpgaflow_gradients_narrowed, float, bfloat16, float)
