/* Albums in the cache: how entries are found again, what a damaged or exchanged one is taken for; what a preparation
 * tells; the sheet of what a codebook paints. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <omp.h>
#include "../data/sheet.h"
#include "album_folders.h"

/* ---- Entries ---- */

/* Two threads more, and another order of work: the same bytes, more pictures than are read at a time. */
static void threads_change_nothing(void **state) {
    struct setting s = setting_make(*state, 100, 30);
    static const char *const files[] = {"tokenizer.model", "codebook", "train.album", "val.album"};
    const int threads = omp_get_max_threads();
    char *caches[2], *entries[2];
    for (int i = 0; i < 2; i++) {
        s.options.cache = caches[i] = string_format("%s/cache%d", (char *)*state, i);
        omp_set_num_threads(1 + 2 * i);
        entries[i] = prepared(&s);
    }
    omp_set_num_threads(threads);
    for (int i = 0; i < 4; i++) files_equal(entries[0], entries[1], files[i], true);
    for (int i = 0; i < 2; i++) {
        free(caches[i]);
        free(entries[i]);
    }
    setting_free(&s);
}

static ino_t inode_of(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_ino;
}

/* Each change of an input or option is another entry, and nothing else is; what is there is found, not made. */
static void every_input_is_in_the_name(void **state) {
    enum { CASES = 15 };
    struct setting s = setting_make(*state, 30, 30);
    char *names[CASES];
    struct codebook book;
    struct error err;
    const struct album_options plain = s.options;
    for (int i = 0; i < CASES; i++) {
        s.options = plain;
        if (i == 1) s.options.vocab++;
        if (i == 2) s.options.size = SIZE; /* the same pictures, by another way */
        if (i == 3) s.options.size = 2 * SIZE;
        if (i == 4) s.options.patch = 2;
        if (i == 5) s.options.codes++;
        if (i == 6) s.options.tokenizer = tokenizer_in(names[0]);
        if (i == 7) s.options.tokenizer = tokenizer_in(names[1]);
        if (i == 8) caption_write(s.dir, "p001.png", "one more", "en");
        if (i == 9) picture_make(s.dir, "p001.png", SIZE, SIZE, 4444);
        if (i == 10) line_add(s.dir, "texts.txt", "one more text");
        if (i == 11 || i == 12) assert_true(codebook_load(&book, names[i == 11 ? 0 : 9], &err));
        if (i == 11 || i == 12) s.options.codebook = &book;
        if (i == 13) s.options.languages = "en";
        if (i == 14) s.options.languages = "de";
        names[i] = prepared(&s);
        const ino_t made = inode_of(names[i]);
        s.options.verbose = i == 0; /* and this changes nothing */
        s.options.vocab_adapts = i > 0;
        char *again = prepared(&s);
        assert_string_equal(again, names[i]);
        assert_true(inode_of(again) == made);
        for (int j = 0; j < i; j++) assert_string_not_equal(names[j], names[i]);
        if (s.options.tokenizer) tokenizer_free(s.options.tokenizer);
        if (s.options.codebook) codebook_free(&book); /* lent */
        free(again);
    }
    assert_int_equal(entries_count(s.cache), CASES);
    for (int i = 0; i < CASES; i++) free(names[i]);
    setting_free(&s);
}

/* Each file missing, cut, changed or longer: made again, the same; but not where somebody else's file would go, too. */
static void damaged_entries_are_made_again(void **state) {
    static const char *const files[] = {"tokenizer.model", "codebook", "train.album", "val.album"};
    struct setting s = setting_make(*state, 30, 30);
    struct error err;
    char *entry = prepared(&s), *copy = string_format("cp -r %s %s/copy", entry, (char *)*state);
    char *kept = string_format("%s/copy", (char *)*state), *foreign[] = {"notes", "codebook.txt", "train.album.bak"};
    assert_int_equal(system(copy), 0);
    for (int file = 0; file < 4; file++)
        for (int how = 0; how < 5; how++) {
            char *path = string_format("%s/%s", entry, files[file]);
            size_t size;
            char *data = file_read(path, &size);
            unlink(path);
            data[size / 2] ^= 4;
            if (how > 0) file_write(path, data, how == 1 ? 0 : how == 2 ? size - 1 : size);
            if (how == 4) { /* nobody's but ours */
                char *more = string_format("%s.tmp", path);
                file_write(more, data, size);
                free(more);
            }
            assert_false(cache_check(entry, &err));
            assert_int_equal(err.code, EXIT_INPUT);
            if (!strstr(err.text, entry)) fail_msg("%s", err.text);
            for (int i = 0; i < 3 && how == 0; i++) {
                char *mine = string_format("%s/%s", entry, foreign[i]);
                file_write(mine, "mine", 4);
                s.options.paths = &s.dir;
                assert_null(album_prepare(&s.options, &err));
                assert_int_equal(err.code, EXIT_INPUT);
                if (!strstr(err.text, "is not of its making")) fail_msg("%s", err.text);
                assert_int_equal(unlink(mine), 0);
                free(mine);
            }
            free(prepared(&s));
            for (int i = 0; i < 4; i++) files_equal(entry, kept, files[i], true);
            assert_int_equal(entries_count(entry), 4);
            free(data);
            free(path);
        }
    assert_int_equal(entries_count(s.cache), 1);
    free(kept);
    free(copy);
    free(entry);
    setting_free(&s);
}

