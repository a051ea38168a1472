/* ./sample --image, --fill and --complete as their user runs them, on models made by hand: against masked.h, which is
 * given the tokens and pixels that the command line stands for. What masked.h does with them: test_filling.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <omp.h>
#include <png.h>

#include "../data/mask.h"
#include "../data/pictures.h"
#include "command.h"
#include "small_masked.h"

enum { END = 1, GAP = '_' /* in what ids_of reads */ };

static unsigned char pixels[PIXELS]; /* of a.png */

/* Models with pictures whose captions are mostly in "de", or in no language; and one of texts. */
static int models_make(void **state) {
    (void)state;
    struct error err;
    if (!workplace_enter()) return -1;
    omp_set_num_threads(1);
    real *entries = codebook_random(5);
    struct model m = masked_model(true, 1, 3), texts = masked_model(false, 1, 4);
    masked_save(&m, entries, "de", "de");
    masked_save(&m, entries, NULL, "none");
    masked_save(&texts, NULL, "", "texts");
    model_destroy(&m);
    model_destroy(&texts);
    free(entries);
    pixels_random(pixels, 6);
    return picture_write("a.png", &(struct picture){SIDE, SIDE, pixels}, &err) ? 0 : -1;
}

/* ---- The same, here ---- */

struct here {
    struct masked k;
    struct model m;
    tokenizer *t;
};

static struct here *here_open(const char *path) {
    struct here *h = array_alloc(1, sizeof *h);
    struct checkpoint c;
    struct error err;
    if (!checkpoint_open(&c, path, &err) ||
        !model_load(&h->m, &c, (struct model_setup){MODEL_INFER, 1, false, STORAGE_F32}, &err) ||
        !(h->t = tokenizer_from_checkpoint(&c, &err)) || !masked_open(&h->k, &h->m, h->t, &c, &err))
        fail_msg("%s", err.text);
    checkpoint_close(&c);
    return h;
}

static void here_close(struct here *h) {
    masked_close(&h->k);
    model_destroy(&h->m);
    tokenizer_free(h->t);
    free(h);
}

/* Each letter is a token. Returns how many. */
static size_t ids_of(const struct here *h, const char *text, int32_t *ids) {
    size_t n = 0;
    for (; *text; text++) {
        int32_t *one = NULL;
        size_t count = 0, capacity = 0;
        tokenizer_encode(h->t, text, 1, &one, &count, &capacity);
        assert_int_equal(count, 1);
        ids[n++] = *text == GAP ? TOKEN_HIDDEN : *one;
        free(one);
    }
    return n;
}

/* What is to be printed of tokens. */
static char *text_of(const struct here *h, const int32_t *ids, size_t n) {
    char *text = string_format("%s", "");
    for (size_t i = 0; i < n; i++) {
        size_t size;
        const char *bytes = tokenizer_piece(h->t, ids[i], &size);
        string_append(&text, "%.*s", (int)size, bytes);
    }
    if (*text == ' ') memmove(text, text + 1, strlen(text));
    string_append(&text, "\n");
    return text;
}

__attribute__((format(printf, 2, 3))) static void prints(const char *want, const char *format, ...) {
    char command[1000];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    run("%s", command);
    if (strcmp(output, want) != 0) fail_msg("%s\nprints '%s', want '%s'", command, output, want);
    assert_string_equal(errors, "");
}

/* ---- Captions ---- */

static void caption_expect(const char *model, const char *prefix, size_t length, const char *options) {
    struct here *h = here_open(model);
    int32_t ids[2 * ROOM];
    const size_t n = ids_of(h, prefix, ids), all = masked_caption(&h->k, pixels, ids, n, length);
    char *want = text_of(h, ids + n, all - n);
    if (length) assert_int_equal(all, n + length + 1);
    prints(want, "sample --model %s --image a.png %s", model, options);
    free(want);
    here_close(h);
}

/* The model's language is the default; a caption has as many tokens as there is room for. */
static void captions_are_written(void **state) {
    (void)state;
    caption_expect("de", "de:", 0, "");
    caption_expect("de", "en:", 0, "--language en");
    caption_expect("de", "", 0, "--language ''");
    caption_expect("none", "", 0, "");
    caption_expect("none", "abcdefghi:", 0, "--language abcdefghi");
    caption_expect("none", "abcdefghijklm:", 0, "--language abcdefghijklm");
    for (size_t length = 1; length <= 12; length += 3) {
        char *options = string_format("--length %zu", length);
        caption_expect("de", "de:", length, options);
        free(options);
    }
    caption_expect("none", "", 15, "--length 15");
    caption_expect("none", "k:", 3, "--length 3 --language k");
}

