/* The questions that data/questions.c makes: right by construction, and no wrong choice that could be right. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include "../src/run/questions.h"
#include "small_wordnet.h"

/* Sentences of words that recur, of four letters; a short one and a name end some of them, too. */
static void text_make(const char *path, int sentences) {
    FILE *file = fopen(path, "w");
    unsigned x = 7;
    for (int i = 0; i < sentences; i++) {
        fprintf(file, "The%ctao Taco", "\n "[i % 2]);
        for (int w = 0; w < 6; w++, x = x * 1103515245 + 12345)
            fprintf(file, " t%c%co", 'a' + x / 65536 % 3, 'a' + x / 1000000 % 20);
        if (i % 13 == 4) fprintf(file, " tbzo tbzo. "); /* nobody need guess */
        if (i % 40 == 9) fprintf(file, " \xff\xfe");    /* not in a question */
        if (i % 13 == 4) continue;
        if (i % 11 == 3) fprintf(file, i % 2 ? " tao. " : " Taco. ");
        if (i % 11 == 3) continue;
        fprintf(file, "%st%c%co%s ", i % 5 == 1 ? "\n" : i % 5 == 2 ? " \"" : i % 5 == 3 ? " Well-" : " ",
                'a' + x / 65536 % 3, 'a' + x / 1000000 % 20, i % 7 ? "." : "'s.");
    }
    assert_int_equal(fclose(file), 0);
}

static const char *const languages[] = {"aa", "bb", "cc", "dd", "ee"};
enum { LANGUAGES = 5 };

#define LONG10(text) text text text text text text text text text text

/* Lines that begin with their language's name, two of them too long, and some that are the same everywhere or too
 * short. */
static void languages_make(void) {
    for (int i = 0; i < LANGUAGES; i++) {
        run("mkdir -p parts/%s", languages[i]);
        char *path = string_format("parts/%s/a.txt", languages[i]);
        FILE *file = fopen(path, "w");
        for (int k = 0; k < 40 + i; k++) {
            fprintf(file, "%s is the line number %d of it\n\n  the same line in each of them, %d\r\nshort\n",
                    languages[i], k, k < 40 ? k : 39);
            fprintf(file, "%s bad \xff bytes that are no text\n", languages[i]);
        }
        fprintf(file, "%s is the l1 %s\n", languages[i], LONG10("caf\xc3\xa9 caf\xc3\xa9 "));
        fprintf(file, "%s is the l2 %s\n", languages[i],
                LONG10("\xe3\x81\x82\xe3\x81\x84\xe3\x81\x86\xe3\x81\x88\xe3\x81\x8a"));
        fprintf(file, " %s is the line number 3 of it \r\n%s is the last line without an end", languages[i],
                languages[i]); /* the first is there a second time */
        assert_int_equal(fclose(file), 0);
        free(path);
    }
    run("cd parts; echo 'this is not a language of its own' >file.txt; mkdir .hidden bb/.hidden; "
        "for f in aa/notes.md aa/.a.txt bb/.hidden/a.txt .hidden/a.txt; do echo \"$f is not a text to be read\" >$f; "
        "done; "
        "mkdir -p cc/deep/er; mv cc/a.txt cc/deep/er/");
}

static int files_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    small_wordnet_save();
    text_make("text.txt", 3000);
    languages_make();
    return 0;
}

static struct questions made(const char *arguments) {
    struct questions q;
    struct error err;
    run("questions %s >made.jsonl; ! grep -q '^$' made.jsonl", arguments);
    if (!questions_read(&q, fopen("made.jsonl", "r"), "made.jsonl", &err)) fail_msg("%s", err.text);
    return q;
}

static const char *answer_of(const struct question *q) { return q->choices[q->answer]; }

/* ---- WordNet ---- */

/* Which word of which part it is; false if none. */
static bool word_index(const char *word, size_t size, int *part, int *i) {
    for (*part = 0; *part < SMALL_PARTS; ++*part)
        for (*i = 0; *i < SMALL_WORDS; ++*i) {
            char *text = small_word(*part, *i);
            const bool same = strlen(text) == size && strncmp(text, word, size) == 0;
            free(text);
            if (same) return true;
        }
    return false;
}

