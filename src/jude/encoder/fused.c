/* What a forward pass does between its products, in one pass over memory each: see fused.py, which compiles this file.
 *
 * Numbers come and go as float32, or as bfloat16 (`half`); everything is computed in float32, but for the products of
 * bfloat16 where the processor has them: their sums are float32.
 */

#ifdef __AVX512BF16__
#include <immintrin.h>
#define PAIRS 1 /* products of bfloat16 with sums in float32 have an instruction */
#else
#define PAIRS 0
#endif
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __AVX512F__
#define LANES 16 /* numbers of a vector */
#define ROWS 6   /* of a tile, whose sums stay in registers: 24 of 32 */
#define VECS 4
#elif defined(__AVX__)
#define LANES 8
#define ROWS 4
#define VECS 2
#else
#define LANES 4
#define ROWS 4
#define VECS 2
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));
typedef uint16_t hvec __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

INLINE vec load(const void *from, long at, const int half)
{
    if (!half)
        return *(const loose *)((const float *)from + at);
    return (vec)(__builtin_convertvector(*(const hvec *)((const uint16_t *)from + at), uvec) << 16);
}

INLINE void store(void *to, long at, vec x, const int half)
{
    if (!half) {
        *(loose *)((float *)to + at) = x;
        return;
    }
    uvec bits = (uvec)x; /* rounded to nearest even */
    *(hvec *)((uint16_t *)to + at) = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, hvec);
}

INLINE long whole(long count, long of) { return (count + of - 1) / of * of; }

INLINE vec either(ivec which, vec yes, vec no) { return (vec)(((ivec)yes & which) | ((ivec)no & ~which)); }

INLINE float sum_of(vec x)
{
    float parts[LANES];
    *(loose *)parts = x;
    for (int some = LANES / 2; some; some /= 2)
        for (int lane = 0; lane < some; lane++)
            parts[lane] += parts[lane + some];
    return parts[0];
}

/* Of `count` numbers, whole vectors of them, as if they were `width`. */
INLINE float root_mean_square(const void *from, long at, long count, long width, float eps, const int half)
{
    vec squares = {};
    for (long e = 0; e < count; e += LANES) {
        vec x = load(from, at + e, half);
        squares += x * x;
    }
    return sqrtf(sum_of(squares) / (float)width + eps);
}

/* e^x for x <= 0, to a relative error of 2e-7; NaN stays NaN. */
INLINE vec exponential(vec x)
{
    x = either(x < -87.0f, (vec){} - 87.0f, x);
    vec shifted = x * 1.44269504f + 12582912.0f; /* the integer part of x / ln 2 in its lowest bits */
    vec whole = shifted - 12582912.0f;
    ivec exponent = ((ivec)shifted - 0x4b400000 + 127) << 23;
    vec f = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    vec p = f * (1.0f / 720) + 1.0f / 120;
    p = p * f + 1.0f / 24;
    p = p * f + 1.0f / 6;
    p = p * f + 0.5f;
    p = p * f + 1.0f;
    p = p * f + 1.0f;
    return p * (vec)exponent;
}

/* sum + a line of b, each times the same number of a; or, of pairs of bfloat16, times the same pair and added up. */
INLINE vec times(vec sum, vec line, const float *a, const int pairs)
{
#if PAIRS
    if (pairs)
        return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)line, (__m512bh)_mm512_set1_ps(*a));
#else
    (void)pairs;
#endif
    return sum + line * *a;
}

/* made[ROWS, 16 vecs] = a[ROWS, depth] b[depth, 16 vecs] */
INLINE void tile(const float *a, long a_step, const float *b, long b_step, float *made, long made_step, long depth,
                 const int vecs, const int pairs)
{
    vec sums[ROWS][4];
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            sums[row][v] = (vec){};
    for (long k = 0; k < depth; k++) {
        vec line[4];
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            line[v] = *(const loose *)(b + k * b_step + v * LANES);
#pragma GCC unroll 8
        for (int row = 0; row < ROWS; row++)
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++)
                sums[row][v] = times(sums[row][v], line[v], a + row * a_step + k, pairs);
    }
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            *(loose *)(made + row * made_step + v * LANES) = sums[row][v];
}

INLINE void product(const float *a, long a_step, const float *b, long b_step, float *made, long made_step, long depth,
                    long columns, const int pairs)
{
    long at = 0;
    for (; at + VECS * LANES <= columns; at += VECS * LANES)
        tile(a, a_step, b + at, b_step, made + at, made_step, depth, VECS, pairs);
    if (columns - at == 3 * LANES)
        tile(a, a_step, b + at, b_step, made + at, made_step, depth, 3, pairs);
    else if (columns - at == 2 * LANES)
        tile(a, a_step, b + at, b_step, made + at, made_step, depth, 2, pairs);
    else if (columns > at)
        tile(a, a_step, b + at, b_step, made + at, made_step, depth, 1, pairs);
}

