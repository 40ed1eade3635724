/* pykvm.stream=tcp,IP,PORT,BYTES: that many bytes to a server, as fast as they go. */
#include "checks.h"
#include "linux.h"
#include "syscall.h"

#define CHUNK (256 * 1024u)

static bool parse(const char *text, struct sockaddr_in *to, uint64_t *bytes)
{
    uint64_t value;
    text = text ? after(text, "tcp,") : NULL;
    if (!text)
        return false;
    for (int n = 0; n < 4; n++) {
        if (!number(&text, &value) || value > 255 || *text++ != (n < 3 ? '.' : ','))
            return false;
        to->address[n] = (uint8_t)value;
    }
    if (!number(&text, &value) || value > 0xffff || *text++ != ',')
        return false;
    to->port = __builtin_bswap16((uint16_t)value);
    return number(&text, bytes) && !*text;
}

/* The stream is 64-bit words, little endian, numbered from 0; the last one may be cut. */
static long send(long fd, uint64_t bytes)
{
    static uint64_t words[CHUNK / 8];
    for (uint64_t at = 0; at < bytes;) {
        uint32_t length = bytes - at < CHUNK ? (uint32_t)(bytes - at) : CHUNK;
        for (uint32_t n = 0; n < (length + 7) / 8; n++)
            words[n] = at / 8 + n;
        at += length;
        for (uint32_t done = 0; done < length;) {
            long sent = sys(SYS_WRITE, fd, (char *)words + done, length - done);
            if (sent <= 0)
                return sent;
            done += (uint32_t)sent;
        }
    }
    return 0;
}

/* The time is from the first byte until the server has closed its side, as it does when it has
 * read all. */
bool check_stream(struct line *detail)
{
    struct sockaddr_in to = {.family = AF_INET};
    uint64_t bytes;
    char nothing[16];
    if (!parse(argument("pykvm.stream"), &to, &bytes)) {
        say(detail, "pykvm.stream=tcp,IP,PORT,BYTES expected");
        return false;
    }
    long fd = sys(SYS_SOCKET, AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        return failed(detail, "socket", fd);
    long result = sys(SYS_CONNECT, fd, &to, sizeof to);
    if (result < 0)
        return failed(detail, "connect", result);
    uint64_t start = now();
    result = send(fd, bytes);
    if (result < 0)
        return failed(detail, "write", result);
    sys(SYS_SHUTDOWN, fd, SHUT_WR);
    while ((result = sys(SYS_READ, fd, nothing, sizeof nothing)) > 0)
        ;
    uint64_t took = now() - start;
    sys(SYS_CLOSE, fd);
    if (result < 0)
        return failed(detail, "the server did not close its side", result);
    say(detail, "%llu bytes in %llu us", (unsigned long long)bytes, (unsigned long long)took);
    return true;
}
