/* See byte_level.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "byte_level.h"

#include <jansson.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include "../src/base/text.h"

/* Left and right side by side become `merged`; lower ranks first. */
struct merge {
    int32_t left, right, merged;
    size_t rank;
};

struct byte_level {
    json_t *model;
    size_t vocab, n_merges;
    const char **texts;    /* (vocab) in the model */
    char **pieces;         /* (vocab) */
    size_t *sizes;
    int32_t end_of_text, byte_ids[256];
    struct merge *merges;  /* by left and right */
    pcre2_code *words;
};

/* ---- Letters for bytes ---- */

/* What is a visible letter in Latin-1 is itself. */
static bool is_itself(int byte) {
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/* The others follow U+00FF, in their order. */
static int letter_of(int byte) {
    int letter = 0x100;
    for (int b = 0; b < byte; b++) letter += !is_itself(b);
    return is_itself(byte) ? byte : letter;
}

/* The bytes that a token's letters stand for, malloc'ed; NULL if there is a letter that stands for none. */
static char *letters_decode(const char *token, const int byte_of[0x200], size_t *size) {
    char *bytes = array_alloc(strlen(token) + 1, 1);
    *size = 0;
    for (const unsigned char *at = (const unsigned char *)token; *at; at++) {
        int letter = *at;
        if (letter >= 0xc0 && letter < 0xe0 && at[1]) letter = (letter & 0x1f) << 6 | (*++at & 0x3f);
        else if (letter >= 0x80) letter = 0;
        const int byte = letter < 0x200 ? byte_of[letter] : -1;
        if (byte < 0) {
            free(bytes);
            return NULL;
        }
        bytes[(*size)++] = (char)byte;
    }
    return bytes;
}

/* ---- Reading a model ---- */

static int merge_order(const void *a, const void *b) {
    const struct merge *s = a, *t = b;
    if (s->left != t->left) return s->left < t->left ? -1 : 1;
    return (s->right > t->right) - (s->right < t->right);
}

static int32_t id_of(const struct byte_level *b, const char *token) {
    const json_t *id = json_object_get(json_object_get(b->model, "vocab"), token);
    return json_is_integer(id) ? (int32_t)json_integer_value(id) : -1;
}

/* Each id of 0..n-1 is some token's. */
static bool vocab_read(struct byte_level *b, char room[256]) {
    json_t *vocab = json_object_get(b->model, "vocab"), *id;
    const char *text;
    b->vocab = json_object_size(vocab);
    b->texts = array_alloc(b->vocab + 1, sizeof *b->texts);
    b->pieces = array_alloc(b->vocab + 1, sizeof *b->pieces);
    b->sizes = array_alloc(b->vocab + 1, sizeof *b->sizes);
    json_object_foreach(vocab, text, id) {
        const json_int_t i = json_is_integer(id) ? json_integer_value(id) : -1;
        if (i < 0 || i >= (json_int_t)b->vocab || b->texts[i]) {
            snprintf(room, 256, "vocab: token '%.100s' has no id of its own from 0 to %zu", text, b->vocab - 1);
            return false;
        }
        b->texts[i] = text;
    }
    return true;
}

static bool pieces_read(struct byte_level *b, char room[256]) {
    const char *end = json_string_value(json_object_get(b->model, "end_of_text"));
    int byte_of[0x200];
    memset(byte_of, -1, sizeof byte_of);
    for (int byte = 0; byte < 256; byte++) byte_of[letter_of(byte)] = byte;
    b->end_of_text = end ? id_of(b, end) : -1;
    if (b->end_of_text < 0) {
        snprintf(room, 256, "vocab: no end-of-text token %.100s", end ? end : "");
        return false;
    }
    memset(b->byte_ids, -1, sizeof b->byte_ids);
    for (size_t i = 0; i < b->vocab; i++) {
        if ((int32_t)i != b->end_of_text) b->pieces[i] = letters_decode(b->texts[i], byte_of, &b->sizes[i]);
        if (!b->pieces[i]) b->sizes[i] = 0;
        if (b->sizes[i] == 1) b->byte_ids[(unsigned char)b->pieces[i][0]] = (int32_t)i;
    }
    for (int byte = 0; byte < 256; byte++)
        if (b->byte_ids[byte] < 0) {
            snprintf(room, 256, "vocab: no token for the byte 0x%02X", byte);
            return false;
        }
    return true;
}

/* Entry i of the model's merges: two tokens, the two of which as one are a third (not the end of text). */
static bool merge_read(struct byte_level *b, size_t i, char room[256]) {
    const char *line = json_string_value(json_array_get(json_object_get(b->model, "merges"), i));
    const char *blank = line ? strchr(line, ' ') : NULL;
    if (blank) { /* no token that stands for bytes holds a second one */
        char *left = string_format("%.*s", (int)(blank - line), line), *both = string_format("%s%s", left, blank + 1);
        b->merges[i] = (struct merge){id_of(b, left), id_of(b, blank + 1), id_of(b, both), i};
        free(left);
        free(both);
        const int32_t merged = b->merges[i].merged;
        if (b->merges[i].left >= 0 && b->merges[i].right >= 0 && merged >= 0 && b->pieces[merged]) return true;
    }
    snprintf(room, 256, "merges: number %zu, '%.100s', is not two tokens that are a third", i + 1, line ? line : "");
    return false;
}

static bool merges_read(struct byte_level *b, char room[256]) {
    b->n_merges = json_array_size(json_object_get(b->model, "merges"));
    b->merges = array_alloc(b->n_merges + 1, sizeof *b->merges);
    for (size_t i = 0; i < b->n_merges; i++)
        if (!merge_read(b, i, room)) return false;
    qsort(b->merges, b->n_merges, sizeof *b->merges, merge_order);
    for (size_t i = 1; i < b->n_merges; i++)
        if (merge_order(&b->merges[i - 1], &b->merges[i]) == 0) {
            snprintf(room, 256, "merges: '%.100s %.100s' is there twice", b->texts[b->merges[i].left],
                     b->texts[b->merges[i].right]);
            return false;
        }
    return true;
}

/* Unicode's White_Space; PCRE2's own \s leaves one of it out. */
#define SPACE                                                                             \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}" \
    "\\x{202f}\\x{205f}\\x{3000}"

/* Contractions; letters, numbers and other marks with a space before them; blanks, the last of which goes with what
 * follows if it is a space. */
static pcre2_code *words_compile(void) {
    static const char pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+|"
                                  "[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+";
    int error;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error, &at, NULL);
    if (code) pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* where it cannot, the pattern is interpreted */
    return code;
}