static void fitted_expect(const char *file, const unsigned char *rgb) {
    struct here *h = here_open("de");
    int32_t ids[2 * ROOM];
    const size_t n = ids_of(h, "de:", ids), all = masked_caption(&h->k, rgb, ids, n, 4);
    char *want = text_of(h, ids + n, all - n);
    prints(want, "sample --model de --image %s --length 4", file);
    prints("", "sample --model de --complete %s --hide 1,1,3,2 --out whole.png", file);
    struct picture p;
    struct error err;
    bool hidden[P] = {true, true, false, true, true};
    unsigned char painted[PIXELS];
    memcpy(painted, rgb, PIXELS);
    masked_paint(&h->k, painted, hidden, NULL, 0);
    if (!picture_read(&p, "whole.png", &err)) fail_msg("%s", err.text);
    assert_int_equal(p.width, SIDE);
    assert_memory_equal(p.rgb, painted, PIXELS);
    free(p.rgb);
    free(want);
    here_close(h);
}

/* Grey, with a palette, of other sizes: as picture_read and picture_fit have them. */
static void odd_pictures_are_fitted(void **state) {
    (void)state;
    static const struct {
        const char *file;
        png_uint_32 width, height, format;
    } kinds[] = {{"grey.png", SIDE, SIDE, PNG_FORMAT_GRAY}, {"wide.png", 2 * SIDE, 9, PNG_FORMAT_RGB},
                 {"tiny.png", 1, 1, PNG_FORMAT_RGB}, {"clear.png", 3, SIDE, PNG_FORMAT_RGBA}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        unsigned char raw[4 * 12 * 12];
        png_image image = {.version = PNG_IMAGE_VERSION, .width = kinds[i].width, .height = kinds[i].height,
                           .format = kinds[i].format};
        struct picture p;
        struct error err;
        for (size_t k = 0; k < sizeof raw; k++) raw[k] = (unsigned char)(k * 41 + i);
        assert_true(png_image_write_to_file(&image, kinds[i].file, 0, raw, 0, NULL));
        if (!picture_read(&p, kinds[i].file, &err)) fail_msg("%s", err.text);
        picture_fit(&p, SIDE);
        fitted_expect(kinds[i].file, p.rgb);
        free(p.rgb);
    }
    unsigned char entries[4 * 3], index[SIDE * SIDE];
    png_image image = {.version = PNG_IMAGE_VERSION, .width = SIDE, .height = SIDE, .colormap_entries = 4,
                       .format = PNG_FORMAT_RGB | PNG_FORMAT_FLAG_COLORMAP};
    unsigned char rgb[PIXELS];
    for (size_t k = 0; k < sizeof entries; k++) entries[k] = (unsigned char)(k * 20 + 3);
    for (size_t k = 0; k < sizeof index; k++) index[k] = (unsigned char)(k * 7 % 4);
    for (size_t k = 0; k < PIXELS; k++) rgb[k] = entries[index[k / 3] * 3 + k % 3];
    assert_true(png_image_write_to_file(&image, "palette.png", 0, index, 0, entries));
    fitted_expect("palette.png", rgb);
}

/* ---- Gaps ---- */

/* `ids` are the text's, a gap each GAP; behind them the end of text. */
static void fill_expect(const char *model, const char *prefix, const char *tokens, const char *text, bool picture,
                        const char *options) {
    struct here *h = here_open(model);
    int32_t ids[2 * ROOM];
    const size_t start = ids_of(h, prefix, ids), n = start + ids_of(h, tokens, ids + start);
    ids[n] = END;
    masked_fill(&h->k, picture ? pixels : NULL, ids, n + 1);
    char *want = text_of(h, ids + start, n - start);
    prints(want, "sample --model %s --fill '%s' %s %s", model, text, picture ? "--image a.png" : "", options);
    free(want);
    here_close(h);
}

/* The space before a gap is the gap's own; behind a language there is one before all of it. */
static void gaps_are_filled(void **state) {
    (void)state;
    static const struct {
        const char *text, *tokens;
    } cases[] = {{"a [MASK] b", "a_ b"}, {"[MASK] b", "_ b"}, {"a [MASK]", "a_"}, {"[MASK]", "_"},
                 {"a[MASK]b", "a_b"}, {"a  [MASK]", "a _"}, {"[MASK][MASK]c", "__c"}, {"[MASK] [MASK] c", "__ c"},
                 {"a [MASK] b [MASK] d [MASK]", "a_ b_ d_"}, {"abc", "abc"}, {"a [mask]", NULL}, {" [MASK]", "_"},
                 {"a ", "a "}, {"[MASK] b ", "_ b "}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *tokens = cases[i].tokens ? cases[i].tokens : cases[i].text;
        const bool gap_first = *tokens == GAP;
        char *behind = string_format("%s%s", gap_first && *cases[i].text != ' ' ? "" : " ", tokens);
        for (int picture = 0; picture < 2; picture++) {
            fill_expect("none", "", tokens, cases[i].text, picture, "");
            if (*cases[i].text == ' ') continue; /* two spaces, then */
            fill_expect("de", "de:", behind, cases[i].text, picture, "");
            fill_expect("de", "m:", behind, cases[i].text, picture, "--language m");
            fill_expect("de", "", tokens, cases[i].text, picture, "--language ''");
        }
        fill_expect("texts", "", tokens, cases[i].text, false, "");
        free(behind);
    }
    fill_expect("de", "de:", " _", " [MASK]", false, "");
}

