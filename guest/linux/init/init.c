/*
 * The first and only program of a Linux guest: runs the checks that the kernel's command line asks
 * for, prints a line for each, and ends the machine. No libc, no libgcc; 64- and 32-bit.
 *
 *   pykvm.check=NAME[,NAME]          which (the table below)
 *   pykvm.stream=tcp,IP,PORT,BYTES   send a stream (stream.c), after them
 *   pykvm.end=off|restart|debug      how to end: off is the default; debug writes 0 to port 0xf4 if
 *                                    all was well, else 1
 */
#include "checks.h"
#include "linux.h"
#include "syscall.h"

static const struct {
    const char *name;
    check *run;
} CHECKS[] = {
    {"cpus", check_cpus}, {"memory", check_memory}, {"time", check_time},       {"rng", check_rng},
    {"net", check_net},   {"disk", check_disk},     {"console", check_console},
};

static unsigned failures;

/* One write for each line, and nothing returns before it is out. */
static void print(bool good, const char *name, const char *detail)
{
    struct line line = {0, ""};
    say(&line, "INIT %s %s: %s\n", good ? "ok" : "FAIL", name, detail);
    sys(SYS_WRITE, 1, line.text, line.length);
    sys(SYS_IOCTL, 1, TCSBRK, 1);
    failures += !good;
}

static void run(const char *name, check *body)
{
    struct line detail = {0, ""};
    print(body(&detail), name, detail.text);
}

static void run_named(const char *name)
{
    for (unsigned n = 0; n < sizeof CHECKS / sizeof CHECKS[0]; n++)
        if (equal(name, CHECKS[n].name)) {
            run(name, CHECKS[n].run);
            return;
        }
    print(false, name, "no such check");
}

static void run_all(void)
{
    char names[256];
    const char *list = argument("pykvm.check");
    unsigned length = 0;
    for (; list && list[length] && length < sizeof names - 1; length++)
        names[length] = list[length];
    names[length] = 0;
    for (char *name = names, *end; *name; name = end) {
        for (end = name; *end && *end != ','; end++)
            ;
        if (*end)
            *end++ = 0;
        run_named(name);
    }
    if (argument("pykvm.stream"))
        run("stream", check_stream);
}

static void mount(const char *type, const char *where)
{
    sys(SYS_MKDIR, where, 0755);
    long result = sys(SYS_MOUNT, type, where, type, 0, 0);
    struct line detail = {0, ""};
    if (result < 0 && result != -EBUSY)
        print(false, "mount", (failed(&detail, where, result), detail.text));
}

/* The kernel opens /dev/console for us only where the initramfs has one. */
static void open_console(void)
{
    long fd = sys(SYS_OPEN, "/dev/console", O_RDWR | O_NOCTTY);
    for (long n = 0; fd >= 0 && n < 3; n++)
        sys(SYS_DUP2, fd, n);
    sys(SYS_SYSLOG, SYSLOG_CONSOLE_LEVEL, 0, 4); /* the kernel's errors alone between our lines */
}

static void end(void)
{
    const char *how = argument("pykvm.end");
    sleep_milliseconds((uint32_t)argument_number("pykvm.linger", 0)); /* for who looks at what we printed */
    if (how && equal(how, "debug") && !sys(SYS_IOPERM, 0xf4, 1, 1))
        __asm__ volatile("outb %0, %1" : : "a"((uint8_t)(failures != 0)), "Nd"((uint16_t)0xf4));
    sys(SYS_REBOOT, REBOOT_MAGIC1, REBOOT_MAGIC2,
        how && equal(how, "restart") ? REBOOT_RESTART : REBOOT_OFF, 0);
}

void init_main(void);
void init_main(void)
{
    mount("devtmpfs", "/dev");
    open_console();
    mount("proc", "/proc");
    mount("sysfs", "/sys");
    print(true, "start", ABI);
    run_all();
    end();
    for (;;)
        sleep_milliseconds(1000); /* the first program must not end */
}

/* The kernel enters with the stack as it pleases; C wants it aligned at a call. */
#ifdef __x86_64__
__asm__(".globl _start\n_start:\n\txorl %ebp, %ebp\n\tandq $-16, %rsp\n\tcall init_main\n");
#else
__asm__(".globl _start\n_start:\n\txorl %ebp, %ebp\n\tandl $-16, %esp\n\tcall init_main\n");
#endif
