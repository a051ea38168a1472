/* Albums: see README.md here for the format to the byte, album.h for what each function promises, blocks.h for what
 * stands around the records.
 *
 * A record lies in its block as it is used, tokens and codes in 4 bytes each, so that reading one is a few pointers
 * into the inflated block: compression makes small what is wide. All of a block is checked when it is inflated. */
#include "album.h"

#include <stdlib.h>
#include <string.h>
#include "blocks.h"

enum {
    VERSION = 1,
    BLOCK_BYTES = 128 << 10, /* a block is full when it has so many */
    ALIGNMENT = 8,           /* of records */
    INFLATION = 1040,        /* a zlib stream holds fewer times its own bytes */
};
enum { OFFSET, RECORDS, BYTES, COLUMNS }; /* of the index: records, and inflated bytes, in the blocks before */

#define MAGIC "MHMoEALB"

struct header {
    char magic[8];
    uint32_t version, vocab, size, patch, codes, reserved;
    uint64_t tokenizer_hash, codebook_hash, data_hash, records, blocks;
    struct blocks_ends ends;
};
_Static_assert(sizeof(struct header) == 88, "no padding");

/* Behind it: lengths, all tokens, codes, pixels, the name and its NUL, zeros. */
struct record_header {
    uint64_t group;
    uint32_t bytes, name_bytes, texts, picture; /* bytes: of all of the record; picture: 1 if there is one, or 0 */
};
struct text_lengths {
    uint32_t n, prefix;
};

static size_t patches_count(const struct header *h) {
    const size_t across = h->size ? h->size / h->patch : 0;
    return across * across;
}

static size_t pixels_bytes(const struct header *h) { return 3 * (size_t)h->size * h->size; }

/* ---- Writing ---- */

struct album_writer {
    struct blocks_writer file;
    struct header header;
    char *block;
    size_t bytes, capacity, records; /* of the block; records before it */
    uint64_t inflated;               /* bytes before it */
};

struct album_writer *album_create(const char *path, const struct album_shape *shape, struct error *err) {
    struct album_writer *w = array_alloc(1, sizeof *w);
    if (!blocks_create(&w->file, path, sizeof w->header, COLUMNS, err)) {
        free(w);
        return NULL;
    }
    w->header = (struct header){MAGIC, VERSION, (uint32_t)shape->vocab, (uint32_t)shape->size, (uint32_t)shape->patch,
                                (uint32_t)shape->codes, 0, shape->tokenizer_hash, shape->codebook_hash, HASH_START,
                                0, 0, {0}};
    return w;
}

static void block_write(struct album_writer *w) {
    const uint64_t notes[] = {w->records, w->inflated};
    blocks_add(&w->file, w->block, w->bytes, notes);
    w->header.data_hash = hash_bytes(w->header.data_hash, w->block, w->bytes);
    w->header.blocks++;
    w->records = w->header.records;
    w->inflated += w->bytes;
    w->bytes = 0;
}

static bool ids_check(const struct album_writer *w, const int32_t *ids, size_t n, size_t limit, struct error *err) {
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= limit)
            return error_set(err, EXIT_MISMATCH, "%s: record %zu: an id is out of range (got %d, want 0 to %zu)",
                             w->file.file.path, (size_t)w->header.records, ids[i], limit - 1);
    return true;
}

static bool record_check(const struct album_writer *w, const struct album_record *r, struct error *err) {
    const struct header *h = &w->header;
    const bool picture = r->pixels && r->codes && h->size > 0, text = !r->pixels && !r->codes && r->n_texts > 0;
    bool whole = picture || text;
    for (size_t i = 0; whole && i < r->n_texts; i++) whole = r->texts[i].prefix < r->texts[i].n;
    if (!whole)
        return error_set(err, EXIT_MISMATCH, "%s: record %zu is neither a picture nor a text, or has an empty one",
                         w->file.file.path, (size_t)h->records);
    bool ok = !picture || ids_check(w, r->codes, patches_count(h), h->codes, err);
    for (size_t i = 0; ok && i < r->n_texts; i++) ok = ids_check(w, r->texts[i].tokens, r->texts[i].n, h->vocab, err);
    return ok;
}

static void block_put(struct album_writer *w, const void *data, size_t bytes) {
    if (bytes > 0) memcpy(w->block + w->bytes, data, bytes);
    w->bytes += bytes;
}