struct byte_level *byte_level_create(const char *json, size_t size, char room[256], const char **problem) {
    struct byte_level *b = array_alloc(1, sizeof *b);
    b->model = json_loadb(json, size, JSON_REJECT_DUPLICATES, NULL);
    *problem = room;
    if (!json_is_object(json_object_get(b->model, "vocab"))) *problem = "not JSON with a vocab, or damaged";
    else if (vocab_read(b, room) && pieces_read(b, room) && merges_read(b, room)) {
        b->words = words_compile();
        *problem = b->words ? NULL : "PCRE2 without Unicode cannot tell its words apart";
    }
    if (!*problem) return b;
    byte_level_free(b);
    return NULL;
}

void byte_level_free(struct byte_level *b) {
    if (!b) return;
    for (size_t i = 0; b->pieces && i < b->vocab; i++) free(b->pieces[i]);
    free(b->pieces);
    free(b->sizes);
    free(b->texts);
    free(b->merges);
    if (b->words) pcre2_code_free(b->words);
    json_decref(b->model);
    free(b);
}

int byte_level_vocab(const struct byte_level *b) { return (int)b->vocab; }
int32_t byte_level_end_of_text(const struct byte_level *b) { return b->end_of_text; }
const char *byte_level_text(const struct byte_level *b, int32_t id) { return b->texts[id]; }
const char *byte_level_piece(const struct byte_level *b, int32_t id, size_t *size) {
    *size = b->sizes[id];
    return b->pieces[id] ? b->pieces[id] : "";
}

/* ---- Encoding ---- */

/* A word on its way: symbols in a list, and the merges that are possible, in a heap with the first one on top. A word
 * may be as long as a text, so that to look for the first one each time would not do. */
enum { NOWHERE = -1 };
struct candidate {
    const struct merge *merge;
    int32_t at;
};
struct word {
    int32_t *symbols, *before, *after; /* NOWHERE: none, or merged into another */
    struct candidate *heap;
    size_t n, room[3], heap_n, heap_room;
};