/* Whole, but of another entry: no damage to be mended, and the message says what to delete. */
static void exchanged_files_are_refused(void **state) {
    static const char *const files[] = {"tokenizer.model", "codebook", "train.album", "val.album"};
    struct setting s = setting_make(*state, 30, 30);
    struct error err;
    char *entry = prepared(&s), *others[4];
    for (int i = 0; i < 4; i++) { /* other pieces, patches, sizes, as many other codes */
        s.options = (struct album_options){.n_paths = 1, .vocab = i == 0 ? 301 : 300, .patch = i == 1 ? 2 : PATCH,
                                           .codes = CODES, .size = i == 2 ? 12 : SIZE, .cache = s.cache};
        if (i == 3) picture_make(s.dir, "more.png", SIZE, SIZE, 77);
        others[i] = prepared(&s);
    }
    for (int i = 0; i < 4; i++)
        for (int file = 0; file < 4; file++) {
            char *path = string_format("%s/%s", entry, files[file]);
            char *theirs = string_format("%s/%s", others[i], files[file]);
            size_t size, their_size;
            char *data = file_read(path, &size), *their_data = file_read(theirs, &their_size);
            file_write(path, their_data, their_size);
            const bool same = size == their_size && memcmp(data, their_data, size) == 0;
            const bool whole = cache_check(entry, &err);
            if (whole != same) fail_msg("%s for %s: %d", theirs, path, whole);
            if (!whole) assert_int_equal(err.code, EXIT_MISMATCH);
            if (!whole && (!strstr(err.text, entry) || !strstr(err.text, "; delete "))) fail_msg("%s", err.text);
            file_write(path, data, size);
            free(data);
            free(their_data);
            free(path);
            free(theirs);
        }
    if (!cache_check(entry, &err)) fail_msg("%s", err.text);
    for (int i = 0; i < 4; i++) free(others[i]);
    free(entry);
    setting_free(&s);
}

/* Albums without a record, of these shapes: to train on and held out. */
static void albums_write(const char *entry, const struct album_shape *shapes) {
    struct error err;
    for (int i = 0; i < 2; i++) {
        char *path = string_format("%s/%s.album", entry, i ? "val" : "train");
        struct album_writer *w = album_create(path, &shapes[i], &err);
        assert_non_null(w);
        assert_true(album_finish(w, true, &err));
        free(path);
    }
}

/* What cache_check says of such albums; 0: they are whole. */
static void shapes_expect(const char *entry, struct album_shape train, struct album_shape held_out, int code) {
    struct error err = {0, ""};
    char *mismatch = string_format("%s: tokenizer.model, codebook, train.album and val.album do not belong together; "
                                   "delete this directory and name the corpus again", entry);
    albums_write(entry, (struct album_shape[]){train, held_out});
    if (cache_check(entry, &err) != (code == 0) || err.code != code)
        fail_msg("%d (want %d): %s", err.code, code, err.text);
    if (code == EXIT_MISMATCH) assert_string_equal(err.text, mismatch);
    free(mismatch);
}

/* Each of what both albums say, another in the one, in the other and in both: only how large pictures are is theirs
 * alone, where it is the same in both. */
