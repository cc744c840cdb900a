/* The zoo's encoders, neurons and decoders as loops over blocks of values that stay in a core's cache.
 *
 * Each exported function computes what its definition in zoo/encoders, zoo/neurons or zoo/decoders computes: forward
 * bit for bit, backward within rounding. Tensors are dense and lie in memory as rows: (T, values) with one row a
 * timestep, or (samples, values). `type` is 0 for float32, 1 for bfloat16, 2 for float16; arithmetic is float32.
 * Functions return OK, NO_MEMORY if scratch is missing, or NOT_FINITE if they met what is not and have no result.
 * The result does not depend on `threads`.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
/* GCC clones nothing that it outlines for OpenMP, so clones are made of the functions that handle one block. */
#ifdef ZOO_TARGET_CLONES
#define CLONED __attribute__((noinline, target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONED
#endif
#ifdef __GNUC__
#define INLINE static inline __attribute__((always_inline))
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define INLINE static inline
#define PREFETCH(address) ((void)(address))
#define __restrict__ __restrict
#endif
/* A loop whose iterations are independent, though an output may lie over the input that it is computed from. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT __pragma(loop(ivdep))
#endif
/* library.py states the arguments of each exported function again, and compares the hash of its source. */
#ifndef ZOO_SOURCE
#error "define ZOO_SOURCE, the sha256 of this file"
#endif
EXPORT const char zoo_source[] = ZOO_SOURCE;

enum { BLOCK = 512, LANES = 16, PLANES = 8, MOST_TIMESTEPS = 32, CACHE_LINE = 64 };
enum { OK, NO_MEMORY, NOT_FINITE };
enum { FLOAT32, BFLOAT16, FLOAT16 };
enum { INTEGRATE, DIVIDE, MULTIPLY, WAIT }; /* h = v + x, v + (x - v) / gain, v + (x - v) * gain */
enum { STRAIGHT, SIGMOID, TANH, FOURIER, NUMBER };  /* surrogates of the planes; NUMBER: of their number, slope 1 */

typedef int64_t index_t;

