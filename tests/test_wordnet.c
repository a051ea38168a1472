/* The reader of WordNet's files (data/wordnet). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "../data/wordnet.h"
#include "small_wordnet.h"

static int workplace_open(void **state) {
    (void)state;
    return workplace_enter() ? 0 : -1;
}

static void senses_of_all_parts_add_up(void **state) {
    (void)state;
    struct wordnet w;
    struct error err;
    run("printf '  1 licence  \\n  2 more\\nbank n 10 2 @ ~ 10 4 0 1\\nice_cream n 1 1 @ 1 1 0\\n' >index.noun; "
        "printf 'bank v 8 1 @ 8 2 0\\n' >index.verb; printf 'able a 4 1 ! 4 4 0\\n' >index.adj; "
        "printf 'ably r 1 0 1 1 0\\n' >index.adv");
    if (!wordnet_open(&w, ".", &err)) fail_msg("%s", err.text);
    assert_int_equal(w.n, 4);
    assert_int_equal(wordnet_senses(&w, "bank"), 18);
    assert_int_equal(wordnet_senses(&w, "able"), 4);
    assert_int_equal(wordnet_senses(&w, "ably"), 1);
    assert_int_equal(wordnet_senses(&w, "ice_cream"), 1);
    assert_int_equal(wordnet_senses(&w, "licence"), 0);
    assert_int_equal(wordnet_senses(&w, "banks"), 0);
    wordnet_close(&w);
    assert_int_equal(wordnet_senses(&w, "bank"), 0);
}

static void bad_directories_are_refused(void **state) {
    (void)state;
    struct wordnet w;
    struct error err;
    assert_false(wordnet_open(&w, "missing", &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_string_equal(err.text, "missing/index.noun: cannot read: No such file or directory; sh data/corpus.sh "
                                  "wordnet fetches WordNet");
    wordnet_close(&w);
    run("printf 'bank n 1 0\\nsome other text\\n' >index.noun");
    assert_false(wordnet_open(&w, ".", &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_non_null(strstr(err.text, "./index.noun:2: not a line of WordNet's index"));
    wordnet_close(&w);
}

/* All of every word: its count over senses, of its own part of speech alone, its senses in order, and their glosses. */
static void words_are_read_whole(void **state) {
    (void)state;
    struct wordnet_words w;
    struct error err;
    size_t size;
    run("mkdir -p small");
    assert_int_equal(chdir("small"), 0);
    small_wordnet_save();
    assert_int_equal(chdir(".."), 0);
    for (enum wordnet_part part = 0; part < WORDNET_PARTS; part++) {
        if (!wordnet_words_open(&w, "small", part, &err)) fail_msg("%s", err.text);
        assert_int_equal(w.n, SMALL_WORDS);
        for (size_t i = 1; i < w.n; i++) assert_true(strcmp(w.list[i - 1].text, w.list[i].text) < 0);
        for (int i = 0; i < SMALL_WORDS; i++) {
            char *text = small_word((int)part, i), *definition = small_definition((int)part, i);
            const struct wordnet_word *word = wordnet_word_find(&w, text);
            assert_non_null(word);
            assert_int_equal(word->count, small_count(i));
            assert_int_equal(word->n, i % 7 < 2 && (i % 7 || i + 1 < SMALL_WORDS) ? 2 : 1);
            const char *gloss = wordnet_gloss(&w, word->synsets[0], &size);
            assert_true(size > strlen(definition) && strncmp(gloss, definition, strlen(definition)) == 0);
            assert_int_equal(gloss[size], '\n');
            if (word->n > 1)
                assert_int_equal(strncmp(wordnet_gloss(&w, word->synsets[1], &size), "a sense that two", 16), 0);
            assert_null(wordnet_gloss(&w, word->synsets[0] + 1, &size));
            free(text);
            free(definition);
        }
        assert_null(wordnet_word_find(&w, "none"));
        assert_null(wordnet_gloss(&w, w.size, &size));
        assert_null(wordnet_gloss(&w, w.size + 1, &size));
        assert_null(wordnet_gloss(&w, (size_t)1 << 40, &size));
        assert_null(wordnet_gloss(&w, 0, &size)); /* the licence */
        wordnet_words_close(&w);
        assert_null(wordnet_word_find(&w, "none"));
    }
}

/* Each in a copy of what is right. */
static void bad_words_are_refused(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"rm index.noun", "odd/index.noun: cannot read: No such file or directory; sh data/corpus.sh wordnet fetches"},
        {"rm data.noun", "odd/data.noun: cannot read: No such file or directory; remove odd, and sh data/corpus.sh"},
        {"rm cntlist.rev", "odd/cntlist.rev: cannot read: No such file or directory; remove odd, and sh data/corpus"},
        {"sed -i '3s/  $//; 3s/ 0[0-9]*$//' index.noun", "odd/index.noun:3: not a line of WordNet's index"},
        {"sed -i '3s/ 2 @ ~#p / /' index.noun", "odd/index.noun:3: not a line of WordNet's index"},
        {"sed -i 's/ | / - /' data.noun", "odd/data.noun: byte "},
        {"sed -i '1s/$/ /' data.noun", "odd/data.noun: byte "},
        {"head -c 9000 data.noun >d; mv d data.noun", "odd/data.noun: byte "},
        {"sed -i '5s/ [0-9]*$//' cntlist.rev", "odd/cntlist.rev:5: not a line of WordNet's counts"},
        {"sed -i '5s/%/ /' cntlist.rev", "odd/cntlist.rev:5: not a line of WordNet's counts"},
    };
    struct wordnet_words w;
    struct error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run("rm -rf odd; cp -r small odd; cd odd; %s", cases[i][0]);
        err = (struct error){0};
        assert_false(wordnet_words_open(&w, "odd", WORDNET_NOUN, &err));
        wordnet_words_close(&w);
        assert_int_equal(err.code, EXIT_INPUT);
        if (strncmp(err.text, cases[i][1], strlen(cases[i][1])) != 0)
            fail_msg("got  %s\nwant %s", err.text, cases[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(senses_of_all_parts_add_up),
        cmocka_unit_test(bad_directories_are_refused),
        cmocka_unit_test(words_are_read_whole),
        cmocka_unit_test(bad_words_are_refused),
    };
    return cmocka_run_group_tests(tests, workplace_open, workplace_remove);
}
