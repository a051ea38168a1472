/* Takes the text out of HTML pages: pages FROM TO [ENGLISH].
 *
 * Every page FROM/PATH.html becomes TO/PATH.txt, one line a paragraph, heading, cell or line of code, all whitespace
 * in it a single space. libxml2 makes a tree of any page, however broken, with its entities resolved, and knows which
 * elements are inline. Where ENGLISH is named, the lines that ENGLISH/PATH.txt has, too, are left out: in a
 * translation those are the ones that nobody has translated yet. A page without text becomes no file.
 * Called by corpus.sh. */
#include <errno.h>
#include <fts.h>
#include <libxml/HTMLparser.h>
#include <stdlib.h>
#include <string.h>
#include "../src/base/util.h"

/* Around this element, LibreOffice's pages have what is the same on each. */
#define MAIN_ID "DisplayArea"

/* The lines of a page, each between two newlines, so that "\nLINE\n" finds one. */
struct text {
    char *bytes;
    size_t size, capacity;
    size_t line;         /* where the line begins that is being written */
    bool space;          /* before its next character comes a space */
    const char *english; /* the lines to leave out, in the same form; or NULL */
};

static void byte_add(struct text *t, char byte) {
    t->bytes = array_grow(t->bytes, &t->capacity, t->size + 2, 1);
    t->bytes[t->size++] = byte;
    t->bytes[t->size] = 0;
}

static void line_end(struct text *t) {
    t->space = false;
    if (t->size == t->line) return;
    byte_add(t, '\n');
    if (t->english && strstr(t->english, t->bytes + t->line - 1)) t->size = t->line;
    t->line = t->size;
}

/* Bytes of the whitespace at s: ASCII's, or a no-break space. */
static size_t space_length(const char *s) {
    return s[0] && strchr(" \t\r\n\f\v", s[0]) ? 1 : strncmp(s, "\u00a0", 2) == 0 ? 2 : 0;
}

static void text_add(struct text *t, const char *s, bool lines) {
    for (size_t n; *s; s += n) {
        n = space_length(s);
        if (lines && *s == '\n') line_end(t);
        else if (n > 0) t->space = true;
        else {
            if (t->space && t->size > t->line) byte_add(t, ' ');
            t->space = false;
            byte_add(t, *s);
            n = 1;
        }
    }
}

/* Of elements side by side that are all hidden a script shows one, as it suits the reader's system. The last is for
 * the systems that are not named. */
static bool is_hidden(const xmlNode *node) {
    if (!xmlHasProp(node, BAD_CAST "hidden")) return false;
    while ((node = node->next) && !(node->type == XML_ELEMENT_NODE && xmlHasProp(node, BAD_CAST "hidden"))) continue;
    return node;
}

/* What is written on a page and no text to read. `header` is not among them: an introduction may stand in it. */
static const char *const left_out[] = {"head", "script", "style", "noscript", "template", "nav",   "aside",  "footer",
                                       "menu", "button", "select", "textarea", "object",  "label", "iframe", "svg"};

/* The inline elements that are younger than libxml2's list of elements. */
static const char *const young[] = {"bdi", "data", "mark", "output", "rp", "rt", "ruby", "time", "wbr"};

static bool is_among(const xmlNode *node, const char *const *names, size_t count) {
    while (count > 0 && strcmp((const char *)node->name, names[count - 1]) != 0) count--;
    return count > 0;
}

static bool breaks_line(const xmlNode *node) {
    const htmlElemDesc *known = htmlTagLookup(node->name);
    if (!known) return !is_among(node, young, sizeof young / sizeof *young);
    return !known->isinline || strcmp((const char *)node->name, "br") == 0;
}

static void node_add(struct text *t, const xmlNode *node, bool lines) {
    if ((node->type == XML_TEXT_NODE || node->type == XML_CDATA_SECTION_NODE) && node->content)
        text_add(t, (const char *)node->content, lines);
    if (node->type != XML_ELEMENT_NODE || is_hidden(node)) return;
    if (is_among(node, left_out, sizeof left_out / sizeof *left_out)) return;
    const bool breaks = breaks_line(node);
    lines |= strcmp((const char *)node->name, "pre") == 0;
    if (breaks) line_end(t);
    for (const xmlNode *child = node->children; child; child = child->next) node_add(t, child, lines);
    if (breaks) line_end(t);
}

