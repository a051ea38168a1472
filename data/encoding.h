/* What a text is written in, by its first bytes: what cannot be meant as text is refused with the command that makes
 * text of it, what is text of another encoding is noted with the command that makes UTF-8 of it. README.md here says
 * what is recognised. */
#ifndef ENCODING_H
#define ENCODING_H

#include "../src/base/util.h"

/* What is worth a note: for each kind the first text, what to do about it, and how many more there are. */
enum { ENCODING_NOTES = 3 };
struct encoding_notes {
    struct encoding_note {
        char *path, *remedy;
        size_t more;
    } of[ENCODING_NOTES];
};

/* Looks into a file; of a .gz at what is in it. `walked`: it was found in a directory and not named, so that what is no
 * text may be left out: *binary says so. EXIT_INPUT if it is compressed in another way, or UTF-16 or UTF-32. A file
 * that cannot be read is passed: who reads it will say so. */
bool encoding_check(struct encoding_notes *notes, const char *path, bool walked, bool *binary, struct error *err);

/* The same for a text that came through a pipe. */
bool encoding_check_piped(struct encoding_notes *notes, const char *path, const char *text, size_t size,
                          struct error *err);

/* Prints the notes, if they are wanted, and releases them. */
void encoding_tell(struct encoding_notes *notes, bool wanted);

#endif