/* A distractor: of the same part of speech, no synonym, within 40 ranks; of equals, of which there are ten, any. */
static void distractor_expect(int part, int i, int other_part, int other) {
    assert_int_equal(part, other_part);
    assert_false(small_synonyms(i, other));
    assert_true(abs(i / 10 - other / 10) <= 4);
}

static void glosses_fit_their_words(void **state) {
    (void)state;
    static const char *const names[] = {"noun", "verb", "adjective", "adverb"};
    struct questions q = made("gloss --wordnet . --choices 5 --count 10000");
    bool seen[SMALL_PARTS][SMALL_WORDS] = {{0}};
    assert_int_equal(q.n, SMALL_PARTS * SMALL_WORDS);
    for (size_t k = 0; k < q.n; k++) {
        const struct question *one = &q.list[k];
        char name[20], word[20];
        int part, i;
        assert_int_equal(sscanf(one->context, "The %19s %19s means", name, word), 2);
        assert_true(word_index(word, strlen(word), &part, &i));
        assert_string_equal(name, names[part]);
        assert_false(seen[part][i]);
        seen[part][i] = true;
        char *definition = small_definition(part, i);
        assert_string_equal(answer_of(one), definition);
        free(definition);
        assert_int_equal(one->n, 5);
        for (size_t c = 0; c < one->n; c++) {
            char kind[20];
            int other, other_part = 0;
            assert_int_equal(sscanf(one->choices[c], "definition %d; of the %19s kind", &other, kind), 2);
            while (strcmp(small_parts[other_part], kind) != 0) other_part++;
            if (c != one->answer) distractor_expect(part, i, other_part, other);
            for (size_t d = 0; d < c; d++) assert_string_not_equal(one->choices[c], one->choices[d]);
        }
    }
    questions_free(&q);
}

static void words_fit_their_examples(void **state) {
    (void)state;
    struct questions q = made("example --wordnet . --count 10000");
    bool seen[SMALL_PARTS][SMALL_WORDS] = {{0}};
    assert_int_equal(q.n, SMALL_PARTS * SMALL_WORDS);
    for (size_t k = 0; k < q.n; k++) {
        const struct question *one = &q.list[k];
        int part, i, other_part, other;
        const char *answer = answer_of(one), *rest = answer + strcspn(answer, " ");
        assert_true(word_index(answer, (size_t)(rest - answer), &part, &i));
        assert_false(seen[part][i]);
        seen[part][i] = true;
        char *example = small_example(part, i);
        char *said = string_format("%s%s%s", one->context, question_joint(one->context, answer), answer);
        assert_string_equal(said, example);
        assert_true(!*one->context || one->context[strlen(one->context) - 1] != ' '); /* the space is the choices' */
        assert_int_equal(one->n, 4);
        for (size_t c = 0; c < one->n; c++) {
            const char *choice = one->choices[c], *behind = choice + strcspn(choice, " ");
            assert_string_equal(behind, rest);
            assert_true(word_index(choice, (size_t)(behind - choice), &other_part, &other));
            if (c != one->answer) distractor_expect(part, i, other_part, other);
            assert_int_equal(*choice == 'e', *answer == 'e'); /* an "an" before it would tell */
            for (size_t d = 0; d < c; d++) assert_string_not_equal(choice, one->choices[d]);
        }
        free(example);
        free(said);
    }
    questions_free(&q);
}

/* Words are rare or frequent by WordNet's counts, or in a text by the text's. */
static void only_frequent_words_are_asked_for(void **state) {
    (void)state;
    struct questions q = made("gloss --wordnet . --count 10000 --least 30");
    assert_int_equal(q.n, SMALL_PARTS * 60); /* words 0 to 59 have 30 or more */
    for (size_t k = 0; k < q.n; k++)
        for (size_t c = 0; c < q.list[k].n; c++) assert_true(atoi(q.list[k].choices[c] + strlen("definition ")) < 60);
    questions_free(&q);
    FILE *file = fopen("words.txt", "w");
    for (int i = 100; i < 120; i++) { /* a word thrice, as texts write it, and with others around */
        char *word = small_word(1, i), *other = small_word(1, i - 50);
        fprintf(file, "%s,%s-'%c%s' un%s %s1 %s\n", word, word, toupper(*word), word + 1, other, other, other);
        free(word);
        free(other);
    }
    assert_int_equal(fclose(file), 0);
    q = made("gloss --wordnet . --text words.txt --least 3");
    assert_int_equal(q.n, 20);
    for (size_t k = 0; k < q.n; k++)
        for (size_t c = 0; c < q.list[k].n; c++) {
            const int i = atoi(q.list[k].choices[c] + strlen("definition "));
            assert_true(i >= 100 && i < 120);
            assert_non_null(strstr(q.list[k].choices[c], "verb"));
        }
    questions_free(&q);
    assert_non_null(strstr(errors, "questions: note: 20 questions, as many as there are (--count 1000)"));
}