/* Numbers become pairs of bfloat16 in half of their room; `count` is a multiple of 16. */
INLINE void pair(float *row, long count)
{
    for (long n = 0; n < count; n += LANES)
        store(row, n, *(const loose *)(row + n), 1);
}

/* Weights that are not normalised yet: e^(x - max), in place, nothing behind `count`; gives their sum. */
static float softmax(float *row, long count, long most)
{
    long padded = whole(most, 2 * LANES);
    for (long n = count; n < padded; n++)
        row[n] = -INFINITY;
    vec highest = *(loose *)row;
    for (long n = LANES; n < padded; n += LANES) {
        vec x = *(loose *)(row + n);
        highest = either(x > highest, x, highest);
    }
    float top = highest[0];
    for (int lane = 1; lane < LANES; lane++)
        top = highest[lane] > top ? highest[lane] : top;
    vec sums = {};
    for (long n = 0; n < padded; n += LANES) {
        vec x = exponential(*(loose *)(row + n) - top);
        *(loose *)(row + n) = x;
        sums += x;
    }
    for (long n = count; n < padded; n++)
        row[n] = 0;
    return sum_of(sums);
}

typedef struct {
    long heads, key_heads, width, longest; /* width of a head, tokens of the longest text */
    const float *query_norm, *key_norm;    /* [width], or null */
    const float *cosines, *sines;          /* [longest or more, width], or null */
    float eps;
    int causal;
} Shape;