bool album_append(struct album_writer *w, const struct album_record *r, struct error *err) {
    static const char zeros[ALIGNMENT];
    const struct header *h = &w->header;
    if (!record_check(w, r, err)) return false;
    const size_t codes = r->codes ? patches_count(h) * sizeof *r->codes : 0, pixels = r->pixels ? pixels_bytes(h) : 0;
    size_t bytes = sizeof(struct record_header) + codes + pixels + strlen(r->name) + 1;
    for (size_t i = 0; i < r->n_texts; i++)
        bytes += sizeof(struct text_lengths) + r->texts[i].n * sizeof *r->texts[i].tokens;
    const size_t padding = -bytes % ALIGNMENT;
    if (bytes + padding > INT32_MAX) /* so that places in a block, which has less when it comes, fit in 32 bits */
        return error_set(err, EXIT_INPUT, "%s: record %zu is too large (got %zu bytes, want at most %d); cut it",
                         w->file.file.path, (size_t)h->records, bytes, INT32_MAX);
    w->block = array_grow(w->block, &w->capacity, w->bytes + bytes + padding, 1);
    const struct record_header header = {r->group, (uint32_t)(bytes + padding), (uint32_t)strlen(r->name) + 1,
                                         (uint32_t)r->n_texts, r->pixels != NULL};
    block_put(w, &header, sizeof header);
    for (size_t i = 0; i < r->n_texts; i++) {
        const struct text_lengths lengths = {(uint32_t)r->texts[i].n, (uint32_t)r->texts[i].prefix};
        block_put(w, &lengths, sizeof lengths);
    }
    for (size_t i = 0; i < r->n_texts; i++)
        block_put(w, r->texts[i].tokens, r->texts[i].n * sizeof *r->texts[i].tokens);
    block_put(w, r->codes, codes);
    block_put(w, r->pixels, pixels);
    block_put(w, r->name, header.name_bytes);
    block_put(w, zeros, padding);
    w->header.records++;
    if (w->bytes >= BLOCK_BYTES) block_write(w);
    return blocks_ok(&w->file, err);
}

bool album_finish(struct album_writer *w, bool keep, struct error *err) {
    if (keep && w->bytes > 0) block_write(w);
    const uint64_t notes[] = {w->records, w->inflated};
    const bool ok = blocks_finish(&w->file, &w->header, notes, keep, err);
    free(w->block);
    free(w);
    return ok;
}

/* ---- Opening ---- */

struct slot {
    char *data;       /* an inflated block, or NULL */
    uint32_t *starts; /* of its records */
    uint64_t used;    /* when last: a tick */
};

struct album {
    struct blocks file;
    struct header header;
    struct slot *slots; /* (blocks) */
    size_t cache_bytes, held;
    uint64_t tick;
    struct album_text *texts; /* of the record that was read last */
    size_t capacity;
};

static uint64_t note(const struct album *a, size_t block, int column) {
    return a->file.index[block * COLUMNS + (size_t)column];
}

static size_t block_bytes(const struct album *a, size_t block) {
    return note(a, block + 1, BYTES) - note(a, block, BYTES);
}

static bool shape_check(const struct header *h, const char *path, struct error *err) {
    const bool pictures = h->size > 0 && h->size <= ALBUM_SIZE_MOST && h->patch > 0 && h->size % h->patch == 0 &&
                          h->codes > 0 && h->codes <= ALBUM_CODES_MOST;
    const bool none = h->size == 0 && h->patch == 0 && h->codes == 0;
    if (h->vocab == 0 || h->vocab > INT32_MAX)
        return damage_report(err, path, (struct flaw){"header", offsetof(struct header, vocab), "impossible vocabulary",
                                                      h->vocab, INT32_MAX});
    return pictures || none ||
           damage_report(err, path, (struct flaw){"header", offsetof(struct header, size), "impossible pictures",
                                                  h->size, ALBUM_SIZE_MOST});
}

/* That the index's notes rise from 0 to what there is in all, and that a block can hold what they say. */
static bool notes_check(const struct album *a, struct error *err) {
    bool ok = note(a, 0, RECORDS) == 0 && note(a, 0, BYTES) == 0;
    for (size_t b = 0; ok && b < a->file.n; b++) {
        ok = note(a, b + 1, RECORDS) > note(a, b, RECORDS) && note(a, b + 1, BYTES) > note(a, b, BYTES) &&
             block_bytes(a, b) / INFLATION <= blocks_packed(&a->file, b) && block_bytes(a, b) <= UINT32_MAX;
        if (!ok) return block_damage(err, &a->file, b, "impossible size in the index", block_bytes(a, b), BLOCK_BYTES);
    }
    const uint64_t records = note(a, a->file.n, RECORDS);
    return (ok && records == a->header.records) ||
           damage_report(err, a->file.path, (struct flaw){"index", a->header.ends.index_offset,
                                                          "another number of records", records, a->header.records});
}

