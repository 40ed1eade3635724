/* What the kernel's headers would give: flags, requests and structures, for both ABIs the same. */
#ifndef INIT_LINUX_H
#define INIT_LINUX_H

#include <stdint.h>

enum { EEXIST = 17, EBUSY = 16 };
enum { O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_NOCTTY = 0x100, O_NONBLOCK = 0x800, O_DIRECT = 0x4000 };
enum { TCSBRK = 0x5409 }; /* with 1: wait until all is written */
enum { SYSLOG_CONSOLE_LEVEL = 8 };

enum { CLOCK_REALTIME = 0, CLOCK_MONOTONIC = 1 };
struct timespec {
    int64_t seconds;
    int64_t nanoseconds;
};

#define REBOOT_MAGIC1  0xfee1dead
#define REBOOT_MAGIC2  672274793
#define REBOOT_RESTART 0x01234567
#define REBOOT_OFF     0x4321fedc

enum { AF_INET = 2, SOCK_STREAM = 1, SOCK_DGRAM = 2, SHUT_WR = 1 };
enum { SIOCGIFFLAGS = 0x8913, SIOCSIFFLAGS = 0x8914, SIOCGIFADDR = 0x8915, IFF_UP = 1 };
struct sockaddr_in {
    uint16_t family;
    uint16_t port; /* big endian, as the address is */
    uint8_t address[4];
    uint8_t zero[8];
};
struct ifreq {
    char name[16];
    union {
        struct sockaddr_in address;
        int16_t flags;
        uint8_t size[24];
    };
};

#endif
