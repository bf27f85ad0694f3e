/* Clocks that jump: loaded with LD_PRELOAD into a server and all that it forks. WEB_CLOCKS names a file of two numbers,
 * mapped and shared: nanoseconds by which CLOCK_REALTIME (for time() and gettimeofday(), too) and CLOCK_MONOTONIC are
 * ahead. The kernel's timers know nothing of it, so what is set to a moment is set back by as much. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *ahead;

__attribute__((constructor)) static void map_clocks(void) {
    int fd = open(getenv("WEB_CLOCKS"), O_RDONLY | O_CLOEXEC);
    ahead = mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0);
    if (fd < 0 || ahead == MAP_FAILED) abort();
    close(fd);
}

static void add(struct timespec *to, int64_t ns) {
    int64_t sum = (int64_t)to->tv_sec * 1000000000 + to->tv_nsec + ns;
    to->tv_sec = sum / 1000000000;
    to->tv_nsec = sum % 1000000000;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    long result = syscall(SYS_clock_gettime, which, now);
    if (result != 0 || !ahead) return (int)result;
    if (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE) add(now, ahead[0]);
    if (which == CLOCK_MONOTONIC || which == CLOCK_MONOTONIC_COARSE) add(now, ahead[1]);
    return (int)result;
}

time_t time(time_t *to) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    (void)zone;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *spec, struct itimerspec *before) {
    struct itimerspec real = *spec;
    if (flags & TFD_TIMER_ABSTIME) {
        add(&real.it_value, -ahead[1]);
        if (real.it_value.tv_sec < 0) real.it_value = (struct timespec){0, 1};
    }
    return (int)syscall(SYS_timerfd_settime, fd, flags, &real, before);
}
