/* Calls of the kernel as the data plane makes them.
 *
 * In a process with threads every system call on a descriptor takes and drops a reference to the file,
 * and the C library makes those that may block cancellable. For a frame of 60 bytes that is a tenth of
 * the whole cost; a thread that moves frames does without both.
 */
#ifndef PYKVM_HOST_H
#define PYKVM_HOST_H

#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* writev(), readv() and read() without the C library's cancellation points; -1 and errno on failure. */
static inline ssize_t pk_writev(int fd, const struct iovec *pieces, uint32_t count)
{
    if (count == 1) /* cheaper by a tenth of a short frame */
        return syscall(SYS_write, fd, pieces->iov_base, pieces->iov_len);
    return syscall(SYS_writev, fd, pieces, count);
}

static inline ssize_t pk_readv(int fd, const struct iovec *pieces, uint32_t count)
{
    return syscall(SYS_readv, fd, pieces, count);
}

static inline ssize_t pk_read(int fd, void *to, size_t size) { return syscall(SYS_read, fd, to, size); }

/* Start `work` in a thread called `name` that gets no signals (they are for Python's threads); 0 or an
 * errno. */
int pk_thread_start(pthread_t *thread, const char *name, void *(*work)(void *), void *opaque);

/* Give the calling thread a table of descriptors of its own, with copies of these `count` alone (those
 * below 0 are skipped). What the process closes later stays open here, until the thread ends. */
void pk_thread_own_files(const int *keep, uint32_t count);

/* Make an eventfd readable. */
void pk_signal(int fd);

#endif
