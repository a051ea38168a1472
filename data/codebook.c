/* k-means over patches: see codebook.h for what each function promises.
 *
 * Pictures have very many equal patches (white ones above all), so equal ones are one point with a weight. Entries are
 * seeded as in k-means++ (Arthur and Vassilvitskii, SODA 2007), then moved to the means of what is nearest to them.
 * |x - c|^2 = |x|^2 - 2 (x c - |c|^2 / 2), so the nearest entry is where a product with a bias is largest. Sums are
 * made in a fixed order, each by one thread, and points are sorted, so that neither threads nor the order of pictures
 * change a bit. */
#include "codebook.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../src/base/rng.h"
#include "../src/math/gemm.h"
#include "../src/run/checkpoint.h"
#include "blocks.h"

enum {
    ROUNDS = 50,
    SEEDS = 1 << 15, /* points that seeding draws from, or CODE_SEEDS a code: more would take longer than the rounds */
    CODE_SEEDS = 16,
    CHUNK = 128,     /* patches whose products are in memory at a time, of each thread */
};
static const double ENOUGH = 1e-4; /* by what part the distortion has to fall in a round, or it was the last */

/* ---- Patches ---- */

/* Where number q of patch p is in a picture of size x size pixels. */
static size_t pixel_of(size_t p, size_t q, size_t size, size_t patch) {
    const size_t across = size / patch, y = p / across * patch + q / 3 / patch, x = p % across * patch + q / 3 % patch;
    return (y * size + x) * 3 + q % 3;
}

void patches_of(real *patches, const unsigned char *rgb, size_t size, size_t patch) {
    const size_t P = (size / patch) * (size / patch), Q = 3 * patch * patch;
    for (size_t p = 0; p < P; p++)
        for (size_t q = 0; q < Q; q++)
            patches[p * Q + q] = (real)rgb[pixel_of(p, q, size, patch)] / (real)127.5 - 1;
}

/* Rounded and clamped; a NaN is 0. */
static unsigned char pixel_value(real x) {
    const real value = (x + 1) * (real)127.5 + (real)0.5;
    return value >= 255 ? 255 : value > 0 ? (unsigned char)value : 0;
}

void patches_to(unsigned char *rgb, const real *patches, size_t size, size_t patch) {
    const size_t P = (size / patch) * (size / patch), Q = 3 * patch * patch;
    for (size_t p = 0; p < P; p++)
        for (size_t q = 0; q < Q; q++) rgb[pixel_of(p, q, size, patch)] = pixel_value(patches[p * Q + q]);
}

void codes_paint(unsigned char *rgb, const struct codebook *c, const int32_t *codes, size_t size, size_t patch) {
    const size_t P = (size / patch) * (size / patch);
    for (size_t p = 0; p < P; p++)
        for (size_t q = 0; q < c->Q; q++)
            rgb[pixel_of(p, q, size, patch)] = pixel_value(c->entries[(size_t)codes[p] * c->Q + q]);
}

/* ---- The nearest entry ---- */

/* Half the squared length of each entry, negative: the bias. */
static real *bias_make(const struct codebook *c) {
    real *bias = array_alloc(c->codes, sizeof *bias);
    for (size_t k = 0; k < c->codes; k++) {
        double sum = 0;
        for (size_t q = 0; q < c->Q; q++) sum += (double)c->entries[k * c->Q + q] * (double)c->entries[k * c->Q + q];
        bias[k] = (real)(-sum / 2);
    }
    return bias;
}

static int32_t largest(const real *scores, size_t n) {
    size_t best = 0;
    for (size_t k = 1; k < n; k++)
        if (scores[k] > scores[best]) best = k;
    return (int32_t)best;
}

void codebook_assign(const struct codebook *c, const real *patches, size_t n, int32_t *out) {
    const struct view B = view_of(c->entries, 1, c->Q);
    real *packed = array_alloc(gemm_packed_count(c->Q, c->codes), sizeof *packed), *bias = bias_make(c);
    gemm_pack(packed, B, c->Q, c->codes);
#pragma omp parallel
    {
        real *scores = array_alloc(CHUNK * c->codes, sizeof *scores);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n; i += CHUNK) {
            const size_t rows = n - i < CHUNK ? n - i : CHUNK;
            const struct gemm product = {.M = rows, .N = c->codes, .K = c->Q, .A = view_of(patches + i * c->Q, c->Q, 1),
                                         .B = B, .packed = packed, .C = scores, .ldc = c->codes, .bias = bias};
            gemm_serial(&product);
            for (size_t r = 0; r < rows; r++) out[i + r] = largest(scores + r * c->codes, c->codes);
        }
        free(scores);
    }
    free(packed);
    free(bias);
}

