/* See parameters.h. A fact about a part of the model is one line here. */
#include "parameters.h"

#include <math.h>
#include <string.h>
#include "../layers/ffn.h"
#include "../base/rng.h"

/* What is drawn at random is matrices, but for the vectors that say where a row stands. */
static bool is_matrices(const struct parameter_info *p) {
    return p->initialisation < INIT_ZERO && p->part != PART_POSITION;
}

/* Whether what matrix i of a tensor makes is added to the stream as it is. */
static bool writes_stream(const struct parameter_info *p, size_t i, const struct sizes *s) {
    switch (p->part) {
        case PART_ATTENTION:
        case PART_FFN: return p->initialisation == INIT_NORMAL_RESIDUAL;
        case PART_EXPERT:
        case PART_SHARED: return p->initialisation == INIT_NORMAL_RESIDUAL && s->merge == 0;
        case PART_MERGE: return (i + 1) % s->merge == 0; /* the last of its stack */
        default: return false;
    }
}

static size_t experts_of(const struct parameter_info *p, const struct sizes *s) {
    return p->part == PART_EXPERT ? s->E : 1;
}

size_t parameters_layout(struct parameter_info *info, size_t n, const struct sizes *s) {
    size_t offset = 0;
    for (struct parameter_info *p = info; p < info + n; p++) {
        p->offset = offset;
        p->count = 1;
        for (size_t d = 0; d < p->dims; d++) p->count *= p->shape[d];
        p->decay = is_matrices(p);
        p->multiplies = p->decay && !(p->part == PART_EMBEDDING && s->untied);
        p->columns = p->shape[p->dims - 1];
        p->rows = p->decay ? p->shape[p->dims - 2] : 1;
        p->matrices = p->count ? p->count / (p->rows * p->columns) : 0;
        offset += p->count;
    }
    return offset;
}

void parameter_initialize(const struct parameter_info *p, real *w, uint64_t seed, const struct sizes *s) {
    const enum initialisation kind = p->initialisation;
    const double range = (kind == INIT_XAVIER_HALF ? sqrt(0.5) : 1) * sqrt(6 / (double)(p->rows + p->columns));
    const double deviation = kind == INIT_NORMAL_RESIDUAL ? 0.02 / sqrt(2 * (double)s->L) : 0.02;
    struct rng rng;
    rng_seed(&rng, seed, hash_bytes(HASH_START, p->name, strlen(p->name)));
    for (size_t j = 0; j < p->count; j++) switch (kind) {
            case INIT_ZERO: w[j] = 0; break;
            case INIT_ONE: w[j] = 1; break;
            case INIT_LOG_TEMPERATURE: w[j] = (real)log(0.3); break; /* X */
            case INIT_NORMAL:
            case INIT_NORMAL_RESIDUAL: w[j] = (real)(deviation * rng_normal(&rng)); break;
            case INIT_XAVIER:
            case INIT_XAVIER_HALF: w[j] = (real)(range * (2 * rng_uniform(&rng) - 1)); break;
        }
    for (size_t i = 0; p->decay && s->zero_start && i < p->matrices; i++)
        if (writes_stream(p, i, s)) memset(w + i * p->rows * p->columns, 0, p->rows * p->columns * sizeof *w);
}

bool parameter_by_muon(const struct parameter_info *p) {
    return p->decay && p->count > 0 && p->part >= PART_ATTENTION && p->part != PART_ROUTER;
}

/* Routers are not rounded: they are small, a choice that rounding turns costs more than all other rounding, and the
 * cosine router takes norms of the numbers as they are. */
enum storage parameter_storage(const struct parameter_info *p, enum storage most) {
    return p->part == PART_ROUTER ? STORAGE_F32 : most;
}

/* A packed matrix is inner x outer numbers. */
static size_t inner_of(const struct parameter_info *p, bool transposed) { return transposed ? p->rows : p->columns; }
static size_t outer_of(const struct parameter_info *p, bool transposed) { return transposed ? p->columns : p->rows; }

size_t parameter_packed_bytes(const struct parameter_info *p, enum storage storage, bool transposed) {
    if (!p->multiplies || p->count == 0) return 0;
    return p->matrices * gemm_packed_bytes(storage, inner_of(p, transposed), outer_of(p, transposed));
}

void parameter_pack(const struct parameter_info *p, char *packed, enum storage storage, const real *w,
                    bool transposed) {
    const size_t inner = inner_of(p, transposed), outer = outer_of(p, transposed), size = inner * outer;
    const size_t panels = gemm_panels(outer), bytes = gemm_packed_bytes(storage, inner, outer);
#pragma omp parallel for schedule(static)
    for (size_t piece = 0; piece < p->matrices * panels; piece++) {
        const size_t i = piece / panels;
        const struct view B = transposed ? view_of(w + i * size, p->columns, 1)
                                         : view_of(w + i * size, 1, p->columns);
        gemm_pack_panel(packed + i * bytes, storage, B, inner, outer, piece % panels);
    }
}

size_t parameter_rows(const struct parameter_info *p, const struct sizes *s, size_t R) {
    switch (p->part) {
        case PART_ROUTER:
        case PART_SHARED: return R * s->H;
        case PART_EXPERT: return R * s->H * s->K;
        default: return R;
    }
}

size_t parameter_active(const struct parameter_info *p, const struct sizes *s) {
    if (p->count == 0) return 0;
    if (p->part == PART_POSITION) return p->columns; /* one of its vectors */
    if (p->part == PART_EMBEDDING && s->untied) return p->count / s->V;
    /* a token's H sub-tokens reach at most H*K different experts of a layer */
    const size_t experts = experts_of(p, s), reached = parameter_rows(p, s, 1);
    return p->part == PART_EXPERT && reached < experts ? p->count / experts * reached : p->count;
}

double parameter_multiply_adds(const struct parameter_info *p, const struct sizes *s) {
    if (!p->multiplies || p->count == 0) return 0;
    return (double)parameter_rows(p, s, 1) / (double)experts_of(p, s) * (double)p->count;
}

size_t parameter_work_bytes(const struct parameter_info *p, const struct sizes *s, size_t rows,
                            enum operands operands) {
    const bool hidden = p->part == PART_FFN || p->part == PART_EXPERT || p->part == PART_SHARED;
    if (!p->multiplies || p->count == 0) return 0;
    if (!hidden) return linear_workspace_bytes(p->columns, p->rows, rows, operands);
    if (p->initialisation == INIT_NORMAL_RESIDUAL)
        return 0; /* the way back from the hidden layer: counted with the way in */
    return ffn_workspace_bytes(experts_of(p, s), p->columns, p->rows / s->W, s->W, rows, operands);
}

size_t parameters_named(const struct parameter_info *info, size_t n, real *block, const char *prefix,
                        struct tensor *out) {
    struct tensor *t = out;
    for (const struct parameter_info *p = info; p < info + n; p++) {
        if (p->count == 0) continue;
        *t = (struct tensor){.dtype = sizeof(real) == 4 ? DTYPE_F32 : DTYPE_F64, .dims = (int)p->dims,
                             .data = block ? block + p->offset : NULL};
        snprintf(t->name, sizeof t->name, "%s%s", prefix, p->name);
        memcpy(t->shape, p->shape, sizeof t->shape);
        t++;
    }
    return (size_t)(t - out);
}
