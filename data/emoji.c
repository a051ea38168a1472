/* Makes a folder of pictures with captions out of the packages that hold emoji and what people call them:
 * emoji IMAGES ANNOTATIONS DERIVED TO.
 *
 * IMAGES is emoji-datasource-google: emoji.json is a list of emoji, with their skin tones as variations, and img/ has a
 * picture of each. The other two are CLDR's, for each language a name ("tts") and keywords ("default") of emoji:
 * ANNOTATIONS has the single ones, DERIVED those that are put together, as flags and skin tones are. TO receives a
 * directory a category, in it BASE.png and BASE+TONE.png, moved there, and captions.tsv: the name in each language, and
 * the English keywords, which are a language of their own (en-x-keywords: BCP 47 has x for such). One of two emoji with
 * the same picture (a flag of two countries) is named after the other as if it was a tone, since what folder.h calls a
 * group is to be held out together. Called by corpus.sh. */
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "../src/base/util.h"

static const char *const languages[] = {"en", "de", "fr", "es", "ru", "tr", "el", "ja", "zh", "ko"};
enum { LANGUAGES = sizeof languages / sizeof *languages, SIZE = 64, EMOJI = 200 /* bytes of one */ };

/* A picture that was met, by a hash of its file, and its place below TO without ".png". */
struct seen {
    uint64_t hash;
    char *place;
};

struct work {
    const char *images, *to;
    json_t *names[LANGUAGES], *derived[LANGUAGES]; /* by the emoji itself */
    FILE *captions;
    struct seen *seen;
    size_t n_seen, capacity;
};

/* ---- JSON ---- */

/* The member of a file of objects in objects, KEY/annotations. */
static bool names_load(json_t **names, const char *dir, const char *key, const char *language, struct error *err) {
    char *path = string_format("%s/%s/%s/annotations.json", dir, key, language);
    json_error_t at;
    json_t *file = json_load_file(path, 0, &at);
    *names = json_incref(json_object_get(json_object_get(file, key), "annotations"));
    const bool ok = json_is_object(*names);
    if (!file) error_set(err, EXIT_INPUT, "%s: line %d: %s", path, at.line, at.text);
    else if (!ok) error_set(err, EXIT_INPUT, "%s: no names as CLDR has them", path);
    json_decref(file);
    free(path);
    return ok;
}

