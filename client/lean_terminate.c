/* What the C++ library calls for an exception that nobody catches, which ZeroMQ lets happen when
 * there is no memory. Its own function names the exception, for which it brings a decoder of C++
 * names, 50 KiB. */
#include <stdlib.h>

void fq_terminate(void) __asm__("_ZN9__gnu_cxx27__verbose_terminate_handlerEv");

void fq_terminate(void) {
    abort();
}
