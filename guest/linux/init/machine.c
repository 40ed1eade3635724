/* Processors, memory, clocks, random numbers. */
#include "checks.h"
#include "linux.h"
#include "syscall.h"

#define NSEC_PER_USEC 1000u

uint64_t now(void)
{
    struct timespec time = {0, 0};
    sys(SYS_CLOCK_GETTIME, CLOCK_MONOTONIC, &time);
    return (uint64_t)time.seconds * 1000000 + (uint32_t)time.nanoseconds / NSEC_PER_USEC;
}

void sleep_milliseconds(uint32_t milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    sys(SYS_CLOCK_NANOSLEEP, CLOCK_MONOTONIC, 0, &time, 0);
}

bool failed(struct line *detail, const char *what, long result)
{
    say(detail, "%s: error %u", what, (unsigned)-result);
    return false;
}

/* Runs on every processor that the kernel has, one after the other. pykvm.cpus=N: that many. */
bool check_cpus(struct line *detail)
{
    uint8_t all[128], one[128];
    unsigned count = 0;
    long size = sys(SYS_SCHED_GETAFFINITY, 0, sizeof all, all);
    if (size < 0)
        return failed(detail, "sched_getaffinity", size);
    for (unsigned n = 0; n < (unsigned)size * 8; n++) {
        unsigned here = ~0u;
        if (!(all[n / 8] >> n % 8 & 1))
            continue;
        memset(one, 0, sizeof one);
        one[n / 8] = (uint8_t)(1 << n % 8);
        long result = sys(SYS_SCHED_SETAFFINITY, 0, sizeof one, one);
        sys(SYS_GETCPU, &here, 0, 0);
        if (result < 0 || here != n) {
            say(detail, "processor %u does not run this", n);
            return false;
        }
        count++;
    }
    sys(SYS_SCHED_SETAFFINITY, 0, size, all);
    uint64_t expected = argument_number("pykvm.cpus", count);
    say(detail, "%u online", count);
    if (count != expected)
        say(detail, ", expected %llu", (unsigned long long)expected);
    return count == expected;
}

/* pykvm.memory=MIB: the kernel has that, less at most a quarter for itself. */
bool check_memory(struct line *detail)
{
    char text[256];
    const char *rest = NULL;
    uint64_t kib = 0;
    if (file_text("/proc/meminfo", text, sizeof text))
        rest = after(text, "MemTotal:");
    while (rest && *rest == ' ')
        rest++;
    if (!rest || !number(&rest, &kib)) {
        say(detail, "no MemTotal in /proc/meminfo");
        return false;
    }
    uint64_t expected = argument_number("pykvm.memory", 0) * 1024;
    say(detail, "%llu KiB", (unsigned long long)kib);
    if (!expected || (kib <= expected && kib >= expected - expected / 4))
        return true;
    say(detail, ", of %llu", (unsigned long long)expected);
    return false;
}

/* A sleep takes as long as it should by the clock, and the date is one of this century. */
bool check_time(struct line *detail)
{
    char source[32];
    struct timespec date = {0, 0};
    uint64_t start = now();
    sleep_milliseconds(50);
    uint64_t took = now() - start;
    sys(SYS_CLOCK_GETTIME, CLOCK_REALTIME, &date);
    file_text("/sys/devices/system/clocksource/clocksource0/current_clocksource", source,
              sizeof source);
    say(detail, "slept %llu us for 50000, date %llu, by %s", (unsigned long long)took,
        (unsigned long long)date.seconds, source);
    return took >= 50000 && took < 5000000 && date.seconds > 946684800;
}

/* 16 bytes that are not all the same. */
static bool random_bytes(const uint8_t *bytes, long count)
{
    for (int n = 1; n < 16; n++)
        if (bytes[n] != bytes[0])
            return count == 16;
    return false;
}

/* The kernel's generator is seeded; the hardware's, if there is one, gives numbers. */
bool check_rng(struct line *detail)
{
    uint8_t bytes[16] = {0};
    char name[64];
    long got = sys(SYS_GETRANDOM, bytes, sizeof bytes, 0);
    if (!random_bytes(bytes, got))
        return failed(detail, "getrandom", got);
    say(detail, "getrandom");
    if (!file_text("/sys/class/misc/hw_random/rng_current", name, sizeof name) ||
        equal(name, "none")) {
        say(detail, ", no hwrng");
        return true;
    }
    memset(bytes, 0, sizeof bytes);
    long fd = sys(SYS_OPEN, "/dev/hwrng", O_RDONLY);
    got = fd < 0 ? fd : sys(SYS_READ, fd, bytes, sizeof bytes);
    sys(SYS_CLOSE, fd);
    say(detail, ", hwrng %s", name);
    return random_bytes(bytes, got) || failed(detail, "", got);
}
