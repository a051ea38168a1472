/* See upcycle.h. */
#include "upcycle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../base/rng.h"

enum upcycling upcycle_kind(const struct config *c, const struct sizes *s, const struct sizes *dense) {
    const size_t parts = s->F ? dense->Fd / s->F : 0; /* the hidden units are dealt out to so many experts */
    if (s->LM == 0 || s->W != dense->W || parts * s->F != dense->Fd || s->E % parts) return UPCYCLE_NOT;
    if (!s->head && !s->merge && s->H == 1) return s->K % parts == 0 ? UPCYCLE_TOKENS : UPCYCLE_NOT;
    const bool layers = s->head == 1 && s->merge == 1 && s->bias && !s->cosine && !c->moe_residual;
    return layers && parts == s->H && s->E / s->H >= s->K && s->S >= s->H ? UPCYCLE_PARTS : UPCYCLE_NOT;
}

bool upcycle_makes(enum upcycling kind, enum part part) {
    switch (part) {
        case PART_EXPERT: return kind != UPCYCLE_NOT;
        case PART_HEAD:
        case PART_ROUTER:
        case PART_MERGE: return kind == UPCYCLE_PARTS;
        default: return false;
    }
}

/* n numbers of each row of `in`, from number `first` on, times `scale`; zeros without `in`. */
struct columns {
    size_t rows, columns, first, n;
    double scale;
};
static void columns_copy(real *out, const real *in, struct columns c) {
    for (size_t r = 0; r < c.rows; r++)
        for (size_t i = 0; i < c.n; i++)
            out[r * c.n + i] = in ? (real)(c.scale * (double)in[r * c.columns + c.first + i]) : 0;
}

/* ---- Whole tokens ---- */

/* Expert e is hidden units e mod parts of the dense layer. Its group, the experts that make up the dense layer
 * together, has one row of the router, so that it is chosen as a whole. Gates that are not brought to a sum of 1 begin
 * near 1/E, as scores begin near 0, and what adds to the stream is scaled so that K of them give what it gave. */
static void tokens_upcycle(const struct moe_weights *m, const struct dense_weights *d) {
    const struct sizes *s = m->sizes;
    const size_t C = s->C, F = s->F, W = s->W, D = s->D, parts = d->F / F;
    const double gain = m->renormalize ? 1 : (double)s->E / (double)s->K;
    for (size_t i = 0; !m->renormalize && i < s->E * D; i++) m->router[i] *= (real)0.01;
    for (size_t e = 0; e < s->E; e++) {
        const size_t part = e % parts;
        columns_copy(m->w1 + e * W * F * C, d->w1, (struct columns){W, d->F * C, part * F * C, F * C, 1});
        if (m->b1) columns_copy(m->b1 + e * W * F, d->b1, (struct columns){W, d->F, part * F, F, 1});
        columns_copy(m->w2 + e * C * F, d->w2, (struct columns){C, d->F, part * F, F, gain * (double)parts});
        if (m->b2) columns_copy(m->b2 + e * C, d->b2, (struct columns){1, C, 0, C, gain});
        memmove(m->router + e * D, m->router + (e - part) * D, D * sizeof(real));
    }
}

/* ---- Sub-tokens ---- */

/* What sub-token h is like: a constant, by which the router knows it, at a place of its own. exp(5) is 148: chance
 * hardly ever sends a sub-token elsewhere, and training still can. */
static const double mark = 5;
static size_t mark_place(const struct sizes *s, size_t h) { return s->S - 1 - h; }

static double dot(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* q (S, C) becomes orthonormal (Gram and Schmidt). */
static void rows_orthonormalize(double *q, size_t S, size_t C) {
    for (size_t i = 0; i < S; i++) {
        double *row = q + i * C;
        for (size_t j = 0; j < i; j++) {
            const double along = dot(q + j * C, row, C);
            for (size_t c = 0; c < C; c++) row[c] -= along * q[j * C + c];
        }
        const double length = sqrt(dot(row, row, C));
        for (size_t c = 0; c < C; c++) row[c] /= length;
    }
}

/* out (n, C) = in (n, C) g, g (C, C) symmetric */
static void rows_multiply(double *out, const double *in, const double *g, size_t n, size_t C) {
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < C; c++) out[i * C + c] = dot(in + i * C, g + c * C, C);
}

/* q (S, C): an orthonormal basis of the space that holds most of the rows of a (n, C), strongest first: the first
 * right singular vectors, nearly, by orthogonal iteration. Where a has fewer dimensions, whatever is orthogonal to them
 * fills up: added to the diagonal is what rounding does not hide, and what counts for nothing in float. */