/* A gloss that says the word gives it away; one that says another's is no wrong choice for that one; one that two words
 * have is no two choices. */
static void glosses_do_not_tell(void **state) {
    (void)state;
    char *word = small_word(0, 4), *other = small_word(0, 30);
    run("mkdir -p telling && cp index.* data.* cntlist.rev telling && cd telling && "
        "sed -i 's/definition 4; of the noun/definition 4; of %s nou/; "
        "s/\\(definition [1-6][1-9]\\); of the noun/\\1; of %s nou/; s/definition [7-9][0-9]/definition 70/' data.noun",
        word, other);
    struct questions q = made("gloss --wordnet telling --count 10000");
    assert_int_equal(q.n, SMALL_PARTS * SMALL_WORDS - 1);
    size_t told = 0;
    for (size_t k = 0; k < q.n; k++) {
        char *mine = string_format("The noun %s means", word), *others = string_format("The noun %s means", other);
        assert_string_not_equal(q.list[k].context, mine);
        for (size_t c = 0; c < q.list[k].n; c++) {
            const bool names = strstr(q.list[k].choices[c], other);
            if (strcmp(q.list[k].context, others) == 0) assert_false(names);
            told += names;
            for (size_t d = 0; d < c; d++) assert_string_not_equal(q.list[k].choices[c], q.list[k].choices[d]);
        }
        free(mine);
        free(others);
    }
    assert_true(told > 100);
    questions_free(&q);
    free(word);
    free(other);
}

/* ---- Text ---- */

/* Whether `word` stands in a text as a whole word; with a stop behind it if `ends`. */
static bool text_has(const char *text, const char *word, bool ends) {
    const size_t size = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at++) {
        const bool whole = (at == text || !isalpha((unsigned char)at[-1])) && !isalpha((unsigned char)at[size]);
        if (whole && (!ends || at[size] == '.')) return true;
    }
    return false;
}

static size_t words_count(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += isalpha((unsigned char)*text) && !isalpha((unsigned char)text[1]);
    return n;
}

static void last_words_occurred_before(void **state) {
    (void)state;
    static char text[1 << 18];
    struct questions q = made("last-word text.txt --count 10000 --words 40");
    text_read("text.txt", text, sizeof text);
    bool *used = array_alloc(strlen(text), 1);
    size_t newlines = 0;
    assert_true(q.n > 100);
    for (size_t k = 0; k < q.n; k++) {
        const struct question *one = &q.list[k];
        const char *joint = question_joint(one->context, answer_of(one));
        char *passage = string_format("%s%s%s.", one->context, joint, answer_of(one)), *at = strstr(text, passage);
        assert_non_null(at);
        assert_true(at == text || isspace((unsigned char)at[-1])); /* whole words, of a sentence that begins */
        assert_int_equal(strncmp(passage, "The", 3), 0);
        assert_null(memchr(used + (at - text), true, strlen(passage)));
        memset(used + (at - text), true, strlen(passage));
        const size_t words = words_count(one->context);
        assert_true(words >= 20 && words <= 40);
        const char *before = one->context + strlen(one->context) - !*joint - 4; /* the word before the last */
        assert_true(strncmp(before, answer_of(one), 4) != 0);
        newlines += one->context[strlen(one->context) - 1] == '\n';
        for (size_t c = 0; c < one->n; c++) {
            assert_true(text_has(one->context, one->choices[c], false));
            assert_true(text_has(text, one->choices[c], true));
            assert_int_equal(strlen(one->choices[c]), 4);
            assert_int_equal(one->choices[c][0], 't');
            for (size_t d = 0; d < c; d++) assert_string_not_equal(one->choices[c], one->choices[d]);
        }
        free(passage);
    }
    assert_true(newlines > 0 && newlines < q.n); /* words behind either kind of blank */
    free(used);
    questions_free(&q);
}