static void albums_belong_together_in_all_they_say(void **state) {
    struct setting s = setting_make(*state, 12, 0);
    struct codebook book;
    struct error err;
    char *entry = prepared(&s), *file = string_format("%s/codebook", entry);
    tokenizer *t = tokenizer_in(entry);
    assert_true(codebook_load(&book, entry, &err));
    const struct album_shape plain = {tokenizer_vocab(t), SIZE, PATCH, CODES, tokenizer_hash(t), codebook_hash(&book)};
    const struct album_shape texts = {tokenizer_vocab(t), 0, 0, 0, tokenizer_hash(t), 0};
    for (int pictures = 1; pictures >= 0; pictures--) {
        const struct album_shape kind = pictures ? plain : texts;
        shapes_expect(entry, kind, kind, 0);
        for (int what = 0; what < (pictures ? 9 : 4); what++) {
            struct album_shape other = kind;
            if (what == 0) other.vocab++;
            if (what == 1) other.vocab--;
            if (what == 2) other.tokenizer_hash ^= 1;
            if (what == 3) other.codebook_hash ^= 1;
            if (what == 4) other.codes++;
            if (what == 5) other.codes--;
            if (what == 6) other.patch /= 2;
            if (what == 7) other.patch *= 2;
            if (what == 8) other.size *= 2;
            shapes_expect(entry, other, kind, EXIT_MISMATCH);
            shapes_expect(entry, kind, other, EXIT_MISMATCH);
            shapes_expect(entry, other, other, what == 8 ? 0 : EXIT_MISMATCH);
        }
        shapes_expect(entry, texts, plain, EXIT_MISMATCH);
        shapes_expect(entry, plain, texts, pictures ? EXIT_MISMATCH : EXIT_INPUT); /* a missing codebook is damage */
        unlink(file);
    }
    codebook_free(&book);
    tokenizer_free(t);
    free(file);
    free(entry);
    setting_free(&s);
}

/* Any file of an entry with albums tells that it is one: what is missed are albums then, and no shards. */
static void any_of_its_files_tells_an_entry_of_albums(void **state) {
    static const char *const files[] = {"train.album", "val.album", "codebook", "left-out.txt"};
    static const char *const missed[] = {"val.album", "train.album", "train.album", "train-00000.shard"};
    struct setting s = setting_make(*state, 12, 0);
    char *entry = prepared(&s);
    shell(entry, "touch left-out.txt");
    for (int i = 0; i < 4; i++) {
        struct error err;
        char *some = string_format("%s/some%d", (char *)*state, i), *want = string_format("%s/%s: ", some, missed[i]);
        char *copy = string_format("mkdir %s && cp tokenizer.model %s %s", some, files[i], some);
        shell(entry, copy);
        assert_false(cache_check(some, &err));
        assert_int_equal(err.code, EXIT_INPUT);
        if (strncmp(err.text, want, strlen(want)) != 0) fail_msg("%s does not begin with %s", err.text, want);
        free(copy);
        free(want);
        free(some);
    }
    free(entry);
    setting_free(&s);
}

/* What a process that is gone left goes with the next preparation. */
static void what_is_left_behind_is_removed(void **state) {
    struct setting s = setting_make(*state, 12, 0);
    char *left = string_format("%s/pics-0123456789abcdef.abcdef", s.cache);
    char *file = string_format("%s/train.album.tmp", left);
    struct error err;
    assert_true(directory_make(left, &err));
    file_write(file, "half", 4);
    free(prepared(&s));
    assert_int_equal(entries_count(s.cache), 1);
    free(file);
    free(left);
    setting_free(&s);
}

/* ---- What may be replaced ---- */

/* Whether an entry that a shell fills may be replaced, or `foreign` is named as what is not ours. What was damaged is
 * told with that, and stays as it is without. */
static void replaceable_expect(const char *entry, const char *makes, const char *foreign) {
    static const struct error damage = {EXIT_MISMATCH, "its file: broken (got 1, want 2); mend it"};
    struct error err = damage;
    char *fresh = string_format("rm -rf %s; mkdir %s", entry, entry);
    char *says = string_format("%s: damaged (its file: broken (got 1, want 2)), and not replaced, as %s is not of its "
                               "making; delete %s and run this again", entry, foreign ? foreign : "", entry);
    shell("/", fresh);
    shell(entry, makes);
    if (cache_replaceable(entry, &err) != !foreign) fail_msg("after %s: %s", makes, err.text);
    assert_string_equal(err.text, foreign ? says : damage.text);
    assert_int_equal(err.code, foreign ? EXIT_INPUT : damage.code);
    free(says);
    free(fresh);
}