static double distance(const real *a, const real *b, size_t Q) {
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t q = 0; q < Q; q++) sum += (a[q] - b[q]) * (a[q] - b[q]);
    return (double)sum;
}

/* ---- Points: patches that differ ---- */

struct points {
    real *x;        /* (n, Q) */
    double *weight; /* (n) how many patches are equal to it */
    size_t n, Q;
};

struct sorting {
    const real *patches;
    size_t Q;
};

static int patches_compare(const void *a, const void *b, void *context) {
    const struct sorting *s = context;
    const real *x = s->patches + *(const size_t *)a * s->Q, *y = s->patches + *(const size_t *)b * s->Q;
    for (size_t q = 0; q < s->Q; q++)
        if (x[q] != y[q]) return x[q] < y[q] ? -1 : 1;
    return 0;
}

static struct points points_make(const real *patches, size_t n, size_t Q) {
    struct sorting s = {patches, Q};
    struct points p = {.Q = Q};
    size_t *order = array_alloc(n, sizeof *order);
    for (size_t i = 0; i < n; i++) order[i] = i;
    qsort_r(order, n, sizeof *order, patches_compare, &s);
    for (size_t i = 0; i < n; i++) p.n += i == 0 || patches_compare(&order[i - 1], &order[i], &s) != 0;
    p.x = array_alloc(p.n * Q, sizeof *p.x);
    p.weight = array_alloc(p.n, sizeof *p.weight);
    for (size_t i = 0, at = 0; i < n; i++) {
        at += i > 0 && patches_compare(&order[i - 1], &order[i], &s) != 0;
        memcpy(p.x + at * Q, patches + order[i] * Q, Q * sizeof *p.x);
        p.weight[at]++;
    }
    free(order);
    return p;
}

static void points_free(struct points *p) {
    free(p->x);
    free(p->weight);
}

/* ---- Seeding ---- */

/* Draws one of n things with a probability proportional to `share`; one that has some. */
static size_t share_draw(const double *share, size_t n, struct rng *rng) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += share[i];
    double left = rng_uniform(rng) * sum;
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(share[i] > 0)) continue;
        last = i;
        left -= share[i];
        if (left < 0) break;
    }
    return last;
}

/* The first entries: each a point, drawn in proportion to its weight and its squared distance from those before it. */
static void entries_seed(struct codebook *c, const struct points *p, const struct codebook_options *o) {
    const size_t some = CODE_SEEDS * c->codes > SEEDS ? CODE_SEEDS * c->codes : SEEDS, n = p->n < some ? p->n : some;
    size_t *pick = array_alloc(n, sizeof *pick);
    double *far = array_alloc(n, sizeof *far), *share = array_alloc(n, sizeof *share);
    struct rng rng;
    rng_seed(&rng, o->seed, 0);
    for (size_t i = 0; i < n; i++) {
        pick[i] = shuffle_index(i, p->n, o->seed);
        far[i] = INFINITY;
        share[i] = p->weight[pick[i]];
    }
    for (size_t k = 0; k < c->codes; k++) {
        real *entry = c->entries + k * c->Q;
        memcpy(entry, p->x + pick[share_draw(share, n, &rng)] * c->Q, c->Q * sizeof *entry);
#pragma omp parallel for
        for (size_t i = 0; i < n; i++) {
            far[i] = fmin(far[i], distance(p->x + pick[i] * c->Q, entry, c->Q));
            share[i] = p->weight[pick[i]] * far[i];
        }
    }
    free(pick);
    free(far);
    free(share);
}

/* ---- Rounds ---- */

/* Which points each code has. */
struct round {
    int32_t *codes;  /* (n) */
    double *far;     /* (n) squared distance to its entry */
    size_t *first;   /* (codes + 1) */
    size_t *members; /* (n) points, by code, then by number */
    double distortion;
};

static void round_assign(struct round *r, const struct codebook *c, const struct points *p) {
    codebook_assign(c, p->x, p->n, r->codes);
#pragma omp parallel for
    for (size_t i = 0; i < p->n; i++)
        r->far[i] = distance(p->x + i * c->Q, c->entries + (size_t)r->codes[i] * c->Q, c->Q);
    memset(r->first, 0, (c->codes + 1) * sizeof *r->first);
    r->distortion = 0;
    for (size_t i = 0; i < p->n; i++) {
        r->first[r->codes[i] + 1]++;
        r->distortion += p->weight[i] * r->far[i];
    }
    for (size_t k = 0; k < c->codes; k++) r->first[k + 1] += r->first[k];
    for (size_t i = 0; i < p->n; i++) r->members[r->first[r->codes[i]]++] = i;
    memmove(r->first + 1, r->first, c->codes * sizeof *r->first);
    r->first[0] = 0;
}