static void basis_find(double *q, const double *a, size_t n, size_t S, size_t C) {
    enum { ITERATIONS = 12 };
    double *gram = array_alloc(C * C, sizeof *gram), *next = array_alloc(S * C, sizeof *next);
    const double floor = 1e-9 * dot(a, a, n * C) + 1e-30;
    struct rng rng;
    rng_seed(&rng, 0, hash_bytes(HASH_START, "basis", 5));
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < C; i++) {
        for (size_t r = 0; r < n; r++)
            for (size_t k = 0; k < C; k++) gram[i * C + k] += a[r * C + i] * a[r * C + k];
        gram[i * C + i] += floor;
    }
    for (size_t i = 0; i < S * C; i++) q[i] = rng_normal(&rng);
    rows_orthonormalize(q, S, C);
    for (int i = 0; i < ITERATIONS; i++) {
        rows_multiply(next, q, gram, S, C);
        memcpy(q, next, S * C * sizeof *q);
        rows_orthonormalize(q, S, C);
    }
    free(gram);
    free(next);
}

/* A share of the dense layer's hidden units: what they read and what they write, as rows, and bases of the spaces of
 * S dimensions that hold most of these. */
struct share {
    double *reads, *writes, *in, *out; /* (W F, C), (F, C), (S, C), (S, C) */
};

static struct share share_take(const struct sizes *s, const struct dense_weights *d, size_t h) {
    const size_t C = s->C, F = s->F, W = s->W, S = s->S;
    struct share share = {array_alloc(W * F * C, sizeof(double)), array_alloc(F * C, sizeof(double)),
                          array_alloc(S * C, sizeof(double)), array_alloc(S * C, sizeof(double))};
    for (size_t f = 0; f < F; f++)
        for (size_t c = 0; c < C; c++) {
            for (size_t w = 0; w < W; w++)
                share.reads[(w * F + f) * C + c] = (double)d->w1[(w * d->F + h * F + f) * C + c];
            share.writes[f * C + c] = (double)d->w2[c * d->F + h * F + f];
        }
    basis_find(share.in, share.reads, W * F, S, C);
    basis_find(share.out, share.writes, F, S, C);
    return share;
}

static void share_free(struct share *share) {
    free(share->reads);
    free(share->writes);
    free(share->in);
    free(share->out);
}

/* Expert e does what sub-token h's share of hidden units did, as far as it lies in the spaces that the head layer reads
 * and the merge layer writes. Its bias takes the mark away again. */
static void part_expert(const struct moe_weights *m, const struct dense_weights *d, const struct share *share, size_t h,
                        size_t e) {
    const struct sizes *s = m->sizes;
    const size_t C = s->C, F = s->F, S = s->S, place = mark_place(s, h);
    const double gain = m->renormalize ? 1 : (double)(s->E / s->H) / (double)s->K;
    for (size_t r = 0; r < s->W * F; r++) {
        real *w1 = m->w1 + (e * s->W * F + r) * S;
        for (size_t i = 0; i < S; i++) w1[i] = (real)dot(share->in + i * C, share->reads + r * C, C);
        const real b1 = d->b1 ? d->b1[r / F * d->F + h * F + r % F] : 0;
        m->b1[e * s->W * F + r] = b1 - (real)mark * w1[place];
    }
    for (size_t i = 0; i < S; i++)
        for (size_t f = 0; f < F; f++)
            m->w2[(e * S + i) * F + f] = (real)(gain * dot(share->out + i * C, share->writes + f * C, C));
    m->router[e * S + place] += 1;
}

/* Sub-token h sees of a token what its share of the hidden units reads most, and E/H experts, to which its mark leads,
 * do what they did. */
static void parts_upcycle(const struct moe_weights *m, const struct dense_weights *d) {
    const struct sizes *s = m->sizes;
    const size_t C = s->C, S = s->S, group = s->E / s->H;
    for (size_t h = 0; h < s->H; h++) {
        struct share share = share_take(s, d, h);
        for (size_t i = 0; i < S; i++)
            for (size_t c = 0; c < C; c++) {
                m->head[(h * S + i) * C + c] = (real)share.in[i * C + c];
                m->merge[c * C + h * S + i] = (real)share.out[i * C + c];
            }
        m->head_b[h * S + mark_place(s, h)] = (real)mark;
#pragma omp parallel for schedule(static)
        for (size_t e = h * group; e < (h + 1) * group; e++) part_expert(m, d, &share, h, e);
        share_free(&share);
    }
    columns_copy(m->merge_b, d->b2, (struct columns){1, C, 0, C, 1});
}

void upcycle(enum upcycling kind, const struct moe_weights *moe, const struct dense_weights *dense) {
    if (kind == UPCYCLE_TOKENS) tokens_upcycle(moe, dense);
    if (kind == UPCYCLE_PARTS) parts_upcycle(moe, dense);
}