static bool comes_first(struct candidate a, struct candidate b) {
    return a.merge->rank != b.merge->rank ? a.merge->rank < b.merge->rank : a.at < b.at;
}

static void heap_push(struct word *w, struct candidate c) {
    w->heap = array_grow(w->heap, &w->heap_room, w->heap_n + 1, sizeof *w->heap);
    size_t i = w->heap_n++;
    for (; i > 0 && comes_first(c, w->heap[(i - 1) / 2]); i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = c;
}

static struct candidate heap_pop(struct word *w) {
    const struct candidate top = w->heap[0], last = w->heap[--w->heap_n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->heap_n; i = child) {
        if (child + 1 < w->heap_n && comes_first(w->heap[child + 1], w->heap[child])) child++;
        if (!comes_first(w->heap[child], last)) break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = last;
    return top;
}

/* The symbol there, with the one after it, if they can be merged. */
static void candidate_add(const struct byte_level *b, struct word *w, int32_t at) {
    if (at == NOWHERE || w->after[at] == NOWHERE) return;
    const struct merge wanted = {.left = w->symbols[at], .right = w->symbols[w->after[at]]};
    const struct merge *merge = bsearch(&wanted, b->merges, b->n_merges, sizeof wanted, merge_order);
    if (merge) heap_push(w, (struct candidate){merge, at});
}

static void candidate_merge(const struct byte_level *b, struct word *w, struct candidate c) {
    const int32_t right = w->after[c.at];
    if (w->symbols[c.at] != c.merge->left || right == NOWHERE || w->symbols[right] != c.merge->right) return;
    w->symbols[c.at] = c.merge->merged;
    w->symbols[right] = NOWHERE;
    w->after[c.at] = w->after[right];
    if (w->after[right] != NOWHERE) w->before[w->after[right]] = c.at;
    candidate_add(b, w, w->before[c.at]);
    candidate_add(b, w, c.at);
}

static void word_encode(const struct byte_level *b, struct word *w, const char *text, size_t size) {
    w->symbols = array_grow(w->symbols, &w->room[0], size, sizeof *w->symbols);
    w->before = array_grow(w->before, &w->room[1], size, sizeof *w->before);
    w->after = array_grow(w->after, &w->room[2], size, sizeof *w->after);
    w->n = size;
    w->heap_n = 0;
    for (size_t i = 0; i < size; i++) {
        w->symbols[i] = b->byte_ids[(unsigned char)text[i]];
        w->before[i] = (int32_t)i - 1;
        w->after[i] = i + 1 < size ? (int32_t)i + 1 : NOWHERE;
    }
    for (size_t i = 0; i < size; i++) candidate_add(b, w, (int32_t)i);
    while (w->heap_n > 0) candidate_merge(b, w, heap_pop(w));
}

/* Bytes of the word at the start of text, whose first `valid` bytes are UTF-8; a byte that is none is a word. */
static size_t word_length(const struct byte_level *b, pcre2_match_data *match, const char *text, size_t valid) {
    const uint32_t flags = PCRE2_NO_UTF_CHECK | PCRE2_ANCHORED;
    if (valid == 0) return 1;
    const int found = pcre2_match(b->words, (PCRE2_SPTR)text, valid, 0, flags, match, NULL);
    const size_t length = found > 0 ? pcre2_get_ovector_pointer(match)[1] : 0;
    return length ? length : text_character(text, valid);
}

void byte_level_encode(const struct byte_level *b, const char *text, size_t size, int32_t **ids, size_t *count,
                       size_t *capacity) {
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(b->words, NULL);
    struct word w = {0};
    size_t valid = 0; /* so many bytes from `at` on are whole characters */
    for (size_t at = 0, length; at < size; at += length) {
        const bool renew = valid == 0;
        for (size_t more; renew && at + valid < size; valid += more)
            if ((more = text_character(text + at + valid, size - at - valid)) == 0) break;
        length = word_length(b, match, text + at, valid);
        word_encode(b, &w, text + at, length);
        *ids = array_grow(*ids, capacity, *count + length, sizeof **ids);
        for (size_t i = 0; i < w.n; i++)
            if (w.symbols[i] != NOWHERE) (*ids)[(*count)++] = w.symbols[i];
        valid -= valid < length ? valid : length;
    }
    pcre2_match_data_free(match);
    free(w.symbols);
    free(w.before);
    free(w.after);
    free(w.heap);
}