/* The same of one name, made by `makes NAME`. */
static void name_expect(const char *entry, const char *makes, const char *name, bool ours) {
    char *command = string_format("%s %s", makes, name);
    replaceable_expect(entry, command, ours ? NULL : name);
    free(command);
}

static const char *const our_names[] = {"train-00000.shard", "val-00012.shard", "tokenizer.model", "left-out.txt",
                                        "parts.txt", "train.album", "val.album", "codebook"};
enum { OUR_NAMES = sizeof our_names / sizeof *our_names };

/* Files of every name that a preparation gives, also while it writes them; never directories, nor what only looks like
 * it. */
static void files_are_known_by_their_names(void **state) {
    static const char *const others[] = {
        "train.shard",   "train-00000", "train-1.txt",     "val.shard", "val-1.txt",     "val-00000",   "tokenizer",
        "tokenizer.txt", "left-out",    "left-out.tsv",    "parts",     "parts.tsv",     "train",       "train.albums",
        "train.txt",     "val",         "train.album.bak", "val.albums", "val.album.bak", "codebook.txt", "codebooks",
        "codebook.tmpx", ".shard",      "album",           ".hidden",   "...",           "test.album",
        "vast-0.shard",  "left.txt",    "part.txt",        "tokenizer.mod"};
    char *entry = string_format("%s/entry", (char *)*state);
    replaceable_expect(entry, "true", NULL);
    for (size_t i = 0; i < OUR_NAMES; i++) {
        char *being = string_format("%s.tmp", our_names[i]), *looks = string_format("x%s", our_names[i]);
        name_expect(entry, "touch", our_names[i], true);
        name_expect(entry, "touch", being, true);
        name_expect(entry, "ln -s /tmp", our_names[i], true); /* a link goes, and not what it leads to */
        name_expect(entry, "mkdir", our_names[i], false);
        name_expect(entry, "mkdir", being, false);
        name_expect(entry, "touch", looks, false);
        free(being);
        free(looks);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) name_expect(entry, "touch", others[i], false);
    replaceable_expect(entry, "touch aaa train.album zzz", "aaa"); /* one is named, wherever it stands */
    replaceable_expect(entry, "touch codebook train.album zzz", "zzz");
    replaceable_expect(entry, "rmdir $PWD && touch $PWD", entry); /* a file in its place */
    free(entry);
}