INLINE float number(const void *from, long at, const int half)
{
    if (!half)
        return ((const float *)from)[at];
    uint32_t bits = (uint32_t)((const uint16_t *)from)[at] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* One head of one token as float32, with zeros behind it up to whole vectors. */
INLINE void fetch(const void *from, long at, float *to, long width, const int half)
{
    long e = 0;
    for (; e + LANES <= width; e += LANES)
        *(loose *)(to + e) = load(from, at + e, half);
    if (e == width)
        return;
    *(loose *)(to + e) = (vec){};
    for (; e < width; e++)
        to[e] = number(from, at + e, half);
}

INLINE void rotate(float *x, const float *cosines, const float *sines, long width)
{
    long middle = width / 2, e = 0;
    for (; e + LANES <= middle; e += LANES) {
        vec left = *(loose *)(x + e), right = *(loose *)(x + middle + e);
        *(loose *)(x + e) = left * *(const loose *)(cosines + e) - right * *(const loose *)(sines + e);
        *(loose *)(x + middle + e) =
            right * *(const loose *)(cosines + middle + e) + left * *(const loose *)(sines + middle + e);
    }
    for (; e < middle; e++) {
        float left = x[e], right = x[middle + e];
        x[e] = left * cosines[e] - right * sines[e];
        x[middle + e] = right * cosines[middle + e] + left * sines[middle + e];
    }
}

/* Queries and keys: the head's mean square to 1, its rotary position, a factor. */
INLINE void prepare(const void *from, long at, float *to, const Shape *shape, const float *norm, long place,
                    float factor, const int half)
{
    long width = shape->width;
    if (width % LANES) {
        fetch(from, at, to, width, half);
        if (norm)
            factor /= root_mean_square(to, 0, whole(width, LANES), width, shape->eps, 0);
        for (long e = 0; e < width; e++)
            to[e] *= norm ? norm[e] * factor : factor;
    } else if (norm) {
        factor /= root_mean_square(from, at, width, width, shape->eps, half);
        for (long e = 0; e < width; e += LANES)
            *(loose *)(to + e) = load(from, at + e, half) * (*(const loose *)(norm + e) * factor);
    } else
        for (long e = 0; e < width; e += LANES)
            *(loose *)(to + e) = load(from, at + e, half) * factor;
    if (shape->cosines)
        rotate(to, shape->cosines + place * width, shape->sines + place * width, width);
}

/* Two rows as pairs of their numbers; zeros for a second row that is not there (-1). */
INLINE void pair_of_rows(const void *from, long first, long second, float *to, long width)
{
    for (long e = 0; e < width; e += LANES) {
        uvec low = __builtin_convertvector(*(const hvec *)((const uint16_t *)from + first + e), uvec), high = {};
        if (second >= 0)
            high = __builtin_convertvector(*(const hvec *)((const uint16_t *)from + second + e), uvec);
        *(loose *)(to + e) = (vec)(low | high << 16);
    }
}

INLINE void put(void *to, long at, const float *from, float factor, long width, const int half)
{
    long e = 0;
    for (; e + LANES <= width; e += LANES)
        store(to, at + e, *(const loose *)(from + e) * factor, half);
    if (e < width) {
        float last[LANES];
        store(last, 0, *(const loose *)(from + e) * factor, half);
        memcpy((char *)to + (half ? 2 : 4) * (at + e), last, (size_t)((half ? 2 : 4) * (width - e)));
    }
}

INLINE int attention(const void *queries, long query_step, const void *keys_values, long key_step, void *mixed,
                     const int64_t *starts, long texts, const int64_t *only, const Shape *shape, const int half,
                     const int pairs)
{
    long width = shape->width, wide = whole(width, LANES); /* of a head, and with its zeros */
    long depth = pairs ? width / 2 : width, step = whole(shape->longest, LANES) + LANES;
    long share = shape->heads / shape->key_heads;
    float *keys = malloc(sizeof(float) * (size_t)(2 * step * wide + ROWS * (step + 2 * wide)));
    if (!keys)
        return 1;
    float *values = keys + wide * step, *scores = values + step * wide;
    float *rows = scores + ROWS * step, *made = rows + ROWS * wide, sums[ROWS];
    float factor = 1.0f / sqrtf((float)width);
    for (long text = 0; text < texts; text++)
        for (long key_head = 0; key_head < shape->key_heads; key_head++) {
            long start = starts[text], length = starts[text + 1] - start;
            long padded = whole(length, LANES), tasks = (only ? 1 : length) * share;
            for (long j = 0; j < length; j++) {
                long at = (start + j) * key_step + key_head * width;
                prepare(keys_values, at, rows, shape, shape->key_norm, j, 1.0f, half);
                if (pairs)
                    pair(rows, width);
                for (long e = 0; e < depth; e++)
                    keys[e * step + j] = rows[e];
                at += shape->key_heads * width;
                if (!pairs)
                    fetch(keys_values, at, values + j * wide, width, half);
                else if (j % 2 == 0)
                    pair_of_rows(keys_values, at, j + 1 < length ? at + key_step : -1, values + j / 2 * wide, width);
            }
            for (long e = 0; e < depth; e++)
                memset(keys + e * step + length, 0, sizeof(float) * (size_t)(padded - length));
            /* Queries of one head of keys are rows of one product, token by token. */
            for (long first = 0; first < tasks; first += ROWS) {
                long counts[ROWS], targets[ROWS], most = 1, here = tasks - first < ROWS ? tasks - first : ROWS;
                for (long r = 0; r < ROWS; r++) {
                    long task = first + (r < here ? r : 0), head = key_head * share + task % share;
                    long place = only ? only[text] - start : task / share;
                    long row = only ? text : start + place;
                    counts[r] = shape->causal ? place + 1 : length;
                    targets[r] = row * shape->heads * width + head * width;
                    most = counts[r] > most ? counts[r] : most;
                    prepare(queries, row * query_step + head * width, rows + r * wide, shape, shape->query_norm, place,
                            factor, half);
                    if (pairs)
                        pair(rows + r * wide, width);
                }
                product(rows, wide, keys, step, scores, step, depth, whole(most, LANES), pairs);
                for (long r = 0; r < ROWS; r++) {
                    sums[r] = softmax(scores + r * step, counts[r], most);
                    if (pairs)
                        pair(scores + r * step, whole(most, LANES));
                }
                product(scores, step, values, wide, made, wide, pairs ? (most + 1) / 2 : most, wide, pairs);
                for (long r = 0; r < here; r++)
                    put(mixed, targets[r], made + r * wide, 1.0f / sums[r], width, half);
            }
        }
    free(keys);
    return 0;
}

/* Attention of texts laid end to end, each within itself: queries [tokens, heads, width] (or [texts, ...] of the tokens
 * `only`), then the heads of keys and those of values in every row of keys_values. Rows are `step` numbers apart.
 * Gives 1 when there is no memory. */
int jude_attend(const void *queries, long query_step, const void *keys_values, long key_step, void *mixed,
                const int64_t *starts, long texts, const int64_t *only, const Shape *shape, int half)
{
    if (!half)
        return attention(queries, query_step, keys_values, key_step, mixed, starts, texts, only, shape, 0, 0);
    if (PAIRS && shape->width % LANES == 0)
        return attention(queries, query_step, keys_values, key_step, mixed, starts, texts, only, shape, 1, 1);
    return attention(queries, query_step, keys_values, key_step, mixed, starts, texts, only, shape, 1, 0);
}

INLINE void norm_rows(const void *from, void *to, const float *weight, long rows, long width, float eps, const int half)
{
    for (long row = 0; row < rows; row++) {
        float scale = 1.0f / root_mean_square(from, row * width, width, width, eps, half);
        for (long e = 0; e < width; e += LANES)
            store(to, row * width + e, load(from, row * width + e, half) * scale * *(const loose *)(weight + e), half);
    }
}

/* Every row to mean square 1, then by the weights. */
void jude_norm(const void *from, void *to, const float *weight, long rows, long width, float eps, int half)
{
    if (half)
        norm_rows(from, to, weight, rows, width, eps, 1);
    else
        norm_rows(from, to, weight, rows, width, eps, 0);
}
