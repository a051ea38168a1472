/* Where an installed program is, and what it finds from there. Beside PREFIX/bin/NAME there are
 *   PREFIX/share/mhmoe     corpus.sh and questions.sh
 *   PREFIX/libexec/mhmoe   what these run; and where there is a program for each width of vectors, these
 *                          (x86-64-v3/NAME, ...; bin/NAME is install/launch.c then)
 * No path is compiled in: the program asks where its own file lies (Linux tells, in /proc/self/exe), so that the tree
 * may be moved. A program that does not lie so, as in a source checkout, is not installed: its data are in ./data. */
#ifndef PLACE_H
#define PLACE_H

#include "util.h"

/* PREFIX/share/mhmoe, or NULL. malloc'ed. */
char *place_share(void);

/* The directory of corpora/ and cache/: data; but where an installed program finds none here, mhmoe in the user's cache
 * directory ($XDG_CACHE_HOME, or else ~/.cache). malloc'ed. */
char *place_data(void);

/* The directory of a corpus, which the corpus.sh of this place fetches if it is not there. malloc'ed. NULL (EXIT_INPUT)
 * if that fails: the message says what to name `instead`. */
char *place_corpus(const char *name, const char *instead, struct error *err);

#endif
