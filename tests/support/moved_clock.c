/* The time of day of a server under test: preloaded into it, this reads the time from the file that
 * MOVED_CLOCK names, as microseconds since the epoch in eight bytes; a negative number is so much
 * before the true time, and goes on with it. Only the time of day is moved; what the server
 * measures by its monotonic clock goes on as ever. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    static volatile long long *micros;
    (void)zone;
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
        if (clock_gettime(CLOCK_REALTIME, &real)) abort();
        now += real.tv_sec * 1000000LL + real.tv_nsec / 1000;
    }
    time->tv_sec = now / 1000000;
    time->tv_usec = now % 1000000;
    return 0;
}