static void entry_move(real *entry, const struct points *p, const size_t *members, size_t n) {
    double *sum = array_alloc(p->Q, sizeof *sum), weight = 0;
    for (size_t i = 0; i < n; i++) {
        weight += p->weight[members[i]];
        for (size_t q = 0; q < p->Q; q++) sum[q] += p->weight[members[i]] * (double)p->x[members[i] * p->Q + q];
    }
    for (size_t q = 0; q < p->Q; q++) entry[q] = (real)(sum[q] / weight);
    free(sum);
}

/* Puts an entry on the point that is farthest from its own, to which others may then be nearer. */
static void entry_reseed(real *entry, struct round *r, const struct points *p) {
    size_t farthest = 0;
    for (size_t i = 1; i < p->n; i++)
        if (r->far[i] > r->far[farthest]) farthest = i;
    memcpy(entry, p->x + farthest * p->Q, p->Q * sizeof *entry);
#pragma omp parallel for
    for (size_t i = 0; i < p->n; i++) r->far[i] = fmin(r->far[i], distance(p->x + i * p->Q, entry, p->Q));
}

/* Each entry to the mean of its points; one that has none to another place. Returns how many had none. */
static size_t entries_move(struct codebook *c, struct round *r, const struct points *p) {
    size_t empty = 0;
#pragma omp parallel for schedule(dynamic)
    for (size_t k = 0; k < c->codes; k++)
        if (r->first[k + 1] > r->first[k])
            entry_move(c->entries + k * c->Q, p, r->members + r->first[k], r->first[k + 1] - r->first[k]);
    for (size_t k = 0; k < c->codes; k++) {
        if (r->first[k + 1] > r->first[k]) continue;
        entry_reseed(c->entries + k * c->Q, r, p);
        empty++;
    }
    return empty;
}

static void rounds_run(struct codebook *c, const struct points *p, bool progress) {
    struct round r = {array_alloc(p->n, sizeof *r.codes), array_alloc(p->n, sizeof *r.far),
                      array_alloc(c->codes + 1, sizeof *r.first), array_alloc(p->n, sizeof *r.members), 0};
    double before = INFINITY;
    size_t empty = 0;
    for (int round = 1; round <= ROUNDS; round++) {
        round_assign(&r, c, p);
        if (progress) fprintf(stderr, "\r\033[Kcodebook: round %d of at most %d", round, ROUNDS);
        if (empty == 0 && !(r.distortion < (1 - ENOUGH) * before)) break;
        empty = entries_move(c, &r, p);
        before = r.distortion;
    }
    if (progress) fputs("\r\033[K", stderr);
    free(r.codes);
    free(r.far);
    free(r.first);
    free(r.members);
}

bool codebook_train(struct codebook *c, const real *patches, size_t n, const struct codebook_options *o,
                    struct error *err) {
    struct points p = points_make(patches, n, o->Q);
    const bool ok = p.n >= o->codes;
    *c = (struct codebook){.codes = o->codes, .Q = o->Q};
    if (ok) {
        c->entries = array_alloc(c->codes * c->Q, sizeof *c->entries);
        entries_seed(c, &p, o);
        rounds_run(c, &p, o->progress && isatty(STDERR_FILENO));
    } else
        error_set(err, EXIT_USAGE, "codebook: the pictures have fewer different patches than codes are wanted (got "
                  "%zu, want at least %zu); lower --codes or add pictures", p.n, o->codes);
    points_free(&p);
    return ok;
}

void codebook_refine(struct codebook *c, const real *patches, size_t n) {
    struct points p = points_make(patches, n, c->Q);
    rounds_run(c, &p, false);
    points_free(&p);
}

void codebook_free(struct codebook *c) {
    free(c->entries);
    *c = (struct codebook){0};
}

/* ---- How well it does ---- */

void codebook_measure(const struct codebook *c, const real *patches, const int32_t *codes, size_t n,
                      struct codebook_quality *q) {
    uint64_t errors = 0;
#pragma omp parallel for reduction(+ : errors)
    for (size_t i = 0; i < n; i++)
        for (size_t at = 0; at < c->Q; at++) {
            const int is = pixel_value(patches[i * c->Q + at]);
            const int off = is - pixel_value(c->entries[(size_t)codes[i] * c->Q + at]);
            errors += (uint64_t)(off * off);
        }
    q->errors += errors;
    q->values += n * c->Q;
    for (size_t i = 0; q->uses && i < n; i++) q->uses[codes[i]]++;
}

double quality_mse(const struct codebook_quality *q) {
    return q->values ? (double)q->errors / (double)q->values : 0;
}

