/* See activation.h. A kind is one function of a vector: what comes out, and the slopes. */
#include "activation.h"

#include "vecmath.h"

/* Of one vector of hidden units: the output, and its slopes by the first number of each and by the second. */
struct slopes {
    vec out, by_first, by_second;
};

/* gelu(x) = x/2 (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3). The sigmoid form does not
 * cancel for negative x. gelu' = s + x s (1 - s) 2u', 2u' = 2 sqrt(2/pi) (1 + 3 * 0.044715 x^2) */
static inline struct slopes gelu(vec x) {
    const vec two_u = (real)1.5957691216057308 * (x + (real)0.044715 * x * x * x);
    const vec s = 1 / (1 + vec_exp(-two_u)), value = x * s;
    return (struct slopes){value, s + value * (1 - s) * ((real)1.5957691216057308 * (1 + (real)0.134145 * x * x)),
                           (vec){0}};
}

/* silu(g) v, silu' = s + g s (1 - s), s = sigmoid(g) */
static inline struct slopes swiglu(vec g, vec v) {
    const vec s = 1 / (1 + vec_exp(-g)), silu = g * s;
    return (struct slopes){silu * v, (s + silu * (1 - s)) * v, silu};
}

static inline struct slopes relu2(vec x) {
    const vec positive = vec_max(x, (vec){0});
    return (struct slopes){positive * positive, 2 * positive, (vec){0}};
}

static inline struct slopes slopes_of(enum activation kind, vec first, vec second) {
    switch (kind) {
        case ACTIVATION_SWIGLU: return swiglu(first, second);
        case ACTIVATION_RELU2: return relu2(first);
        default: return gelu(first);
    }
}

/* The numbers of VEC_LANES hidden units, or of the n that are left. */
static inline vec load(const real *p, size_t n) {
    return n >= VEC_LANES ? vec_load(p) : vec_load_some(p, n, 0);
}
static inline void store(real *p, size_t n, vec x) {
    if (n >= VEC_LANES) vec_store(p, x);
    else vec_store_some(p, n, x);
}

/* What is in the first cache while it is real. */
enum { SOME = 256 };

/* n hidden units from f on of a row of F. Inlined into a loop of its own for each kind. */
static inline void some_forward(enum activation kind, struct kept out, struct kept x, size_t F, size_t n) {
    const bool two = activation_width(kind) > 1;
    real room[3][SOME];
    const real *first = kept_load(x, room[0], n), *second = two ? kept_load(kept_at(x, F), room[1], n) : NULL;
    real *to = kept_room(out, room[2]);
    for (size_t f = 0; f < n; f += VEC_LANES)
        store(to + f, n - f, slopes_of(kind, load(first + f, n - f), two ? load(second + f, n - f) : (vec){0}).out);
    kept_store(out, to, n);
}

/* out = act(first, second): d_first = dout by_first,  d_second = dout by_second */
static inline void some_backward(enum activation kind, struct kept dx, const real *dout, struct kept x, size_t F,
                                 size_t n) {
    const bool two = activation_width(kind) > 1;
    const struct kept dx_second = kept_at(dx, F);
    real room[5][SOME];
    const real *first = kept_load(x, room[0], n), *second = two ? kept_load(kept_at(x, F), room[1], n) : NULL;
    real *out = kept_room(x, room[2]), *d_first = kept_room(dx, room[3]), *d_second = kept_room(dx_second, room[4]);
    for (size_t f = 0; f < n; f += VEC_LANES) {
        const vec d = load(dout + f, n - f), other = two ? load(second + f, n - f) : (vec){0};
        const struct slopes s = slopes_of(kind, load(first + f, n - f), other);
        store(out + f, n - f, s.out);
        store(d_first + f, n - f, d * s.by_first);
        if (two) store(d_second + f, n - f, d * s.by_second);
    }
    kept_store(x, out, n);
    kept_store(dx, d_first, n);
    if (two) kept_store(dx_second, d_second, n);
}

static size_t some(size_t F, size_t f) { return F - f < SOME ? F - f : SOME; }

/* Rows of W F numbers. */
static inline void rows_forward(enum activation kind, struct kept out, struct kept x, size_t rows, size_t F) {
    const size_t width = activation_width(kind) * F;
    for (size_t r = 0; r < rows; r++)
        for (size_t f = 0; f < F; f += SOME)
            some_forward(kind, kept_at(out, r * width + f), kept_at(x, r * width + f), F, some(F, f));
}

static inline void rows_backward(enum activation kind, struct kept dx, const real *dout, struct kept x, size_t rows,
                                 size_t F) {
    const size_t width = activation_width(kind) * F;
    for (size_t r = 0; r < rows; r++)
        for (size_t f = 0; f < F; f += SOME) {
            const size_t at = r * width + f;
            some_backward(kind, kept_at(dx, at), dout + at, kept_at(x, at), F, some(F, f));
        }
}

void activation_forward(enum activation kind, struct kept out, struct kept x, size_t rows, size_t F) {
    switch (kind) {
        case ACTIVATION_GELU: rows_forward(ACTIVATION_GELU, out, x, 1, rows * F); break; /* rows lie side by side */
        case ACTIVATION_RELU2: rows_forward(ACTIVATION_RELU2, out, x, 1, rows * F); break;
        case ACTIVATION_SWIGLU: rows_forward(ACTIVATION_SWIGLU, out, x, rows, F); break;
    }
}

void activation_backward(enum activation kind, struct kept dx, const real *dout, struct kept x, size_t rows,
                         size_t F) {
    switch (kind) {
        case ACTIVATION_GELU: rows_backward(ACTIVATION_GELU, dx, dout, x, 1, rows * F); break;
        case ACTIVATION_RELU2: rows_backward(ACTIVATION_RELU2, dx, dout, x, 1, rows * F); break;
        case ACTIVATION_SWIGLU: rows_backward(ACTIVATION_SWIGLU, dx, dout, x, rows, F); break;
    }
}
