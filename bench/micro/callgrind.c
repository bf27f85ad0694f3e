/* Valgrind's client requests as functions, for ctypes: counters.py compiles this file. Outside of valgrind they do
   nothing. */
#include <valgrind/callgrind.h>

void start(void) { CALLGRIND_START_INSTRUMENTATION; }
void toggle(void) { CALLGRIND_TOGGLE_COLLECT; }
void dump(const char* name) { CALLGRIND_DUMP_STATS_AT(name); }
int running(void) { return (int)RUNNING_ON_VALGRIND; }