double quality_psnr(const struct codebook_quality *q) { return 10 * log10(255.0 * 255.0 / quality_mse(q)); }

/* ---- The file ---- */

#define MAGIC "MHMoECBK"
enum { VERSION = 1 };

struct header {
    char magic[8];
    uint32_t version, codes, Q, data_crc, header_crc; /* the latter of all that stands before it */
};
_Static_assert(sizeof(struct header) == 28, "no padding");

/* The entries as the file has them. malloc'ed. */
static float *entries_pack(const struct codebook *c, size_t *bytes) {
    float *packed = array_alloc(c->codes * c->Q, sizeof *packed);
    for (size_t i = 0; i < c->codes * c->Q; i++) packed[i] = (float)c->entries[i];
    *bytes = c->codes * c->Q * sizeof *packed;
    return packed;
}

uint64_t codebook_hash(const struct codebook *c) {
    const uint64_t sizes[] = {c->codes, c->Q};
    size_t bytes;
    float *packed = entries_pack(c, &bytes);
    const uint64_t hash = hash_bytes(hash_bytes(HASH_START, sizes, sizeof sizes), packed, bytes);
    free(packed);
    return hash;
}

bool codebook_save(const struct codebook *c, const char *dir, struct error *err) {
    struct atomic_file file;
    struct header h = {MAGIC, VERSION, (uint32_t)c->codes, (uint32_t)c->Q, 0, 0};
    char *path = string_format("%s/codebook", dir);
    bool ok = atomic_open(&file, path, err);
    if (ok) {
        size_t bytes;
        float *packed = entries_pack(c, &bytes);
        h.data_crc = crc_of(packed, bytes);
        h.header_crc = crc_of(&h, offsetof(struct header, header_crc));
        fwrite(&h, sizeof h, 1, file.file);
        fwrite(packed, 1, bytes, file.file);
        free(packed);
        ok = atomic_commit(&file, err);
    }
    free(path);
    return ok;
}

/* Whether a file's bytes are a codebook. */
static bool file_check(const char *path, const char *data, size_t size, struct error *err) {
    struct header h;
    size_t bytes = 0;
    if (size < sizeof h)
        return damage_report(err, path, (struct flaw){"header", size, "the file is too short", size, sizeof h});
    memcpy(&h, data, sizeof h);
    const uint32_t crc = crc_of(&h, offsetof(struct header, header_crc));
    if (memcmp(h.magic, MAGIC, sizeof h.magic) != 0 || crc != h.header_crc)
        return damage_report(err, path, (struct flaw){"header", 0, "not a codebook, or damaged", h.header_crc, crc});
    if (h.version != VERSION)
        return damage_report(err, path, (struct flaw){"header", offsetof(struct header, version), "another version",
                                                      h.version, VERSION});
    if (h.codes == 0 || h.Q == 0 || __builtin_mul_overflow((size_t)h.codes * h.Q, sizeof(float), &bytes) ||
        bytes != size - sizeof h)
        return damage_report(err, path, (struct flaw){"entries", sizeof h, "the file has another size than the header "
                                                      "says", size, sizeof h + bytes});
    const uint32_t data_crc = crc_of(data + sizeof h, bytes);
    return data_crc == h.data_crc ||
           damage_report(err, path, (struct flaw){"entries", sizeof h, "wrong CRC-32", data_crc, h.data_crc});
}

bool codebook_from_checkpoint(struct codebook *c, const struct checkpoint *from, size_t codes, size_t Q,
                              struct error *err) {
    *c = (struct codebook){codes, Q, array_alloc(codes * Q, sizeof *c->entries)};
    const struct tensor entries = {.name = "codebook", .dtype = sizeof(real) == 4 ? DTYPE_F32 : DTYPE_F64, .dims = 2,
                                   .shape = {codes, Q}, .data = c->entries};
    if (checkpoint_read(from, &entries, err)) return true;
    codebook_free(c);
    err->code = EXIT_INPUT; /* the file was put together wrongly */
    return false;
}

bool codebook_load(struct codebook *c, const char *dir, struct error *err) {
    char *path = string_format("%s/codebook", dir);
    size_t size;
    char *data = file_contents(fopen(path, "rb"), path, &size, err);
    const bool ok = data && file_check(path, data, size, err);
    *c = (struct codebook){0};
    if (ok) {
        const struct header *h = (const struct header *)data;
        const float *packed = (const float *)(data + sizeof *h);
        *c = (struct codebook){h->codes, h->Q, array_alloc((size_t)h->codes * h->Q, sizeof *c->entries)};
        for (size_t i = 0; i < c->codes * c->Q; i++) c->entries[i] = packed[i];
    }
    free(data);
    free(path);
    return ok;
}