static int language_index(const char *text, size_t size) {
    for (int i = 0; i < LANGUAGES; i++)
        if (strlen(languages[i]) == size && strncmp(languages[i], text, size) == 0) return i;
    fail_msg("no language: %s", text);
    return -1;
}

/* A long line is cut behind a word, or behind a character where it is one long word. */
static void line_expect(const char *line, size_t size) {
    assert_true(size >= 20 && size <= 120);
    if (line[10] == 'l' && line[11] == '1') assert_true(size > 110 && strncmp(line + size - 5, "caf\xc3\xa9", 5) == 0);
    if (line[10] == 'l' && line[11] == '2') assert_true(size > 117); /* the rest is UTF-8, or it would be no JSON */
}

/* Shots: so many lines of each of the choices, each with its language behind it, none the one that is asked for. */
static void lines_are_of_their_language(void **state) {
    (void)state;
    for (int shots = 0; shots <= 3; shots++) {
        char *arguments = string_format("language parts --choices 3 --shots %d --count 100", shots);
        struct questions q = made(arguments);
        size_t asked[LANGUAGES] = {0};
        assert_int_equal(q.n, 100);
        for (size_t k = 0; k < q.n; k++) {
            const struct question *one = &q.list[k];
            const size_t size = strlen(one->context);
            size_t seen[LANGUAGES] = {0};
            assert_int_equal(one->n, 3);
            assert_int_equal(one->context[size - 1], '\n');
            char *asked_for = string_format("%s", one->context), *line = asked_for;
            for (char *end; (end = strstr(line, "\n\n")); line = end + 2) {
                char *name = memchr(line, '\n', (size_t)(end - line));
                const int language = language_index(name + 1, (size_t)(end - name - 1));
                assert_int_equal(language_index(line, 2), language);
                assert_int_equal(strncmp(line + 2, " is the l", 9), 0);
                line_expect(line, (size_t)(name - line));
                char *shot = string_format("%.*s", (int)(name - line), line);
                char *last = strstr(one->context + (line - asked_for) + 1, shot);
                assert_null(last); /* neither another shot, nor the line asked for */
                free(shot);
                seen[language]++;
            }
            line_expect(line, strlen(line) - 1);
            assert_int_equal(language_index(line, 2), language_index(answer_of(one), strlen(answer_of(one))));
            asked[language_index(line, 2)]++;
            for (size_t c = 0; c < one->n; c++) {
                const int language = language_index(one->choices[c], strlen(one->choices[c]));
                assert_int_equal(seen[language], shots);
                seen[language] = 1000; /* no choice twice */
            }
            for (int i = 0; i < LANGUAGES; i++) assert_true(seen[i] == 1000 || seen[i] == 0);
            free(asked_for);
        }
        for (int i = 0; i < LANGUAGES; i++) assert_int_equal(asked[i], 20);
        questions_free(&q);
        free(arguments);
    }
    struct questions q = made("language parts --shots 0 --count 10000"); /* none is asked for twice */
    assert_int_equal(q.n, LANGUAGES * 43);
    for (size_t k = 0; k < q.n; k++)
        for (size_t other = 0; other < k; other++) assert_string_not_equal(q.list[k].context, q.list[other].context);
    questions_free(&q);
}

/* ---- What they have in common ---- */

static const char *const sets[] = {"gloss --wordnet .", "example --wordnet .", "last-word text.txt", "language parts"};
enum { SETS = 4 };

/* Each place equally often, and not in turn. */
static void right_answers_are_anywhere(void **state) {
    (void)state;
    for (int set = 0; set < SETS; set++)
        for (int choices = 2; choices <= 4; choices++) {
            char *arguments = string_format("%s --choices %d --count 120 --seed %d", sets[set], choices, choices);
            struct questions q = made(arguments);
            size_t counts[4] = {0}, again = 0, turns[4] = {0};
            assert_int_equal(q.n, 120);
            for (size_t k = 0; k < q.n; k++) {
                assert_int_equal(q.list[k].n, choices);
                counts[q.list[k].answer]++;
                again += k >= (size_t)choices && q.list[k].answer == q.list[k - choices].answer;
                if (k % (size_t)choices == 0) turns[q.list[k].answer]++;
            }
            for (int i = 0; i < choices; i++) {
                assert_int_equal(counts[i], 120 / choices);
                assert_true(turns[i] > 0); /* the first of a round is any */
            }
            assert_true(again > 0 && again < 118 - (size_t)choices);
            questions_free(&q);
            free(arguments);
        }
}