/* As much as there is room for, and no more. */
static void long_texts_are_refused(void **state) {
    (void)state;
    fill_expect("none", "", "abcdefghijklmn_", "abcdefghijklmn[MASK]", true, "");
    refuse(2, "--fill: a text too long for the model (got 17 tokens with its language, want at most 16)", "shorten it",
           "sample --model none --fill 'abcdefghijklmno[MASK]'");
    fill_expect("texts", "", "abcdefghijklmn_", "abcdefghijklmn[MASK]", false, "");
    refuse(2, "(got 17 tokens", "shorten it", "sample --model texts --fill 'abcdefghijklmno[MASK]'");
    refuse(2, "--fill: a text too long for the model (got 17 tokens", "shorten it",
           "sample --model de --image a.png --fill 'abcdefghijk[MASK]'");
    refuse(2, "--fill: a text too long for the model (got 17 tokens", "shorten it",
           "sample --model none --complete a.png --hide 0,0,1,1 --out x.png --fill 'abcdefghijklmno[MASK]'");
    refuse(2, "--length: a text too long for the model (got 17 tokens with its language, want at most 16)",
           "shorten it", "sample --model de --image a.png --length 13");
    refuse(2, "--length: a text too long for the model (got 17 tokens", "",
           "sample --model none --image a.png --length 16");
    refuse(2, "--language: a text too long for the model (got 17 tokens", "shorten it",
           "sample --model none --image a.png --language abcdefghijklmn");
    refuse(2, "--fill: no text", "[MASK]", "sample --model de --fill ''");
    refuse(2, "--fill: no text", "[MASK]", "sample --model none --image a.png --fill ''");
    run("! test -e x.png");
}

/* ---- Painting ---- */

static void complete_expect(const char *hide, const char *which, const char *fill, const char *tokens) {
    struct here *h = here_open("de");
    bool hidden[P];
    unsigned char want[PIXELS];
    int32_t ids[2 * ROOM];
    struct picture p;
    struct error err;
    size_t n = ids_of(h, tokens, ids);
    if (n) ids[n++] = END;
    for (int i = 0; i < P; i++) hidden[i] = which[i] == 'x';
    memcpy(want, pixels, PIXELS);
    masked_paint(&h->k, want, hidden, ids, n);
    run("rm -f out.png && sample --model de --complete a.png --hide %s --out out.png %s", hide, fill);
    assert_string_equal(output, "");
    assert_string_equal(errors, "");
    if (!picture_read(&p, "out.png", &err)) fail_msg("%s", err.text);
    assert_int_equal(p.width, SIDE);
    assert_int_equal(p.height, SIDE);
    assert_memory_equal(p.rgb, want, PIXELS);
    for (int i = 0; i < PIXELS; i++)
        if (!hidden[i / 3 / SIDE / PATCH * ACROSS + i / 3 % SIDE / PATCH]) assert_int_equal(p.rgb[i], pixels[i]);
    assert_memory_not_equal(p.rgb, pixels, PIXELS);
    free(p.rgb);
    here_close(h);
}

/* What the rectangle touches, and nothing else; a text beside it is read, and may have gaps of its own. */
static void hidden_patches_are_painted(void **state) {
    (void)state;
    complete_expect("0,0,1,1", "x........", "", "");
    complete_expect("2,3,2,1", "....x....", "", "");
    complete_expect("1,0,2,5", "xx.xx.xx.", "", "");
    complete_expect("4,0,2,2", "..x......", "", "");
    complete_expect("0,0,6,6", "xxxxxxxxx", "", "");
    complete_expect("0,0,6,6", "xxxxxxxxx", "--fill 'a b'", "de: a b");
    complete_expect("1,1,4,4", "xxxxxxxxx", "--fill 'a [MASK] c' --language en", "en: a_ c");
    complete_expect("1,1,4,4", "xxxxxxxxx", "--fill '[MASK]' --language ''", "_");
}

