#include "host.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>

int pk_thread_start(pthread_t *thread, const char *name, void *(*work)(void *), void *opaque)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, work, opaque);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        pthread_setname_np(*thread, name);
    return error;
}

/* The lowest of `keep` that is at least `from`, or -1. */
static int next_kept(const int *keep, uint32_t count, unsigned from)
{
    int next = -1;
    for (uint32_t i = 0; i < count; i++)
        if (keep[i] >= 0 && (unsigned)keep[i] >= from && (next < 0 || keep[i] < next))
            next = keep[i];
    return next;
}

void pk_thread_own_files(const int *keep, uint32_t count)
{
    if (unshare(CLONE_FILES) != 0)
        return; /* slower, but not wrong */
    unsigned from = 0;
    for (int next; (next = next_kept(keep, count, from)) >= 0; from = (unsigned)next + 1)
        if ((unsigned)next > from)
            syscall(SYS_close_range, from, (unsigned)next - 1, 0);
    syscall(SYS_close_range, from, UINT_MAX, 0);
}

void pk_signal(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof one) < 0)
        return; /* the counter is full: readable it is */
}
