/* How a run is asked to stop: Ctrl-C, a service's stop, a closed terminal. */
#ifndef STOP_H
#define STOP_H

#include <signal.h>

/* The signal that has asked for a stop after the step that is being done; 0: none. A second one of its kind ends the
 * program at once. */
extern volatile sig_atomic_t stop_signal;

/* From now on Ctrl-C, a service's stop, and a closed terminal (unless nohup is there) are noted. A reader of the
 * samples that went away (./train | head) stops nothing. */
void signals_take(void);

#endif
