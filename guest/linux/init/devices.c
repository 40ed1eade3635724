/* The network card, the disk, the virtio console. */
#include "checks.h"
#include "linux.h"
#include "syscall.h"

#define ETH0 "/sys/class/net/eth0/"
#define SECTOR 512

/* The kernel has configured the card when it was asked to (ip=...); else it is only set up. */
static bool set_up(long fd, struct line *detail)
{
    struct ifreq request = {.name = "eth0"};
    long result = sys(SYS_IOCTL, fd, SIOCGIFFLAGS, &request);
    if (result >= 0 && !(request.flags & IFF_UP)) {
        request.flags |= IFF_UP;
        result = sys(SYS_IOCTL, fd, SIOCSIFFLAGS, &request);
    }
    return result >= 0 || failed(detail, "eth0", result);
}

/* eth0: its driver, its address, a cable (waited for, 5 seconds), and an IP address if one was
 * asked for. */
bool check_net(struct line *detail)
{
    char mac[32], driver[128];
    long fd = sys(SYS_SOCKET, AF_INET, SOCK_DGRAM, 0);
    if (fd < 0)
        return failed(detail, "socket", fd);
    if (!set_up(fd, detail))
        return false;
    for (int tries = 0; tries < 100 && !file_number(ETH0 "carrier"); tries++)
        sleep_milliseconds(50);
    file_text(ETH0 "address", mac, sizeof mac);
    long length = sys(SYS_READLINK, ETH0 "device/driver", driver, sizeof driver - 1);
    driver[length > 0 ? length : 0] = 0;
    const char *name = driver;
    for (const char *p = driver; *p; p++)
        if (*p == '/')
            name = p + 1;
    bool carrier = file_number(ETH0 "carrier") == 1;
    say(detail, "eth0 %s %s carrier %s", name, mac, carrier ? "on" : "off");

    struct ifreq request = {.name = "eth0"};
    long result = sys(SYS_IOCTL, fd, SIOCGIFADDR, &request);
    sys(SYS_CLOSE, fd);
    if (result < 0) {
        say(detail, " no IP address");
        return carrier && !argument("ip");
    }
    const uint8_t *ip = request.address.address;
    say(detail, " %u.%u.%u.%u", ip[0], ip[1], ip[2], ip[3]);
    return carrier;
}

static bool same(const uint8_t *a, const uint8_t *b)
{
    for (int n = 0; n < SECTOR; n++)
        if (a[n] != b[n])
            return false;
    return true;
}

/* Copies the first sector of /dev/vda to its last one, past the page cache, and reads that back. */
bool check_disk(struct line *detail)
{
    static uint8_t first[SECTOR] __attribute__((aligned(4096)));
    static uint8_t last[SECTOR] __attribute__((aligned(4096)));
    uint64_t sectors = file_number("/sys/class/block/vda/size");
    long fd = sys(SYS_OPEN, "/dev/vda", O_RDWR | O_DIRECT);
    if (fd < 0)
        return failed(detail, "/dev/vda", fd);
    uint64_t at = (sectors - 1) * SECTOR;
    long offset = (long)at, high = sizeof(long) == 4 ? (long)(at >> 32) : 0;
    long result = sys(SYS_PREAD, fd, first, SECTOR, 0, 0);
    if (result == SECTOR)
        result = sys(SYS_PWRITE, fd, first, SECTOR, offset, high);
    if (result == SECTOR)
        result = sys(SYS_PREAD, fd, last, SECTOR, offset, high);
    sys(SYS_CLOSE, fd);
    if (result != SECTOR)
        return failed(detail, "/dev/vda", result);
    say(detail, "/dev/vda %llu bytes", (unsigned long long)sectors * SECTOR);
    if (same(first, last))
        return true;
    say(detail, ", the last sector is not what was written there");
    return false;
}

/* Says so on /dev/hvc0, where the host sees it. */
bool check_console(struct line *detail)
{
    static const char text[] = "INIT on hvc0\n";
    long fd = sys(SYS_OPEN, "/dev/hvc0", O_WRONLY | O_NOCTTY);
    if (fd < 0)
        return failed(detail, "/dev/hvc0", fd);
    long result = sys(SYS_WRITE, fd, text, sizeof text - 1);
    if (result >= 0)
        sys(SYS_IOCTL, fd, TCSBRK, 1);
    sys(SYS_CLOSE, fd);
    say(detail, "/dev/hvc0");
    return result == sizeof text - 1 || failed(detail, "", result);
}