struct album *album_open(const char *dir, const char *split, size_t cache_bytes, struct error *err) {
    struct album *a = array_alloc(1, sizeof *a);
    struct header *h = &a->header;
    char *path = string_format("%s/%s.album", dir, split);
    *h = (struct header){.magic = MAGIC, .version = VERSION};
    bool ok = blocks_open(&a->file, path, "album", h, sizeof *h, err);
    ok = ok && shape_check(h, path, err) && blocks_index(&a->file, h, sizeof *h, h->blocks, COLUMNS, err) &&
         notes_check(a, err);
    free(path);
    if (!ok) {
        album_close(a);
        return NULL;
    }
    a->slots = array_alloc(a->file.n, sizeof *a->slots);
    a->cache_bytes = cache_bytes;
    return a;
}

static void slot_free(struct album *a, size_t block) {
    struct slot *slot = &a->slots[block];
    if (slot->data) a->held -= block_bytes(a, block);
    free(slot->data);
    free(slot->starts);
    *slot = (struct slot){0};
}

void album_close(struct album *a) {
    for (size_t b = 0; a->slots && b < a->file.n; b++) slot_free(a, b);
    blocks_close(&a->file);
    free(a->slots);
    free(a->texts);
    free(a);
}

size_t album_records(const struct album *a) { return a->header.records; }
size_t album_size(const struct album *a) { return a->header.size; }
size_t album_patch(const struct album *a) { return a->header.patch; }
size_t album_codes(const struct album *a) { return a->header.codes; }
int album_vocab(const struct album *a) { return (int)a->header.vocab; }
uint64_t album_tokenizer_hash(const struct album *a) { return a->header.tokenizer_hash; }
uint64_t album_codebook_hash(const struct album *a) { return a->header.codebook_hash; }
uint64_t album_data_hash(const struct album *a) { return a->header.data_hash; }

size_t album_bytes(const struct album *a) {
    size_t largest = 0;
    const size_t all = note(a, a->file.n, BYTES), most = a->cache_bytes < all ? a->cache_bytes : all;
    for (size_t b = 0; b < a->file.n; b++)
        if (block_bytes(a, b) > largest) largest = block_bytes(a, b);
    return most > largest ? most : largest;
}

bool album_verify(const struct album *a, struct error *err) { return blocks_verify(&a->file, err); }

/* ---- Reading ---- */

/* Where the parts of a record lie. */
struct parts {
    const struct text_lengths *lengths;
    const int32_t *tokens, *codes;
    const unsigned char *pixels;
    const char *name;
};

/* Bytes of all its texts' tokens. */
static uint64_t tokens_bytes(const struct text_lengths *lengths, size_t texts) {
    uint64_t n = 0;
    for (size_t i = 0; i < texts; i++) n += lengths[i].n;
    return n * sizeof(int32_t);
}

/* The parts of the record at `record`, of which `room` bytes are there, as far as its sizes are possible. */
static bool parts_find(const struct header *h, const char *record, size_t room, struct parts *p) {
    const struct record_header *r = (const struct record_header *)record;
    if (room < sizeof *r || r->bytes > room || r->bytes % ALIGNMENT != 0 || r->picture > (h->size > 0)) return false;
    const uint64_t lengths = (uint64_t)r->texts * sizeof *p->lengths;
    if (r->bytes < sizeof *r || lengths > r->bytes - sizeof *r) return false;
    p->lengths = (const struct text_lengths *)(record + sizeof *r);
    const uint64_t tokens = tokens_bytes(p->lengths, r->texts);
    const uint64_t codes = r->picture ? patches_count(h) * sizeof *p->codes : 0;
    const uint64_t pixels = r->picture ? pixels_bytes(h) : 0;
    const uint64_t all = sizeof *r + lengths + tokens + codes + pixels + r->name_bytes;
    if (all + -all % ALIGNMENT != r->bytes) return false;
    p->tokens = (const int32_t *)(record + sizeof *r + lengths);
    p->codes = r->picture ? (const int32_t *)((const char *)p->tokens + tokens) : NULL;
    const char *behind = (const char *)p->tokens + tokens + codes;
    p->pixels = r->picture ? (const unsigned char *)behind : NULL;
    p->name = behind + pixels;
    return true;
}