/* Only memory or a page nested deeper than libxml2 follows (256) stops its parser; it has no tree of nothing. */
static bool page_add(struct text *t, const char *html, size_t size, const char *path, struct error *err) {
    const int silent = HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET;
    if (size > INT32_MAX) return error_set(err, EXIT_INPUT, "%s: too large for a page (%zu bytes)", path, size);
    xmlResetLastError();
    xmlDoc *page = htmlReadMemory(html, (int)size, path, "UTF-8", silent);
    const xmlError *last = xmlGetLastError();
    if (last && last->level == XML_ERR_FATAL) {
        xmlFreeDoc(page);
        return error_set(err, EXIT_INPUT, "%s: line %d: cannot read this page: %.*s", path, last->line,
                         (int)strcspn(last->message, "\n"), last->message);
    }
    const xmlAttr *id = page ? xmlGetID(page, BAD_CAST MAIN_ID) : NULL;
    const xmlNode *top = id ? id->parent : page ? xmlDocGetRootElement(page) : NULL;
    byte_add(t, '\n');
    t->line = t->size;
    if (top) node_add(t, top, false);
    line_end(t);
    xmlFreeDoc(page);
    return true;
}

/* ENGLISH/PATH.txt with a newline before it; NULL if there is none. */
static bool english_load(const char *path, char **lines, struct error *err) {
    FILE *file = fopen(path, "rb");
    size_t size;
    *lines = NULL;
    if (!file && errno == ENOENT) return true;
    char *text = file_contents(file, path, &size, err);
    if (text) *lines = string_format("\n%s", text);
    free(text);
    return *lines;
}

static bool text_write(const struct text *t, char *path, struct error *err) {
    char *slash = strrchr(path, '/');
    *slash = 0;
    if (!directory_make(path, err)) return false;
    *slash = '/';
    FILE *file = fopen(path, "wb");
    bool ok = file && fwrite(t->bytes + 1, 1, t->size - 1, file) == t->size - 1;
    if (file) ok = fclose(file) == 0 && ok;
    return ok || error_set(err, EXIT_OUTPUT, "%s: cannot write: %s", path, strerror(errno));
}

/* The page at `from`, which is to become the text at `to`. */
static bool page_convert(const char *from, char *to, const char *english, struct error *err) {
    struct text text = {0};
    char *lines = NULL;
    size_t size;
    char *html = file_contents(fopen(from, "rb"), from, &size, err);
    bool ok = html && (!english || english_load(english, &lines, err));
    text.english = lines;
    ok = ok && page_add(&text, html, size, from, err) && (text.size == 1 || text_write(&text, to, err));
    free(text.bytes);
    free(lines);
    free(html);
    return ok;
}

/* DIR/PATH.txt of PATH.html. */
static char *text_path(const char *dir, const char *page) {
    return string_format("%s/%.*s.txt", dir, (int)strlen(page) - 5, page);
}

static bool is_page(const FTSENT *entry) {
    return entry->fts_info == FTS_F && entry->fts_namelen > 5 &&
           strcmp(entry->fts_name + entry->fts_namelen - 5, ".html") == 0;
}

static bool pages_convert(char **dirs, struct error *err) {
    char *const top[] = {dirs[0], NULL};
    FTS *files = fts_open(top, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    size_t pages = 0;
    bool ok = files;
    for (FTSENT *entry; ok && (entry = fts_read(files));) {
        if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS)
            ok = error_set(err, EXIT_INPUT, "%s: cannot read: %s", entry->fts_path, strerror(entry->fts_errno));
        if (!ok || !is_page(entry)) continue;
        const char *name = entry->fts_path + strlen(dirs[0]) + 1;
        char *to = text_path(dirs[1], name), *english = dirs[2] ? text_path(dirs[2], name) : NULL;
        ok = page_convert(entry->fts_path, to, english, err);
        pages++;
        free(to);
        free(english);
    }
    if (files) fts_close(files);
    return ok && (pages > 0 || error_set(err, EXIT_INPUT, "%s: there are no HTML pages", dirs[0]));
}

int main(int argc, char **argv) {
    struct error err = {EXIT_USAGE, "usage: pages FROM TO [ENGLISH]"};
    program_start(argv);
    if (argc != 3 && argc != 4) error_exit(&err);
    if (!pages_convert(argv + 1, &err)) error_exit(&err);
    return EXIT_DONE;
}
