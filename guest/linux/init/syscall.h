/* The system calls that this program makes, with at most five arguments: one table of numbers for
 * each ABI (Linux's syscall_64.tbl and syscall_32.tbl). Structures are those that both ABIs share:
 * 64-bit times, sockets by calls of their own. */
#ifndef INIT_SYSCALL_H
#define INIT_SYSCALL_H

#ifdef __x86_64__
#define ABI "x86_64"
enum {
    SYS_READ = 0, SYS_WRITE = 1, SYS_OPEN = 2, SYS_CLOSE = 3, SYS_IOCTL = 16, SYS_PREAD = 17,
    SYS_PWRITE = 18, SYS_DUP2 = 33, SYS_SOCKET = 41, SYS_CONNECT = 42, SYS_SHUTDOWN = 48,
    SYS_MKDIR = 83, SYS_READLINK = 89, SYS_SYSLOG = 103, SYS_MOUNT = 165, SYS_REBOOT = 169,
    SYS_IOPERM = 173, SYS_SCHED_SETAFFINITY = 203, SYS_SCHED_GETAFFINITY = 204,
    SYS_CLOCK_GETTIME = 228, SYS_CLOCK_NANOSLEEP = 230, SYS_GETCPU = 309, SYS_GETRANDOM = 318,
};
#else
#define ABI "i386"
enum {
    SYS_READ = 3, SYS_WRITE = 4, SYS_OPEN = 5, SYS_CLOSE = 6, SYS_MOUNT = 21, SYS_MKDIR = 39,
    SYS_IOCTL = 54, SYS_DUP2 = 63, SYS_READLINK = 85, SYS_REBOOT = 88, SYS_IOPERM = 101,
    SYS_SYSLOG = 103, SYS_PREAD = 180, SYS_PWRITE = 181, SYS_SCHED_SETAFFINITY = 241,
    SYS_SCHED_GETAFFINITY = 242, SYS_GETCPU = 318, SYS_GETRANDOM = 355, SYS_SOCKET = 359,
    SYS_CONNECT = 362, SYS_SHUTDOWN = 373, SYS_CLOCK_GETTIME = 403, SYS_CLOCK_NANOSLEEP = 407,
};
#endif

/* The result, or minus the error's number. */
static inline long system_call(long number, long a, long b, long c, long d, long e)
{
    long result;
#ifdef __x86_64__
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
#else
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
                     : "memory");
#endif
    return result;
}

/* sys(NUMBER, up to five arguments): numbers and pointers as they are. */
#define SYS_(number, a, b, c, d, e, ...) \
    system_call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
#define sys(...) SYS_(__VA_ARGS__, 0, 0, 0, 0, 0, 0)

#endif