/* Damage is no failure where the entry may be made again; things of others are, and so are albums of other entries. */
static void what_is_not_found_is_made_again_or_told(void **state) {
    struct setting s = setting_make(*state, 12, 0);
    struct error err = {0, ""};
    bool found = true;
    char *entry = prepared(&s), *none = string_format("%s/none", (char *)*state);
    assert_true(cache_find(none, true, &found, &err) && !found);
    assert_true(cache_find(entry, true, &found, &err) && found);
    assert_int_equal(err.code, 0);
    shell(entry, "mv codebook ../book");
    assert_true(cache_find(entry, false, &found, &err) && !found);
    shell(entry, "touch notes");
    assert_false(cache_find(entry, false, &found, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_non_null(strstr(err.text, "notes is not of its making"));
    shell(entry, "mv ../book codebook && rm notes");
    struct album *a = opened(entry, "train");
    struct album_shape other = {album_vocab(a), SIZE, PATCH, CODES, album_tokenizer_hash(a) ^ 1, 0};
    album_close(a);
    albums_write(entry, (struct album_shape[]){other, other});
    assert_false(cache_find(entry, false, &found, &err));
    assert_int_equal(err.code, EXIT_MISMATCH);
    free(none);
    free(entry);
    setting_free(&s);
}

/* Directories of shards, to train on or held out, and of nothing else. */
static void parts_are_known_by_their_shards(void **state) {
    static const char *const parts[] = {"train-00000.shard", "val-00000.shard", "val-00001.shard.tmp",
                                        "train-00000.shard val-00000.shard", "train-00000.shard train-00001.shard.tmp"};
    char *entry = string_format("%s/entry", (char *)*state);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char *makes = string_format("mkdir en && cd en && touch %s", parts[i]);
        char *with = string_format("%s notes", makes), *behind = string_format("%s && mkdir ../it", makes);
        char *within = string_format("%s && mkdir val-00007.shard", makes);
        char *link = string_format("%s && cd .. && mv en ../linked && ln -s ../linked en", makes);
        replaceable_expect(entry, makes, NULL);
        replaceable_expect(entry, with, "en");
        replaceable_expect(entry, within, "en");
        replaceable_expect(entry, behind, "it");
        replaceable_expect(entry, link, "en"); /* whose shards are somebody's */
        shell(*state, "rm -r linked");
        free(makes);
        free(with);
        free(behind);
        free(within);
        free(link);
    }
    for (size_t i = 2; i < OUR_NAMES; i++) { /* what is an entry's, and no part's */
        char *makes = string_format("mkdir en && touch en/val-00000.shard en/%s", our_names[i]);
        char *alone = string_format("mkdir en && touch en/%s", our_names[i]);
        replaceable_expect(entry, makes, "en");
        replaceable_expect(entry, alone, "en");
        free(makes);
        free(alone);
    }
    replaceable_expect(entry, "mkdir en", "en");
    free(entry);
}

/* ---- What is told ---- */

static void counts_are_told(void **state) {
    struct setting s = setting_make(*state, 40, 21);
    char *told;
    s.options.verbose = true;
    caption_write(s.dir, "p001.png", "une maison", "fr"); /* the last of its picture's */
    line_add(s.dir, "notes.md", "neither picture nor text");
    char *entry = prepared_telling(&s, &told);
    struct folder f = listed(&s);
    bool *held_out = albums_expect(entry, &f);
    size_t pictures[2] = {0}, captions[2] = {0}, texts[2] = {0};
    for (size_t i = 0; i < f.n; i++) {
        pictures[held_out[i]] += f.items[i].path != NULL;
        texts[held_out[i]] += f.items[i].path == NULL;
        captions[held_out[i]] += f.items[i].path ? f.items[i].n_captions : 0;
    }
    struct codebook_quality q = {.uses = array_alloc(CODES, sizeof *q.uses)};
    struct codebook c;
    struct error err;
    struct album *a = opened(entry, "val");
    assert_true(codebook_load(&c, entry, &err));
    for (size_t i = 0; i < album_records(a); i++) {
        struct album_record record;
        real patches[SIZE * SIZE * 3];
        assert_true(album_read(a, i, &record, &err));
        if (!record.pixels) continue;
        patches_of(patches, record.pixels, SIZE, PATCH);
        codebook_measure(&c, patches, record.codes, 4, &q);
    }
    size_t used = 0;
    for (size_t k = 0; k < CODES; k++) used += q.uses[k] > 0;
    assert_true(used > 1 && used < CODES);
    char *want = string_format("pictures: %zu to train on, %zu held out\ncaptions: %zu to train on, %zu held out\n"
                               "texts alone: %zu to train on, %zu held out\nlanguages: 3: de en fr\n"
                               "training a tokenizer of 300 pieces\ntraining a codebook of %d codes on %zu patches\n",
                               pictures[0], pictures[1], captions[0], captions[1], texts[0], texts[1], CODES,
                               4 * pictures[0]);
    char *quality = string_format("codebook: held-out pictures are painted with a PSNR of %.2f dB, %zu of %d codes in "
                                  "use\n", quality_psnr(&q), used, CODES);
    if (strncmp(told, "skipped, ", 9) != 0) fail_msg("%s does not tell of notes.md", told);
    if (!strstr(told, want)) fail_msg("%s does not tell %s", told, want);
    if (!strstr(told, quality)) fail_msg("%s does not tell %s", told, quality);
    codebook_free(&c);
    album_close(a);
    folder_free(&f);
    free(q.uses);
    free(held_out);
    free(told);
    free(want);
    free(quality);
    free(entry);
    setting_free(&s);
}

/* A language where there is one, and none where there is none; of no pictures no codebook; without being asked nothing,
 * not even that an entry is damaged. */
static void what_there_is_not_is_not_told(void **state) {
    struct setting s = setting_make(*state, 12, 30);
    line_add(s.dir, "notes.md", "neither picture nor text");
    char *told, *entry = prepared_telling(&s, &told), *book = string_format("%s/codebook", entry);
    assert_string_equal(told, "");
    for (int verbose = 0; verbose < 2; verbose++) {
        free(told);
        free(entry);
        assert_int_equal(unlink(book), 0);
        s.options.verbose = verbose;
        entry = prepared_telling(&s, &told);
        if (!verbose) assert_string_equal(told, "");
        else if (!strstr(told, "codebook: cannot read: No such file or directory: preparing this again\n"))
            fail_msg("%s", told);
    }
    static const char *const left[] = {"rm captions.tsv; grep -h 'de$' ../all >captions.tsv",
                                       "sed -i 's/\tde$//' captions.tsv", "rm *.png captions.tsv"};
    static const char *const says[] = {"\nlanguages: 1: de\n", "captions: ", "pictures: 0 to train on, 0 held out\n"};
    shell(s.dir, "cp captions.tsv ../all");
    for (int i = 0; i < 3; i++) {
        free(told);
        free(entry);
        shell(s.dir, left[i]);
        entry = prepared_telling(&s, &told);
        if (!strstr(told, says[i])) fail_msg("%s does not tell %s", told, says[i]);
        assert_true(!strstr(told, "languages:") == (i > 0));
        assert_true(!strstr(told, "codebook:") == (i > 1));
    }
    free(book);
    free(told);
    free(entry);
    setting_free(&s);
}

/* ---- The sheet ---- */

enum { GAP = 6, NARROW_GAP = 2 };

static void pixels_expect(const struct picture *sheet, size_t x, size_t y, const unsigned char *rgb) {
    for (size_t row = 0; row < SIZE; row++)
        assert_memory_equal(sheet->rgb + 3 * ((y + row) * sheet->width + x), rgb + 3 * row * SIZE, 3 * SIZE);
}

/* Held-out pictures, each over the one that its codes paint, eight in a row; all there are, or some. */
static void a_sheet_shows_originals_over_paintings(void **state) {
    struct setting s = setting_make(*state, 200, 40);
    struct error err;
    char *entry = prepared(&s), *path = string_format("%s/codes.png", (char *)*state);
    struct album *a = opened(entry, "val");
    struct codebook c;
    struct album_record record;
    size_t pictures[MOST], n = 0;
    assert_true(codebook_load(&c, entry, &err));
    for (size_t i = 0; i < album_records(a); i++) {
        assert_true(album_read(a, i, &record, &err));
        if (record.pixels) pictures[n++] = i;
    }
    assert_true(n > 10);
    const size_t most[] = {1, 3, 8, 9, n - 1, n, MOST};
    for (size_t m = 0; m < sizeof most / sizeof *most; m++) {
        struct picture sheet;
        const size_t shown = most[m] < n ? most[m] : n, across = shown < 8 ? shown : 8;
        if (!sheet_write(path, entry, &c, most[m], &err)) fail_msg("%s", err.text);
        assert_true(picture_read(&sheet, path, &err));
        assert_int_equal(sheet.width, GAP + across * (SIZE + GAP));
        assert_int_equal(sheet.height, GAP + (shown + 7) / 8 * (2 * SIZE + NARROW_GAP + GAP));
        for (size_t i = 0; i < shown; i++) {
            unsigned char painted[3 * SIZE * SIZE];
            const size_t x = GAP + i % 8 * (SIZE + GAP), y = GAP + i / 8 * (2 * SIZE + NARROW_GAP + GAP);
            assert_true(album_read(a, pictures[i * n / shown], &record, &err));
            codes_paint(painted, &c, record.codes, SIZE, PATCH);
            pixels_expect(&sheet, x, y, record.pixels);
            pixels_expect(&sheet, x, y + SIZE + NARROW_GAP, painted);
        }
        free(sheet.rgb);
    }
    char *nowhere = string_format("%s/no/codes.png", (char *)*state);
    assert_false(sheet_write(nowhere, entry, &c, 8, &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    c.entries[5] += 1;
    assert_false(sheet_write(path, entry, &c, 8, &err));
    assert_int_equal(err.code, EXIT_MISMATCH);
    free(nowhere);
    codebook_free(&c);
    album_close(a);
    free(path);
    free(entry);
    setting_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(threads_change_nothing),
        TEST(every_input_is_in_the_name),
        TEST(damaged_entries_are_made_again),
        TEST(exchanged_files_are_refused),
        TEST(albums_belong_together_in_all_they_say),
        TEST(any_of_its_files_tells_an_entry_of_albums),
        TEST(what_is_left_behind_is_removed),
        TEST(files_are_known_by_their_names),
        TEST(parts_are_known_by_their_shards),
        TEST(what_is_not_found_is_made_again_or_told),
        TEST(counts_are_told),
        TEST(what_there_is_not_is_not_told),
        TEST(a_sheet_shows_originals_over_paintings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
