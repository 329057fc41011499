/* The time of day of a server under test: preloaded into it, this reads the time from the file that
 * MOVED_CLOCK names, as microseconds since the epoch in eight bytes; a negative number is so much
 * before the true time, and goes on with it. Only the time of day is moved; what the server
 * measures by its monotonic clock goes on as ever.
 *
 * Programs that ask clock_gettime for the time of day, such as those in Rust, are moved too where
 * MOVED_CLOCK_GETTIME is set. Where it is not, clock_gettime returns the true time. The clock that
 * goes on while a machine is suspended (CLOCK_BOOTTIME) moves with the time of day, as if the
 * machine had slept; where MOVED_CLOCK_BOOTTIME is "true" it does not, as if somebody had set the
 * time of day. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Asked of the kernel, since the name clock_gettime is taken below. */
static int true_time(clockid_t clock, struct timespec *time) {
    return (int)syscall(SYS_clock_gettime, clock, time);
}

static long long moved_micros(void) {
    static volatile long long *volatile micros;
    if (!micros) {
        const char *path = getenv("MOVED_CLOCK");
        int file = path ? open(path, O_RDONLY) : -1;
        void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, file, 0);
        if (mapped == MAP_FAILED) abort();
        close(file);
        micros = mapped;
    }
    long long now = *micros;
    if (now < 0) {
        struct timespec real;
        if (true_time(CLOCK_REALTIME, &real)) abort();
        now += real.tv_sec * 1000000LL + real.tv_nsec / 1000;
    }
    return now;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    long long now = moved_micros();
    time->tv_sec = now / 1000000;
    time->tv_usec = now % 1000000;
    return 0;
}

static int is_moved(clockid_t clock) {
    if (!getenv("MOVED_CLOCK_GETTIME")) return 0;
    const char *boottime = getenv("MOVED_CLOCK_BOOTTIME");
    return clock == CLOCK_REALTIME
        || (clock == CLOCK_BOOTTIME && !(boottime && !strcmp(boottime, "true")));
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!is_moved(clock)) return true_time(clock, time);
    long long now = moved_micros();
    time->tv_sec = now / 1000000;
    time->tv_nsec = now % 1000000 * 1000;
    return 0;
}
