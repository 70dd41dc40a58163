// A quantizer with a learned step in one pass each way: round(clamp(x / s, low, high)) * s and its gradients.
//
// The forward pass and the gradient to x are bit for bit those of the tensor operations. Sums go in the order of 16
// lanes and blocks whatever the instructions are, so that all machines train alike.

#include <cmath>
#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define EXPORTED extern "C" __attribute__((visibility("default"), target_clones("avx512f", "avx2", "default")))
#else
#define EXPORTED extern "C" __attribute__((visibility("default")))
#endif

namespace {

constexpr int lanes = 16;
constexpr std::int64_t block = 256 * lanes;  // float sums of so many; those of blocks are double

inline float code(float scaled, float low, float high) {
    const float above = scaled < low ? low : scaled;
    return std::nearbyint(above > high ? high : above);
}

}  // namespace

// y of x, (rows, size) each; a scale a row.
EXPORTED void fpgaflow_quantize(const float* x, float* y, std::int64_t rows, std::int64_t size, const float* scale,
                                float low, float high) {
    for (std::int64_t row = 0; row < rows; ++row) {
        const float s = scale[row];
        const float* from = x + row * size;
        float* to = y + row * size;
        for (std::int64_t i = 0; i < size; ++i) to[i] = code(from[i] / s, low, high) * s;
    }
}

// to_x (rows, size) and to_scale (rows) of the gradient g (rows, size) of y.
EXPORTED void fpgaflow_quantize_gradient(const float* g, const float* x, float* to_x, float* to_scale,
                                         std::int64_t rows, std::int64_t size, const float* scale, float low,
                                         float high) {
    for (std::int64_t row = 0; row < rows; ++row) {
        const float s = scale[row];
        double codes = 0, inside = 0;
        for (std::int64_t first = row * size; first < (row + 1) * size; first += block) {
            const std::int64_t left = (row + 1) * size - first, count = left < block ? left : block;
            float a[lanes] = {}, b[lanes] = {};
            const std::int64_t whole = count - count % lanes;
            for (std::int64_t i = first; i < first + whole; i += lanes) {
                for (int lane = 0; lane < lanes; ++lane) {
                    const float t = x[i + lane] / s, down = g[i + lane];
                    const float passed = (t <= low) | (t >= high) ? 0.0f : down;
                    to_x[i + lane] = passed;
                    a[lane] += down * code(t, low, high);
                    b[lane] += passed * t;
                }
            }
            for (std::int64_t i = first + whole; i < first + count; ++i) {
                const float t = x[i] / s;
                to_x[i] = (t <= low) | (t >= high) ? 0.0f : g[i];
                a[0] += g[i] * code(t, low, high);
                b[0] += to_x[i] * t;
            }
            for (int lane = 0; lane < lanes; ++lane) {
                codes += a[lane];
                inside += b[lane];
            }
        }
        to_scale[row] = static_cast<float>(codes - inside);
    }
}