static void wrong_rectangles_are_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {"0,0,7,1", "5,5,1,2", "6,0,1,1", "0,0,0,3", "1,1,1", "1,1,1,x", "", "a",
                                        "-1,0,2,2"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *command = string_format("sample --model de --complete a.png --hide '%s' --out x.png", wrong[i]);
        refuse(2, "rectangle", "", command);
        run("! test -e x.png");
        free(command);
    }
    refuse(4, "nowhere/x.png", "", "sample --model de --complete a.png --hide 0,0,1,1 --out nowhere/x.png");
    refuse(3, "b.png: ", "", "sample --model de --complete b.png --hide 0,0,1,1 --out x.png");
    refuse(3, "b.png: ", "", "sample --model de --image b.png");
    refuse(3, "b.png: ", "", "sample --model de --image b.png --fill '[MASK]'");
    run("echo text >text.png");
    refuse(3, "text.png: ", "", "sample --model de --image text.png");
}

/* ---- What does not go together ---- */

#define PAINT "--complete a.png --hide 0,0,1,1 --out x.png"

static void one_thing_at_a_time(void **state) {
    (void)state;
    static const char *const modes[][2] = {{"score", "x.txt"}, {"evaluate", "x.txt"},
                                           {"complete", "a.png --hide 0,0,1,1 --out x.png"}, {"fill", "[MASK]"},
                                           {"image", "a.png"}};
    static const bool together[5][5] = {[2][3] = true, [3][4] = true};
    for (int i = 0; i < 5; i++)
        for (int j = i + 1; j < 5; j++) {
            if (together[i][j]) continue;
            char *says = string_format("--%s and --%s both given", modes[i][0], modes[j][0]);
            char *command = string_format("sample --model de --%s %s --%s %s", modes[j][0], modes[j][1], modes[i][0],
                                          modes[i][1]);
            refuse(2, says, "choose one", command);
            free(says);
            free(command);
        }
    refuse(2, "--complete and --image both given", "choose one",
           "sample --model de " PAINT " --fill x --image a.png");
    refuse(2, "--score and --fill both given", "choose one", "sample --score x.txt --fill x --image a.png");
    static const char *const asked[] = {"--image a.png", "--fill '[MASK]'", PAINT,
                                        "--image a.png --fill '[MASK]'"};
    static const char *const named[] = {"image", "fill", "complete", "fill"};
    static const char *const writing[][2] = {{"prompt", "x"}, {"prompt-file", "x"}, {"tokens", "5"}, {"samples", "2"},
                                             {"temperature", "0.5"}, {"top-k", "3"}, {"top-p", "0.5"}, {"seed", "7"},
                                             {"greedy", ""}};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 9; j++) {
            char *says = string_format("--%s is of no use with --%s, which takes what is likeliest", writing[j][0],
                                       named[i]);
            char *command = string_format("sample --model de %s --%s %s", asked[i], writing[j][0], writing[j][1]);
            refuse(2, says, "leave it out", command);
            free(says);
            free(command);
        }
    run("! test -e x.png");
}

static void options_of_others_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *says, *command;
    } cases[] = {
        {"--hide is of no use without --complete", "sample --model de --hide 0,0,1,1 --image a.png"},
        {"--out is of no use without --complete", "sample --model de --out x.png --fill '[MASK]'"},
        {"--length is of no use without --image", "sample --model de --length 3 --fill '[MASK]'"},
        {"--length is of no use without --image alone", "sample --model de --length 3 --image a.png --fill '[MASK]'"},
        {"--length is of no use without --image", "sample --model de --length 3 " PAINT},
        {"--language is of no use without --image", "sample --model de --language en"},
        {"--language is of no use without --image",
         "sample --model de --language en " PAINT},
        {"--logprobs is of no use without --score", "sample --model de --logprobs 3 --image a.png"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuse(2, cases[i].says, "; name a ", cases[i].command);
    refuse(2, "--complete: ", "give both", "sample --model de --complete a.png");
    refuse(2, "--complete: ", "give both", "sample --model de --complete a.png --hide 0,0,1,1");
    refuse(2, "--complete: ", "give both", "sample --model de --complete a.png --out x.png");
    run("! test -e x.png");
}

static void output_that_fails_is_told(void **state) {
    (void)state;
    refuse(4, "standard output", "", "sample --model de --image a.png --length 2 >/dev/full");
    refuse(4, "standard output", "", "sample --model de --fill '[MASK]' >/dev/full");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captions_are_written),
        cmocka_unit_test(odd_pictures_are_fitted),
        cmocka_unit_test(gaps_are_filled),
        cmocka_unit_test(long_texts_are_refused),
        cmocka_unit_test(hidden_patches_are_painted),
        cmocka_unit_test(wrong_rectangles_are_refused),
        cmocka_unit_test(one_thing_at_a_time),
        cmocka_unit_test(options_of_others_are_refused),
        cmocka_unit_test(output_that_fails_is_told),
    };
    return cmocka_run_group_tests(tests, models_make, workplace_remove);
}
