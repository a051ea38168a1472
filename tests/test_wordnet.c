/* The reader of WordNet's index files (src/wordnet). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "study/wordnet.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(senses_of_all_parts_add_up),
                                       cmocka_unit_test(bad_directories_are_refused)};
    return cmocka_run_group_tests(tests, workplace_open, workplace_remove);
}