static const char *text_get(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* ---- Names ---- */

/* The characters of "1F44B-1F3FB", without U+FE0F, which says that a symbol is shown as a picture; false: none. */
static bool emoji_of(const char *unified, char *emoji) {
    char *end = emoji;
    for (const char *at = unified; *at && end < emoji + EMOJI - 5;) {
        char *stop;
        const unsigned long code = strtoul(at, &stop, 16);
        if (stop == at || (*stop && *stop != '-') || code > 0x10ffff) return false;
        at = *stop ? stop + 1 : stop;
        if (code == 0xfe0f) continue;
        if (code < 0x80) *end++ = (char)code;
        else {
            const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
            *end++ = (char)(0xff00u >> (more + 1) | code >> 6 * more);
            for (int i = more - 1; i >= 0; i--) *end++ = (char)(0x80 | (code >> 6 * i & 0x3f));
        }
    }
    *end = 0;
    return end > emoji;
}

/* The keywords in a row. malloc'ed; NULL if the name holds them all. */
static char *keywords_join(const json_t *keywords, const char *name) {
    char *text = string_format("%s", "");
    bool new = false;
    size_t i;
    json_t *word;
    json_array_foreach(keywords, i, word) {
        string_append(&text, "%s%s", i > 0 ? " " : "", json_string_value(word));
        new |= !strcasestr(name, json_string_value(word));
    }
    if (new) return text;
    free(text);
    return NULL;
}

static void captions_write(const struct work *w, const char *emoji, const char *place) {
    for (int l = 0; l < LANGUAGES; l++) {
        const json_t *entry = json_object_get(w->names[l], emoji);
        if (!entry) entry = json_object_get(w->derived[l], emoji);
        const char *name = json_string_value(json_array_get(json_object_get(entry, "tts"), 0));
        if (!name) continue;
        fprintf(w->captions, "%s.png\t%s\t%s\n", place, name, languages[l]);
        char *keywords = l == 0 ? keywords_join(json_object_get(entry, "default"), name) : NULL;
        if (keywords) fprintf(w->captions, "%s.png\t%s\ten-x-keywords\n", place, keywords);
        free(keywords);
    }
}

/* ---- Pictures ---- */

/* The place of the picture with the same file, if there is one, or the new one. malloc'ed. */
static char *place_find(struct work *w, const char *image, const char *category, const char *code, struct error *err) {
    size_t size, i = 0;
    char *bytes = file_contents(fopen(image, "rb"), image, &size, err);
    if (!bytes) return NULL;
    const uint64_t hash = hash_bytes(HASH_START, bytes, size);
    free(bytes);
    while (i < w->n_seen && w->seen[i].hash != hash) i++;
    if (i < w->n_seen) return string_format("%s+%s", w->seen[i].place, code);
    w->seen = array_grow(w->seen, &w->capacity, w->n_seen + 1, sizeof *w->seen);
    w->seen[w->n_seen++] = (struct seen){hash, string_format("%s/%s", category, code)};
    return string_format("%s/%s", category, code);
}

/* "people-body" from "People & Body", "1f44b-1f3fb" from "1F44B-1F3FB"; malloc'ed. */
static char *name_lower(const char *name) {
    char *lower = string_format("%s", name), *end = lower;
    for (; *name; name++)
        if (isalnum((unsigned char)*name)) *end++ = (char)tolower((unsigned char)*name);
        else if (end > lower && end[-1] != '-') *end++ = '-';
    *end = 0;
    return lower;
}

static char *image_path(const struct work *w, const char *code) {
    return string_format("%s/img/google/%d/%s.png", w->images, SIZE, code);
}

/* Gives the picture of `emoji` (an object of emoji.json) its place, and its captions. */
static bool picture_move(const struct work *w, const json_t *emoji, const char *place, struct error *err) {
    char characters[EMOJI], *code = name_lower(text_get(emoji, "unified")), *from = image_path(w, code);
    char *path = string_format("%s/%s.png", w->to, place);
    bool ok = emoji_of(text_get(emoji, "unified"), characters) ||
              error_set(err, EXIT_INPUT, "%s/emoji.json: not an emoji: '%s'", w->images, text_get(emoji, "unified"));
    if (ok && rename(from, path) != 0)
        ok = error_set(err, EXIT_INPUT, "%s: cannot move to %s: %s", from, path, strerror(errno));
    if (ok) captions_write(w, characters, place);
    free(path);
    free(from);
    free(code);
    return ok;
}

/* An emoji and its skin tones. */
static bool emoji_move(struct work *w, json_t *emoji, struct error *err) {
    char *category = name_lower(text_get(emoji, "category")), *dir = string_format("%s/%s", w->to, category);
    char *code = name_lower(text_get(emoji, "unified")), *image = image_path(w, code);
    char *place = directory_make(dir, err) ? place_find(w, image, category, code, err) : NULL;
    bool ok = place && picture_move(w, emoji, place, err);
    const char *key;
    json_t *variation;
    json_object_foreach(json_object_get(emoji, "skin_variations"), key, variation) {
        char *tone = name_lower(key), *tone_place = ok ? string_format("%s+%s", place, tone) : NULL;
        ok = ok && picture_move(w, variation, tone_place, err);
        free(tone_place);
        free(tone);
    }
    free(place);
    free(image);
    free(code);
    free(dir);
    free(category);
    return ok;
}

static bool emoji_list(struct work *w, struct error *err) {
    char *list = string_format("%s/emoji.json", w->images), *path = string_format("%s/captions.tsv", w->to);
    json_error_t at;
    size_t i;
    json_t *all = json_load_file(list, 0, &at), *emoji;
    bool ok = json_array_size(all) > 0 ||
              error_set(err, EXIT_INPUT, "%s: line %d: %s", list, at.line, all ? "no list of emoji" : at.text);
    if (ok && !(w->captions = fopen(path, "wb")))
        ok = error_set(err, EXIT_OUTPUT, "%s: cannot create this file: %s", path, strerror(errno));
    json_array_foreach(all, i, emoji) ok = ok && emoji_move(w, emoji, err);
    if (w->captions && fclose(w->captions) != 0 && ok)
        ok = error_set(err, EXIT_OUTPUT, "%s: cannot write: %s", path, strerror(errno));
    json_decref(all);
    free(path);
    free(list);
    return ok;
}

int main(int argc, char **argv) {
    struct error err = {EXIT_USAGE, "usage: emoji IMAGES ANNOTATIONS DERIVED TO"};
    program_start(argv);
    if (argc != 5) error_exit(&err);
    struct work w = {.images = argv[1], .to = argv[4]};
    bool ok = true;
    for (int l = 0; ok && l < LANGUAGES; l++)
        ok = names_load(&w.names[l], argv[2], "annotations", languages[l], &err) &&
             names_load(&w.derived[l], argv[3], "annotationsDerived", languages[l], &err);
    ok = ok && emoji_list(&w, &err);
    for (int l = 0; l < LANGUAGES; l++) {
        json_decref(w.names[l]);
        json_decref(w.derived[l]);
    }
    for (size_t i = 0; i < w.n_seen; i++) free(w.seen[i].place);
    free(w.seen);
    if (!ok) error_exit(&err);
    return EXIT_DONE;
}