INLINE float from_bits(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
INLINE uint32_t to_bits(float x) { uint32_t bits; memcpy(&bits, &x, 4); return bits; }
INLINE index_t least(index_t a, index_t b) { return a < b ? a : b; }

INLINE float half_to_float(uint16_t h) {
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
    float scaled = from_bits(magnitude) * 0x1p112f;  /* exact, denormals too */
    uint32_t bits = magnitude >= 0x0f800000 ? magnitude | 0x7f800000 : to_bits(scaled);
    return from_bits(bits | sign);
}

INLINE uint16_t float_to_half(float x) {
    uint32_t bits = to_bits(x), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
    uint32_t normal = (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    uint32_t small = to_bits(from_bits(magnitude) + 0.5f) - 0x3f000000;  /* the sum rounds to multiples of 2^-24 */
    uint32_t finite = magnitude < 0x38800000 ? small : normal;
    uint32_t special = magnitude > 0x7f800000 ? 0x7e00 : 0x7c00;
    return (uint16_t)(sign | (magnitude >= 0x477ff000 ? special : finite));
}

INLINE uint16_t float_to_bfloat(float x) {
    uint32_t bits = to_bits(x);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

INLINE float load(const void *from, int type, index_t i) {
    if (type == FLOAT32) return ((const float *)from)[i];
    uint16_t bits = ((const uint16_t *)from)[i];
    return type == BFLOAT16 ? from_bits((uint32_t)bits << 16) : half_to_float(bits);
}

/* n values as float32: where they lie, or widened into scratch. */
INLINE const float *widen(const void *from, int type, index_t start, int n, float *__restrict__ scratch) {
    const uint16_t *narrow = (const uint16_t *)from + start;
    if (type == FLOAT32) return (const float *)from + start;
    if (type == BFLOAT16)
        for (int i = 0; i < n; i++) scratch[i] = from_bits((uint32_t)narrow[i] << 16);
    else
        for (int i = 0; i < n; i++) scratch[i] = half_to_float(narrow[i]);
    return scratch;
}

/* Where n results are computed: at their place, or in scratch that `narrow` then rounds into it. */
INLINE float *place(void *to, int type, index_t start, float *scratch) {
    return type == FLOAT32 ? (float *)to + start : scratch;
}

INLINE void narrow(const float *__restrict__ from, void *to, int type, index_t start, int n) {
    uint16_t *__restrict__ target = (uint16_t *)to + start;
    if (type == BFLOAT16)
        for (int i = 0; i < n; i++) target[i] = float_to_bfloat(from[i]);
    else if (type == FLOAT16)
        for (int i = 0; i < n; i++) target[i] = float_to_half(from[i]);
}

/* A loop over one type alone is vectorised: CALL with each in turn as TYPE. */
#define FOR_TYPE(CALL)                                            \
    switch (type) {                                               \
        case FLOAT32: { enum { TYPE = FLOAT32 }; CALL; } break;   \
        case BFLOAT16: { enum { TYPE = BFLOAT16 }; CALL; } break; \
        default: { enum { TYPE = FLOAT16 }; CALL; }               \
    }

/* Encoders ----------------------------------------------------------------------------------------------------------*/

/* lo = min(0, min x) and hi = max(1, max x) of a block; as in torch, a NaN leaves the constants. */
CLONED static void block_range(const void *x, int type, index_t start, int n, float *range) {
    float scratch[BLOCK], lo[LANES], hi[LANES];
    uint32_t nan[LANES];
    const float *v = widen(x, type, start, n, scratch);
    for (int j = 0; j < LANES; j++) lo[j] = 0, hi[j] = 1, nan[j] = 0;
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            lo[j] = v[i + j] < lo[j] ? v[i + j] : lo[j];
            hi[j] = v[i + j] > hi[j] ? v[i + j] : hi[j];
            nan[j] |= v[i + j] != v[i + j];
        }
    for (; i < n; i++) {
        lo[0] = v[i] < lo[0] ? v[i] : lo[0];
        hi[0] = v[i] > hi[0] ? v[i] : hi[0];
        nan[0] |= v[i] != v[i];
    }
    range[0] = 0, range[1] = 1, range[2] = 0;
    for (int j = 0; j < LANES; j++) {
        range[0] = lo[j] < range[0] ? lo[j] : range[0];
        range[1] = hi[j] > range[1] ? hi[j] : range[1];
        range[2] = nan[j] ? 1 : range[2];
    }
}

/* Plane k of a value is bit k of round(255 (x - lo) / width). */
CLONED static void block_planes(
    const void *x, int type, index_t start, int n, float lo, float width, void *planes, index_t stride
) {
    float scratch[BLOCK];
    uint32_t level[BLOCK];
    const float *v = widen(x, type, start, n, scratch);
    for (int i = 0; i < n; i++) {
        float intensity = (v[i] - lo) / width * 255;
        uint32_t rounded = to_bits(intensity + 0x1.8p23f);  /* ties to even, in the lowest bits */
        level[i] = fabsf(intensity) < 0x1p22f ? rounded : 0;
    }
    for (int k = 0; k < PLANES; k++) {
        if (type == FLOAT32) {
            uint32_t *__restrict__ plane = (uint32_t *)planes + k * stride + start;
            for (int i = 0; i < n; i++) plane[i] = (0 - ((level[i] >> k) & 1)) & 0x3f800000;
        } else {
            uint16_t *__restrict__ plane = (uint16_t *)planes + k * stride + start;
            uint16_t one = type == BFLOAT16 ? 0x3f80 : 0x3c00;
            for (int i = 0; i < n; i++) plane[i] = (uint16_t)(((level[i] >> k) & 1) * one);
        }
    }
}

INLINE float rounded_to(float x, int type) {
    if (type == FLOAT32) return x;
    return type == BFLOAT16 ? from_bits((uint32_t)float_to_bfloat(x) << 16) : half_to_float(float_to_half(x));
}

INLINE void store(float x, void *to, int type, index_t i) {
    if (type == FLOAT32)
        ((float *)to)[i] = x;
    else
        ((uint16_t *)to)[i] = type == BFLOAT16 ? float_to_bfloat(x) : float_to_half(x);
}

INLINE void numbers(const void *x, int type, index_t start, int n, float lo, float width, void *out) {
    for (int i = 0; i < n; i++) {
        float intensity = (load(x, type, start + i) - lo) / width * 255;
        float level = fabsf(intensity) < 0x1p22f ? intensity + 0x1.8p23f - 0x1.8p23f : 0;
        store(rounded_to(level, type) / 255, out, type, start + i);
    }
}

/* The numbers that planes stand for, the level over 255. */
CLONED static void block_numbers(const void *x, int type, index_t start, int n, float lo, float width, void *out) {
    FOR_TYPE(numbers(x, TYPE, start, n, lo, width, out))
}

/* x (samples, values) -> planes (8, samples, values), or with `number` (samples, values) that they stand for; and ranges
 * (samples, 2): lo and hi. */
EXPORT int zoo_planes(
    const void *x, int type, index_t samples, index_t values, int number, void *planes, float *ranges, int threads
) {
    index_t parts = (values + BLOCK - 1) / BLOCK, items = samples * parts;
    float *found = malloc(items * 3 * sizeof(float));
    if (!found) return NO_MEMORY;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (index_t item = 0; item < items; item++) {
        index_t start = item % parts * BLOCK;
        block_range(x, type, item / parts * values + start, (int)least(BLOCK, values - start), found + 3 * item);
    }
    for (index_t sample = 0; sample < samples; sample++) {
        float lo = 0, hi = 1, nan = 0;
        for (const float *part = found + 3 * sample * parts; part < found + 3 * (sample + 1) * parts; part += 3) {
            lo = part[0] < lo ? part[0] : lo;
            hi = part[1] > hi ? part[1] : hi;
            nan += part[2];
        }
        ranges[2 * sample] = nan > 0 ? 0 : lo;
        ranges[2 * sample + 1] = nan > 0 ? 1 : hi;
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (index_t item = 0; item < items; item++) {
        index_t sample = item / parts, start = item % parts * BLOCK;
        float lo = ranges[2 * sample], width = ranges[2 * sample + 1] - lo;
        int n = (int)least(BLOCK, values - start);
        if (number)
            block_numbers(x, type, sample * values + start, n, lo, width, planes);
        else
            block_planes(x, type, sample * values + start, n, lo, width, planes, samples * values);
    }
    free(found);
    return OK;
}

/* sin(2 pi z) for |z| <= 1/4, to 5e-14. */
INLINE double sine_of_turns(double z) {
    double y = z * 6.283185307179586476925, u = y * y, s = 2.8114572543455206e-15;
    s = s * u - 7.6471637318198164e-13;
    s = s * u + 1.6059043836821613e-10;
    s = s * u - 2.5052108385441720e-08;
    s = s * u + 2.7557319223985893e-06;
    s = s * u - 1.9841269841269841e-04;
    s = s * u + 8.3333333333333333e-03;
    s = s * u - 1.6666666666666667e-01;
    return y + y * u * s;
}

/* exp(-y) for 0 <= y <= 20, to 6e-9. */
INLINE double exp_negative(double y) {
    double shifted = y * -1.4426950408889634074 + 0x1.8p52, n = shifted - 0x1.8p52;  /* rounded to an integer */
    double r = -y - n * 0.69314718055994530942, p = 1.9841269841269841e-04;
    int64_t bits;
    memcpy(&bits, &shifted, 8);
    bits = (int64_t)((uint64_t)(bits + 1023) << 52);
    double scale;
    memcpy(&scale, &bits, 8);
    p = p * r + 1.3888888888888889e-03;
    p = p * r + 8.3333333333333333e-03;
    p = p * r + 4.1666666666666667e-02;
    p = p * r + 1.6666666666666667e-01;
    p = p * r + 0.5;
    p = p * r + 1;
    return (p * r + 1) * scale;
}

/* s (1 - s) of s = sigmoid(u), which is even in u: nothing cancels at -|u|. */
INLINE double bump(double u) {
    double e = exp_negative(u);
    return e / ((1 + e) * (1 + e));
}

/* total = sum over k of gamma_k grad_k f_k'(I), from the highest plane to the lowest: an angle doubles from a plane to
 * the one below, with b = 2 cos t, 2 cos 2t = b^2 - 2 and sin 2t = b sin t. Seven doublings multiply an error by 4^7. */
INLINE void contract(
    const float *intensity, int n, int wave, int scaled, const void *grads, int type, index_t start, index_t stride,
    double *__restrict__ total
) {
    double cosine[BLOCK], sine[BLOCK];
    float scratch[BLOCK];
    for (int i = 0; i < n; i++) {
        double turns = intensity[i] * (1 / 256.0), off = fabs(turns - (turns + 0x1.8p52 - 0x1.8p52));
        cosine[i] = 2 * sine_of_turns(0.25 - off);
        sine[i] = sine_of_turns(off < 0.25 ? off : 0.5 - off);
        total[i] = 0;
    }
    for (int k = PLANES - 1; k >= (scaled ? 1 : 0); k--) {
        const float *grad = widen(grads, type, start + k * stride, n, scratch);
        double factor = (scaled ? k / (double)(1 << (PLANES - 1 - k)) : 1.0) / (1 << k);
        if (wave == FOURIER) {  /* 2 (cos t + cos 3t + ... + cos 9t) = b (q^2 + q - 1), q = 2 cos 4t (Chebyshev) */
            for (int i = 0; i < n; i++) {
                double b = cosine[i], twice = b * b - 2, q = twice * twice - 2;
                total[i] -= grad[i] * (b * (q * q + q - 1)) * factor;
                cosine[i] = twice;
            }
        } else {  /* sigmoid: alpha pi cos t s (1 - s) at u = alpha sin t; tanh: sech^2 u / 2 = 2 s (1 - s) at 2u */
            double steep = wave == TANH ? 20 : 10;
            factor *= steep * -1.5707963267948966;
            for (int i = 0; i < n; i++) {
                double b = cosine[i];
                total[i] += grad[i] * (b * bump(steep * fabs(sine[i]))) * factor;
                cosine[i] = b * b - 2;
                sine[i] *= b;
            }
        }
    }
}

/* Arriving gradients d = dL/dx_hat / width of a block, plus the shares of lo and hi at the values that equal them.
 * sums: of d, of d x_hat, and how many values equal lo and hi. */
CLONED static void block_plane_gradient(
    const void *x, int type, index_t start, int n, int wave, int scaled, const float *range, const float *shares,
    const void *grads, index_t stride, void *dx, double *sums
) {
    float scratch[BLOCK], unit[BLOCK], intensity[BLOCK], result[BLOCK];
    double total[BLOCK], lanes[4][LANES];
    const float *v = widen(x, type, start, n, scratch);
    float *d = place(dx, type, start, result), lo = range[0], hi = range[1], width = hi - lo;
    for (int i = 0; i < n; i++) {
        unit[i] = (v[i] - lo) / width;
        intensity[i] = unit[i] * 255;
    }
    if (wave == NUMBER) {
        const float *grad = widen(grads, type, start, n, result);
        for (int i = 0; i < n; i++) d[i] = grad[i] / width;
    } else if (wave == STRAIGHT) {
        float wide[BLOCK];
        for (int i = 0; i < n; i++) result[i] = 0;
        for (int k = 0; k < PLANES; k++) {
            const float *grad = widen(grads, type, start + k * stride, n, wide);
            float place_value = (float)(1 << k);
            for (int i = 0; i < n; i++) result[i] += grad[i] * 255 * place_value;
        }
        for (int i = 0; i < n; i++) d[i] = result[i] / 21845 / width;
    } else {
        contract(intensity, n, wave, scaled, grads, type, start, stride, total);
        for (int i = 0; i < n; i++) d[i] = (float)(total[i] * 255) / width;
    }
    memset(lanes, 0, sizeof(lanes));
    for (int i = 0; i < n; i += LANES) {
        int m = (int)least(LANES, n - i);
        for (int j = 0; j < m; j++) {
            lanes[0][j] += d[i + j];
            lanes[1][j] += d[i + j] * unit[i + j];
            lanes[2][j] += v[i + j] == lo;
            lanes[3][j] += v[i + j] == hi;
        }
    }
    for (int s = 0; s < 4; s++) {
        sums[s] = 0;
        for (int j = 0; j < LANES; j++) sums[s] += lanes[s][j];
    }
    if (shares)
        for (int i = 0; i < n; i++) d[i] += (v[i] == lo ? shares[0] : 0) + (v[i] == hi ? shares[1] : 0);
    narrow(d, dx, type, start, n);
}

/* dL/dx of zoo_planes from grads (8, samples, values), `stride` values from plane to plane. */
EXPORT int zoo_planes_backward(
    const void *x, int type, index_t samples, index_t values, int wave, int scaled, const float *ranges,
    const void *grads, index_t stride, void *dx, int threads
) {
    index_t parts = (values + BLOCK - 1) / BLOCK, items = samples * parts;
    double *sums = malloc(items * 4 * sizeof(double));
    float *shares = malloc(samples * 2 * sizeof(float));
    if (!sums || !shares) {
        free(sums);
        free(shares);
        return NO_MEMORY;
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (index_t item = 0; item < items; item++) {
        index_t sample = item / parts, start = item % parts * BLOCK;
        int n = (int)least(BLOCK, values - start);
        block_plane_gradient(x, type, sample * values + start, n, wave, scaled, ranges + 2 * sample, NULL, grads,
                             stride, dx, sums + 4 * item);
    }
    int status = OK;
    for (index_t item = 0; item < items; item++)
        if (!isfinite(sums[4 * item]) || !isfinite(sums[4 * item + 1])) status = NOT_FINITE;
    for (index_t sample = 0; sample < samples; sample++) {  /* equal extremes share a bound's gradient equally */
        double sum[4] = {0, 0, 0, 0};
        for (index_t item = sample * parts; item < (sample + 1) * parts; item++)
            for (int s = 0; s < 4; s++) sum[s] += sums[4 * item + s];
        shares[2 * sample] = ranges[2 * sample] < 0 ? (float)((sum[1] - sum[0]) / sum[2]) : 0;
        shares[2 * sample + 1] = ranges[2 * sample + 1] > 1 ? (float)(-sum[1] / sum[3]) : 0;
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (index_t item = 0; item < items; item++) {
        index_t sample = item / parts, start = item % parts * BLOCK;
        const float *share = shares + 2 * sample;
        double *sum = sums + 4 * item;
        if ((sum[2] > 0 && share[0] != 0) || (sum[3] > 0 && share[1] != 0))
            block_plane_gradient(x, type, sample * values + start, (int)least(BLOCK, values - start), wave, scaled,
                                 ranges + 2 * sample, share, grads, stride, dx, sum);
    }
    free(sums);
    free(shares);
    return status;
}

/* Neurons -----------------------------------------------------------------------------------------------------------*/

typedef struct {
    int charge;    /* INTEGRATE, DIVIDE or MULTIPLY */
    int soft;      /* a spike takes threshold from v; else it sets v to 0 */
    int detached;  /* the reset is left out of the gradient */
    int waits;     /* all currents are added to v before the first timestep; the charge is not used */
    int by_rate;   /* the gradient is that of min(max(mean current / threshold, 0), 1); else the surrogate's */
    float gain;
    float threshold;
    float initial;
    float alpha;
    float scale;   /* currents are divided by it, and spikes are worth it */
} neuron_t;

/* Currents x (timesteps, values), `stride` values from timestep to timestep, and the part of them that a block holds. */
typedef struct {
    const void *x;
    int type;
    index_t timesteps, stride, start;
    int n;
} currents_t;

typedef union {
    float wide[BLOCK];
    uint16_t narrow[BLOCK];
} scratch_t;

INLINE void divide(const void *x, int type, index_t start, int n, float scale, scratch_t *quotients) {
    for (int i = 0; i < n; i++) {
        float quotient = load(x, type, start + i) / scale;
        if (type == FLOAT32)
            quotients->wide[i] = quotient;
        else
            quotients->narrow[i] = type == BFLOAT16 ? float_to_bfloat(quotient) : float_to_half(quotient);
    }
}

/* The currents of a timestep over scale, in their type: where they lie, or in scratch. */
INLINE const void *currents_at(const currents_t *c, int type, index_t t, float scale, scratch_t *scratch) {
    index_t start = c->start + t * c->stride;
    if (scale == 1) return (const char *)c->x + start * (type == FLOAT32 ? sizeof(float) : sizeof(uint16_t));
    divide(c->x, type, start, c->n, scale, scratch);
    return scratch;
}

INLINE void widened(const currents_t *c, int type, index_t t, float scale, float *__restrict__ wide) {
    scratch_t scratch;
    const void *currents = currents_at(c, type, t, scale, &scratch);
    for (int i = 0; i < c->n; i++) wide[i] = load(currents, type, i);
}

/* The same in float32, as `widen`. */
INLINE const float *wide_currents_at(const currents_t *c, index_t t, float scale, float *wide) {
    int type = c->type;
    if (scale == 1) return widen(c->x, type, c->start + t * c->stride, c->n, wide);
    FOR_TYPE(widened(c, TYPE, t, scale, wide))
    return wide;
}

INLINE void sum_currents(const currents_t *c, float scale, float *__restrict__ total) {
    float wide[BLOCK];
    for (int i = 0; i < c->n; i++) total[i] = 0;
    for (index_t t = 0; t < c->timesteps; t++) {
        const float *current = wide_currents_at(c, t, scale, wide);
        for (int i = 0; i < c->n; i++) total[i] += current[i];
    }
}

/* The potential before the first timestep. */
INLINE void start_potential(const neuron_t *neuron, const currents_t *c, float *__restrict__ v) {
    float initial = neuron->initial;
    if (neuron->waits) {
        sum_currents(c, neuron->scale, v);
        for (int i = 0; i < c->n; i++) v[i] = initial + v[i];
    } else {
        for (int i = 0; i < c->n; i++) v[i] = initial;
    }
}

INLINE float has_fired(float h, float threshold) { return h >= threshold ? 1.0f : 0.0f; }

INLINE float charged(int charge, float v, float current, float gain) {
    if (charge == INTEGRATE) return v + current;
    if (charge == DIVIDE) return v + (current - v) / gain;
    return v + (current - v) * gain;
}

/* v after the spikes of h. */
INLINE float after_reset(int soft, float h, float threshold) {
    float fired = has_fired(h, threshold);
    return soft ? h - threshold * fired : h * (1 - fired);
}

/* What spikes are worth, and what the others, in bits of their type. */
typedef struct {
    uint32_t on, off;
} worth_t;

INLINE worth_t worth_of_spikes(float scale, int type) {
    float on = scale, off = 0 * scale;
    if (type == FLOAT32) return (worth_t){to_bits(on), to_bits(off)};
    if (type == BFLOAT16) return (worth_t){float_to_bfloat(on), float_to_bfloat(off)};
    return (worth_t){float_to_half(on), float_to_half(off)};
}

INLINE void store_spike(worth_t worth, int fired, void *to, int type, index_t i) {
    if (type == FLOAT32)
        ((float *)to)[i] = from_bits(fired ? worth.on : worth.off);
    else
        ((uint16_t *)to)[i] = (uint16_t)(fired ? worth.on : worth.off);
}

/* A timestep of n values: v becomes the next one; h, the potential before firing, is kept, and spikes are, unless NULL. */
INLINE void step(
    const neuron_t *neuron, int charge, int soft, const currents_t *c, int type, index_t t, float *__restrict__ v,
    float *__restrict__ kept, void *spikes, index_t to
) {
    scratch_t scratch;
    float gain = neuron->gain, threshold = neuron->threshold;
    const void *currents = charge == WAIT ? NULL : currents_at(c, type, t, neuron->scale, &scratch);
    worth_t worth = worth_of_spikes(neuron->scale, type);
    INDEPENDENT
    for (int i = 0; i < c->n; i++) {
        float h = charge == WAIT ? v[i] : charged(charge, v[i], load(currents, type, i), gain);
        if (kept) kept[i] = h;
        if (spikes) store_spike(worth, h >= threshold, spikes, type, to + i);
        v[i] = after_reset(soft, h, threshold);
    }
}

/* As FOR_TYPE: CALL with what a flag is, as NAME. */
#define FOR_FLAG(NAME, FLAG, CALL)            \
    if (FLAG) { enum { NAME = 1 }; CALL; }    \
    else { enum { NAME = 0 }; CALL; }

/* As FOR_TYPE: CALL with a neuron's charge and reset as CHARGE and SOFT. */
#define FOR_NEURON(CALL)                                                                              \
    switch (neuron->waits ? WAIT : neuron->charge) {                                                  \
        case WAIT: { enum { CHARGE = WAIT }; FOR_FLAG(SOFT, neuron->soft, CALL) } break;              \
        case INTEGRATE: { enum { CHARGE = INTEGRATE }; FOR_FLAG(SOFT, neuron->soft, CALL) } break;    \
        case DIVIDE: { enum { CHARGE = DIVIDE }; FOR_FLAG(SOFT, neuron->soft, CALL) } break;          \
        default: { enum { CHARGE = MULTIPLY }; FOR_FLAG(SOFT, neuron->soft, CALL) }                   \
    }

CLONED static void block_fire(const neuron_t *neuron, const currents_t *c, void *spikes, index_t stride) {
    float v[BLOCK];
    start_potential(neuron, c, v);
    int type = c->type;
    for (index_t t = 0; t < c->timesteps; t++) {
        index_t to = c->start + t * stride;
        FOR_NEURON(FOR_TYPE(step(neuron, CHARGE, SOFT, c, TYPE, t, v, NULL, spikes, to)))
    }
}

/* Currents x (timesteps, values), `stride` values from timestep to timestep (0: the same at every one), -> spikes
 * (timesteps, values), each worth `scale`; they may lie over x. */
EXPORT int zoo_fire(
    const void *x, int type, index_t timesteps, index_t values, index_t stride, const neuron_t *neuron, void *spikes,
    int threads
) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (index_t start = 0; start < values; start += BLOCK) {
        currents_t block = {x, type, timesteps, stride, start, (int)least(BLOCK, values - start)};
        block_fire(neuron, &block, spikes, values);
    }
    return OK;
}

/* Gradients of spikes (timesteps, values) and where those of the currents go; of a learned gain; of a learned scale,
 * or NULL. */
typedef struct {
    const void *grads;
    void *dx;
    index_t stride;
    double *dgain, *dscale;
} gradients_t;

INLINE double sum(const float *terms, int n) {
    double lanes[LANES] = {0}, total = 0;
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) lanes[j] += terms[i + j];
    for (int j = 0; j < LANES; j++) total += lanes[j];
    for (; i < n; i++) total += terms[i];
    return total;
}

/* dL/dx of a timestep from dL/d(x / scale), and the timestep's share of dL/dscale. */
INLINE void store_gradient(
    const neuron_t *neuron, const currents_t *c, const gradients_t *g, index_t t, const float *__restrict__ arrived,
    const float *__restrict__ h
) {
    float divided[BLOCK], wide[BLOCK], currents[BLOCK], terms[BLOCK], scale = neuron->scale;
    index_t start = c->start + t * g->stride;
    const float *result = arrived;
    if (scale != 1) {
        for (int i = 0; i < c->n; i++) divided[i] = arrived[i] / scale;
        result = divided;
    }
    if (g->dscale) {
        const float *grad = widen(g->grads, c->type, start, c->n, wide);
        const float *current = wide_currents_at(c, t, scale, currents);
        for (int i = 0; i < c->n; i++)
            terms[i] = grad[i] * has_fired(h[i], neuron->threshold) - result[i] * current[i];
        *g->dscale += sum(terms, c->n);
    }
    if (c->type != FLOAT32)
        narrow(result, g->dx, c->type, start, c->n);
    else if (result != (float *)g->dx + start)
        memcpy((float *)g->dx + start, result, c->n * sizeof(float));
}

/* Each current's gradient: that of the rate, which all timesteps share. */
INLINE void rate_gradient(const neuron_t *neuron, const currents_t *c, const gradients_t *g, float *__restrict__ result) {
    float wide[BLOCK], total[BLOCK], scale = neuron->scale, threshold = neuron->threshold;
    float timesteps = (float)c->timesteps;
    for (int i = 0; i < c->n; i++) result[i] = 0;
    for (index_t t = 0; t < c->timesteps; t++) {
        const float *grad = widen(g->grads, c->type, c->start + t * g->stride, c->n, wide);
        for (int i = 0; i < c->n; i++) result[i] += grad[i] * scale;
    }
    sum_currents(c, scale, total);
    for (int i = 0; i < c->n; i++) {
        float rate = total[i] / timesteps / threshold;
        result[i] = rate >= 0 && rate <= 1 ? result[i] / threshold / timesteps : 0;
    }
}

/* dL/dv after a timestep becomes dL/dh, from gradients of spikes that begin at `start`. */
INLINE void fire_gradient(
    const neuron_t *neuron, int soft, int resets, const void *grads, int type, index_t start, int n,
    const float *__restrict__ h, float *__restrict__ carry
) {
    float half = neuron->alpha / 2, steep = (float)(1.57079632679489662 * neuron->alpha);
    float scale = neuron->scale, threshold = neuron->threshold;
    for (int i = 0; i < n; i++) {
        float scaled = steep * (h[i] - threshold);
        float slope = 1 / (1 + scaled * scaled) * half;  /* rounded as torch's reciprocal times half */
        float kept = soft ? 1 : 1 - has_fired(h[i], threshold);
        float taken = resets ? carry[i] * (soft ? threshold : h[i]) : 0;
        carry[i] = (load(grads, type, start + i) * scale - taken) * slope + carry[i] * kept;
    }
}

/* dL/dh becomes dL/dv before the timestep; returns the gradient of its currents: carry itself, or in `arrived`. */
INLINE const float *charge_gradient(
    const neuron_t *neuron, const currents_t *c, const gradients_t *g, index_t t, const float *__restrict__ last,
    float *__restrict__ carry, float *__restrict__ arrived
) {
    float wide[BLOCK], terms[BLOCK], v[BLOCK], gain = neuron->gain;
    int n = c->n;
    if (neuron->charge == INTEGRATE) return carry;
    if (neuron->charge == DIVIDE) {
        for (int i = 0; i < n; i++) arrived[i] = carry[i] / gain, carry[i] -= arrived[i];
        return arrived;
    }
    const float *current = wide_currents_at(c, t, neuron->scale, wide);
    if (last)
        for (int i = 0; i < n; i++) v[i] = after_reset(neuron->soft, last[i], neuron->threshold);
    else
        start_potential(neuron, c, v);
    for (int i = 0; i < n; i++) terms[i] = carry[i] * (current[i] - v[i]);
    *g->dgain += sum(terms, n);
    for (int i = 0; i < n; i++) arrived[i] = carry[i] * gain, carry[i] -= arrived[i];
    return arrived;
}

CLONED static void block_fire_backward(const neuron_t *neuron, const currents_t *c, const gradients_t *g) {
    float v[BLOCK], carry[BLOCK], scratch[BLOCK], h[MOST_TIMESTEPS][BLOCK];
    int type = c->type, is_shared = neuron->waits || neuron->by_rate;  /* each timestep's current has the same gradient */
    start_potential(neuron, c, v);
    for (index_t t = 0; t < c->timesteps; t++)
        FOR_NEURON(FOR_TYPE(step(neuron, CHARGE, SOFT, c, TYPE, t, v, h[t], NULL, 0)))
    for (int i = 0; i < c->n; i++) carry[i] = 0;
    if (neuron->by_rate) rate_gradient(neuron, c, g, carry);
    for (index_t t = c->timesteps - 1; t >= 0 && !neuron->by_rate; t--) {
        int resets = !neuron->detached && t != c->timesteps - 1;  /* nothing sees the last, not even an infinite h */
        index_t start = c->start + t * g->stride;
        FOR_FLAG(SOFT, neuron->soft, FOR_FLAG(RESETS, resets,
            FOR_TYPE(fire_gradient(neuron, SOFT, RESETS, g->grads, TYPE, start, c->n, h[t], carry))))
        if (is_shared) continue;
        float *arrived = neuron->scale == 1 ? place(g->dx, type, start, scratch) : scratch;
        const float *gradient = charge_gradient(neuron, c, g, t, t ? h[t - 1] : NULL, carry, arrived);
        store_gradient(neuron, c, g, t, gradient, h[t]);
    }
    for (index_t t = 0; t < c->timesteps && is_shared; t++) store_gradient(neuron, c, g, t, carry, h[t]);
}

/* dL/dx (timesteps, values) of zoo_fire, and `learned`: dL/dgain, and dL/dscale if it is wanted. */
EXPORT int zoo_fire_backward(
    const void *x, int type, index_t timesteps, index_t values, index_t stride, const neuron_t *neuron,
    const void *grads, void *dx, int wants_scale, double *learned, int threads
) {
    index_t parts = (values + BLOCK - 1) / BLOCK;
    double *sums = calloc(2 * parts, sizeof(double));
    if (!sums || timesteps > MOST_TIMESTEPS) {
        free(sums);
        return NO_MEMORY;
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (index_t part = 0; part < parts; part++) {
        index_t start = part * BLOCK;
        currents_t block = {x, type, timesteps, stride, start, (int)least(BLOCK, values - start)};
        gradients_t gradients = {grads, dx, values, sums + 2 * part, wants_scale ? sums + 2 * part + 1 : NULL};
        block_fire_backward(neuron, &block, &gradients);
    }
    learned[0] = learned[1] = 0;
    for (index_t part = 0; part < parts; part++) {
        learned[0] += sums[2 * part];
        learned[1] += sums[2 * part + 1];
    }
    free(sums);
    return OK;
}

/* Quantised ReLU ----------------------------------------------------------------------------------------------------*/

/* scale * floor(levels * share + 1/2) / levels of share = clip(x / scale, 0, 1); every step is rounded to the type. */
INLINE void quantise(
    const void *x, int type, index_t start, int n, float scale, float levels, void *out
) {
    float worth = rounded_to(scale, type);
    for (int i = 0; i < n; i++) {
        float share = rounded_to(load(x, type, start + i) / scale, type);
        share = share < 0 ? 0 : share > 1 ? 1 : share;
        float shifted = rounded_to(rounded_to(share * levels, type) + 0.5f, type);
        store(worth * rounded_to(floorf(shifted) / levels, type), out, type, start + i);
    }
}

CLONED static void block_quantise(
    const void *x, int type, index_t start, int n, float scale, float levels, void *out
) {
    FOR_TYPE(quantise(x, TYPE, start, n, scale, levels, out))
}

/* x (values) -> out (values): the nearest of `levels` + 1 levels from 0 to scale. */
EXPORT int zoo_quantise(
    const void *x, int type, index_t values, float scale, float levels, void *out, int threads
) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (index_t start = 0; start < values; start += BLOCK)
        block_quantise(x, type, start, (int)least(BLOCK, values - start), scale, levels, out);
    return OK;
}

/* The gradient is passed on inside [0, scale]; the scale has the level's, and inside less the share's. */
INLINE void quantise_gradient(
    const float *__restrict__ x, const float *__restrict__ grads, int type, int n, float scale, float levels,
    float *__restrict__ dx, float *__restrict__ terms
) {
    for (int i = 0; i < n; i++) {
        float share = rounded_to(x[i] / scale, type), grad = grads[i];
        float clipped = share < 0 ? 0 : share > 1 ? 1 : share;
        float level = floorf(clipped * levels + 0.5f) / levels, inside = share == clipped ? 1.0f : 0.0f;
        dx[i] = grad * inside;
        terms[i] = grad * (level - clipped * inside);
    }
}

CLONED static double block_quantise_gradient(
    const void *x, int type, index_t start, int n, float scale, float levels, const void *grads, void *dx
) {
    float wide[BLOCK], wide_grads[BLOCK], result[BLOCK], terms[BLOCK];
    const float *currents = widen(x, type, start, n, wide), *arrived = widen(grads, type, start, n, wide_grads);
    float *target = place(dx, type, start, result);
    FOR_TYPE(quantise_gradient(currents, arrived, TYPE, n, scale, levels, target, terms))
    narrow(target, dx, type, start, n);
    return sum(terms, n);
}

/* dL/dx of zoo_quantise, and dL/dscale. */
EXPORT int zoo_quantise_backward(
    const void *x, int type, index_t values, float scale, float levels, const void *grads, void *dx, double *dscale,
    int threads
) {
    index_t parts = (values + BLOCK - 1) / BLOCK;
    double *sums = malloc(parts * sizeof(double));
    if (!sums) return NO_MEMORY;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (index_t part = 0; part < parts; part++) {
        index_t start = part * BLOCK;
        sums[part] = block_quantise_gradient(x, type, start, (int)least(BLOCK, values - start), scale, levels, grads, dx);
    }
    *dscale = 0;
    for (index_t part = 0; part < parts; part++) *dscale += sums[part];
    free(sums);
    return OK;
}

/* Digits -------------------------------------------------------------------------------------------------------------*/

CLONED static void block_digits(const currents_t *c, const float *places, float levels, void *out, index_t stride) {
    float wide[BLOCK], level[BLOCK], digits[BLOCK];
    for (int i = 0; i < c->n; i++) level[i] = 0;
    for (index_t t = 0; t < c->timesteps; t++) {
        const float *current = widen(c->x, c->type, c->start + t * c->stride, c->n, wide);
        for (int i = 0; i < c->n; i++) level[i] += places[t] * current[i];
    }
    for (int i = 0; i < c->n; i++) {
        float nearest = floorf(level[i] + 0.5f);
        level[i] = nearest > levels ? levels : nearest >= 0 ? nearest : 0;  /* not a number: 0 */
    }
    for (index_t t = 0; t < c->timesteps; t++) {
        index_t to = c->start + t * stride;
        float *target = place(out, c->type, to, digits);
        for (int i = 0; i < c->n; i++) {
            float shifted = floorf(level[i] / places[t]);
            target[i] = shifted - 2 * floorf(shifted / 2);
        }
        narrow(target, out, c->type, to, c->n);
    }
}

/* Currents x (timesteps, values), `stride` values from timestep to timestep -> the digits (timesteps, values), worth
 * `places`, of the whole number from 0 to `levels` that is nearest to their sum. */
EXPORT int zoo_digits(
    const void *x, int type, index_t timesteps, index_t values, index_t stride, const float *places, float levels,
    void *out, int threads
) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (index_t start = 0; start < values; start += BLOCK) {
        currents_t block = {x, type, timesteps, stride, start, (int)least(BLOCK, values - start)};
        block_digits(&block, places, levels, out, values);
    }
    return OK;
}

/* Sums over time ----------------------------------------------------------------------------------------------------*/

CLONED static void block_sum(
    const void *x, int type, index_t timesteps, index_t stride, index_t start, int n, const float *weights,
    float divisor, void *out
) {
    float scratch[BLOCK], total[BLOCK], result[BLOCK];
    for (int i = 0; i < n; i++) total[i] = 0;
    for (index_t t = 0; t < timesteps; t++) {
        const float *spikes = widen(x, type, start + t * stride, n, scratch);
        for (int i = 0; i < n; i++) total[i] += spikes[i] * weights[t];
    }
    float *target = place(out, type, start, result);
    if (type != FLOAT32) {  /* rounded before the division too, as torch does */
        uint16_t rounded[BLOCK];
        narrow(total, rounded, type, 0, n);
        const float *back = widen(rounded, type, 0, n, scratch);
        for (int i = 0; i < n; i++) target[i] = back[i] / divisor;
    } else {
        for (int i = 0; i < n; i++) target[i] = total[i] / divisor;
    }
    narrow(target, out, type, start, n);
}

/* x (timesteps, values) -> out (values): the sum over t of weights[t] x_t, over divisor. */
EXPORT int zoo_sum(
    const void *x, int type, index_t timesteps, index_t values, const float *weights, float divisor, void *out,
    int threads
) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (index_t start = 0; start < values; start += BLOCK)
        block_sum(x, type, timesteps, values, start, (int)least(BLOCK, values - start), weights, divisor, out);
    return OK;
}

/* Average pooling of maps that lie pixel by pixel (channels last) ----------------------------------------------------*/

typedef struct {
    index_t channels;
    index_t height;
    index_t width;
    index_t out_height;
    index_t out_width;
    index_t kernel;
    index_t stride;
    index_t padding;
} window_t;

/* Rows or columns of a map. */
typedef struct {
    index_t first;
    int count;
} range_t;

/* Those that the mean at `at` is taken over: of the window there, or, backward, of the windows that cover it. */
INLINE range_t covered(const window_t *w, index_t at, index_t size, int backward) {
    index_t first = backward ? at + w->padding - w->kernel : at * w->stride - w->padding;
    index_t end = backward ? (at + w->padding) / w->stride + 1 : first + w->kernel;
    if (backward) first = first < 0 ? 0 : first / w->stride + 1;
    first = first < 0 ? 0 : first;
    end = least(end, size);
    return (range_t){first, end > first ? (int)(end - first) : 0};
}

#define MEAN(ROWS, COLUMNS)                                                                                \
    for (int i = 0; i < n; i++) {                                                                          \
        float sum = 0;                                                                                     \
        for (int y = 0; y < (ROWS); y++)                                                                   \
            for (int z = 0; z < (COLUMNS); z++) sum += load(from, type, start + y * line + z * pixel + i); \
        means[i] = sum / factor;                                                                           \
    }

/* Of n channels the sum over rows x columns pixels, over factor: in a register where the compiler knows the counts. */
INLINE void mean(
    const void *from, int type, index_t start, index_t line, index_t pixel, int rows, int columns, int n, float factor,
    float *__restrict__ means
) {
    switch (rows > 3 || columns > 3 ? 0 : 4 * rows + columns) {
        case 4 + 1: MEAN(1, 1) break;
        case 4 + 2: MEAN(1, 2) break;
        case 8 + 1: MEAN(2, 1) break;
        case 8 + 2: MEAN(2, 2) break;
        case 8 + 3: MEAN(2, 3) break;
        case 12 + 2: MEAN(3, 2) break;
        case 12 + 3: MEAN(3, 3) break;
        default: MEAN(rows, columns)
    }
}

/* One row of the map `to`, (images, height, width, channels), from the map `from`. */
INLINE void row_of_means(
    const window_t *w, const void *from, int type, index_t image, index_t row, int backward, void *to
) {
    float result[BLOCK], factor = (float)(w->kernel * w->kernel);
    index_t channels = w->channels, to_height = backward ? w->height : w->out_height;
    index_t height = backward ? w->out_height : w->height, width = backward ? w->out_width : w->width;
    index_t to_width = backward ? w->width : w->out_width;
    range_t rows = covered(w, row, height, backward);
    index_t line = width * channels, size = type == FLOAT32 ? 4 : 2;
    uintptr_t next = (uintptr_t)from + (image * height + rows.first + rows.count) * line * size;
    if (!backward)  /* fetch what the next call adds: a row may start a page, and processors look ahead within one */
        for (index_t i = 0; i < w->stride * line * size; i += CACHE_LINE) PREFETCH((const void *)(next + i));
    for (index_t column = 0; column < to_width; column++) {
        range_t columns = covered(w, column, width, backward);
        index_t start = ((image * height + rows.first) * width + columns.first) * channels;
        index_t target = ((image * to_height + row) * to_width + column) * channels;
        for (index_t c = 0; c < channels; c += BLOCK) {
            int n = (int)least(BLOCK, channels - c);
            float *means = place(to, type, target + c, result);
            mean(from, type, start + c, line, channels, rows.count, columns.count, n, factor, means);
            narrow(means, to, type, target + c, n);
        }
    }
}

CLONED static void row_pool(
    const window_t *w, const void *from, int type, index_t image, index_t row, int backward, void *to
) {
    FOR_TYPE(row_of_means(w, from, TYPE, image, row, backward, to))
}

/* x (images, height, width, channels) -> (images, out_height, out_width, channels), or back with `backward`. */
EXPORT int zoo_pool(
    const void *x, int type, index_t images, const window_t *window, void *out, int backward, int threads
) {
    index_t rows = backward ? window->height : window->out_height, items = images * rows;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (index_t item = 0; item < items; item++)
        row_pool(window, x, type, item / rows, item % rows, backward, out);
    return OK;
}