/* Fewer questions are the first of more. */
static void seeds_choose_the_questions(void **state) {
    (void)state;
    for (int set = 0; set < SETS; set++) {
        run("questions %s -n 60 >a; questions %s -n 60 --seed 1 | cmp - a", sets[set], sets[set]);
        char *one = string_format("%s -n 60", sets[set]), *two = string_format("%s -n 60 --seed 2", sets[set]);
        struct questions p = made(one), q = made(two);
        size_t shared = 0;
        for (size_t i = 0; i < p.n * q.n; i++) {
            const struct question *mine = &p.list[i / q.n], *theirs = &q.list[i % q.n];
            shared += strcmp(mine->context, theirs->context) == 0 && strcmp(answer_of(mine), answer_of(theirs)) == 0;
        }
        assert_true(shared < 20);
        questions_free(&p);
        questions_free(&q);
        free(one);
        free(two);
        run("questions %s -n 20 >c; head -20 a | cmp - c", sets[set]);
        run("questions %s -n 60 | wc -l", sets[set]);
        assert_string_equal(output, "60\n");
        assert_string_equal(errors, "");
    }
}

static void bad_input_is_refused(void **state) {
    (void)state;
    refuse(2, "want the name of one set", "--help", "questions");
    refuse(2, "want the name of one set", "--help", "questions last-word a b");
    refuse(2, "'glosses' is no set", "gloss, example, last-word or language", "questions glosses");
    refuse(2, "gloss: takes no file", "--wordnet and --text", "questions gloss text.txt");
    refuse(2, "last-word: want the FILE", "--help", "questions last-word");
    refuse(2, "language: want the DIR", "--help", "questions language");
    refuse(2, "--choices", "from 2 to 50", "questions gloss --choices 1");
    refuse(3, "nowhere/index.noun: cannot read", "corpus.sh wordnet", "questions gloss --wordnet nowhere");
    refuse(3, "missing.txt: cannot read", "No such file", "questions gloss --wordnet . --text missing.txt");
    refuse(3, ".: no question can be made of 0 words", "--least", "questions gloss --wordnet . --least 41");
    refuse(3, "no question can be made of 40 words", "--choices",
           "questions gloss --wordnet . --least 40 --choices 11");
    refuse(3, "missing.txt: cannot read", "No such file", "questions last-word missing.txt");
    refuse(3, "t.txt: no sentence ends with a word that occurs", "longer text",
           "echo text. >t.txt; questions last-word t.txt");
    refuse(3, "t.txt: no sentence ends", "longer text", ": >t.txt; questions last-word t.txt");
    refuse(3, "t.txt: holds a NUL byte", "UTF-8", "printf 'a\\0b' >t.txt; questions last-word t.txt");
    refuse(3, "nowhere: cannot read", "No such file", "questions language nowhere");
    refuse(3, "parts: too few languages (got 5 sub-directories, want 6", "--choices",
           "questions language parts --choices 6");
    refuse(3, "parts/aa: too few lines that no other language has (got 43 of 20 bytes or more in *.txt, want 44", "",
           "questions language parts --shots 43");
    refuse(3, "few/bb: too few lines", "got 0 of", "mkdir -p few/aa few/bb few/cc few/dd; for i in aa cc dd; do "
           "printf \"$i is a line of its own\\n$i is another line of it\" >few/$i/a.txt; done; questions language few");
    refuse(4, "standard output", "No space left", "questions language parts >/dev/full");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(glosses_fit_their_words),
        cmocka_unit_test(words_fit_their_examples),
        cmocka_unit_test(only_frequent_words_are_asked_for),
        cmocka_unit_test(glosses_do_not_tell),
        cmocka_unit_test(last_words_occurred_before),
        cmocka_unit_test(lines_are_of_their_language),
        cmocka_unit_test(right_answers_are_anywhere),
        cmocka_unit_test(seeds_choose_the_questions),
        cmocka_unit_test(bad_input_is_refused),
    };
    return cmocka_run_group_tests(tests, files_make, workplace_remove);
}