static bool ids_below(const int32_t *ids, size_t n, size_t limit) {
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= limit) return false;
    return true;
}

/* What is wrong with a record whose parts are where they should be; NULL if nothing is. */
static const char *parts_flaw(const struct header *h, const struct record_header *r, const struct parts *p) {
    if (!r->picture && r->texts == 0) return "a record is neither a picture nor a text";
    for (size_t i = 0; i < r->texts; i++)
        if (p->lengths[i].prefix >= p->lengths[i].n) return "an empty text";
    if (!ids_below(p->tokens, tokens_bytes(p->lengths, r->texts) / sizeof *p->tokens, h->vocab))
        return "a token is not in the vocabulary";
    if (p->codes && !ids_below(p->codes, patches_count(h), h->codes)) return "a code is not in the codebook";
    const bool ends = r->name_bytes > 0 && memchr(p->name, 0, r->name_bytes) == p->name + r->name_bytes - 1;
    return ends ? NULL : "a name has no end";
}

/* Finds where each record of an inflated block starts, and checks it. */
static bool starts_find(const struct album *a, size_t block, const char *data, uint32_t *starts, struct error *err) {
    const size_t n = note(a, block + 1, RECORDS) - note(a, block, RECORDS), bytes = block_bytes(a, block);
    size_t at = 0;
    struct parts p;
    for (size_t i = 0; i < n; i++) {
        if (!parts_find(&a->header, data + at, bytes - at, &p))
            return block_damage(err, &a->file, block, "a record has an impossible size", at, bytes);
        const struct record_header *r = (const struct record_header *)(data + at);
        const char *flaw = parts_flaw(&a->header, r, &p);
        if (flaw) return block_damage(err, &a->file, block, flaw, i, n);
        starts[i] = (uint32_t)at;
        at += r->bytes;
    }
    return at == bytes || block_damage(err, &a->file, block, "another number of bytes in its records", at, bytes);
}

/* Makes room for so many more bytes, as far as there is something to give up. */
static void room_make(struct album *a, size_t bytes) {
    while (a->held > 0 && (bytes > a->cache_bytes || a->held > a->cache_bytes - bytes)) {
        size_t oldest = a->file.n;
        for (size_t b = 0; b < a->file.n; b++)
            if (a->slots[b].data && (oldest == a->file.n || a->slots[b].used < a->slots[oldest].used)) oldest = b;
        slot_free(a, oldest);
    }
}

static const struct slot *block_fetch(struct album *a, size_t block, struct error *err) {
    struct slot *slot = &a->slots[block];
    slot->used = ++a->tick;
    if (slot->data) return slot;
    const size_t n = note(a, block + 1, RECORDS) - note(a, block, RECORDS), bytes = block_bytes(a, block);
    if (n > bytes / sizeof(struct record_header)) {
        block_damage(err, &a->file, block, "too many records in the index", n, bytes / sizeof(struct record_header));
        return NULL;
    }
    room_make(a, bytes);
    slot->data = array_alloc(bytes, 1);
    slot->starts = array_alloc(n, sizeof *slot->starts);
    a->held += bytes;
    if (blocks_read(&a->file, block, slot->data, bytes, err) && starts_find(a, block, slot->data, slot->starts, err))
        return slot;
    slot_free(a, block);
    return NULL;
}

/* The block of record i. */
static size_t block_of(const struct album *a, size_t i) {
    size_t low = 0, high = a->file.n; /* low's records begin at or before i, high's behind it */
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (note(a, middle, RECORDS) <= i) low = middle;
        else high = middle;
    }
    return low;
}

bool album_read(struct album *a, size_t i, struct album_record *record, struct error *err) {
    const size_t block = block_of(a, i);
    const struct slot *slot = block_fetch(a, block, err);
    if (!slot) return false;
    const char *at = slot->data + slot->starts[i - note(a, block, RECORDS)];
    const struct record_header *r = (const struct record_header *)at;
    struct parts p;
    parts_find(&a->header, at, r->bytes, &p);
    a->texts = array_grow(a->texts, &a->capacity, r->texts, sizeof *a->texts);
    for (size_t t = 0; t < r->texts; p.tokens += p.lengths[t++].n)
        a->texts[t] = (struct album_text){p.tokens, p.lengths[t].n, p.lengths[t].prefix};
    *record = (struct album_record){p.pixels, p.codes, a->texts, r->texts, r->group, p.name};
    return true;
}
