/* modeling_mhmoe.py, as text: the Makefile makes a source of it. */
#ifndef MODELING_H
#define MODELING_H

extern const char modeling_mhmoe[];

#endif
