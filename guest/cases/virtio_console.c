// virtio-console: what is typed comes back, up to a line "quit". The serial port has the verdict.
#include "clock.h"
#include "cmdline.h"
#include "cpu.h"
#include "report.h"
#include "string.h"
#include "virtio/console.h"

enum { QUIET_MS = 5000, LONG = 3000 };

static struct console console;

static bool print(const char *text) { return console_write(&console, text, (u32)strlen(text)); }

int main(void)
{
    static char line[256], many[LONG + 1];
    char transport[8] = "modern";
    cmdline_get("transport", transport, sizeof transport);
    clock_init();
    if (!report(console_open(&console, 0, virtio_transport(transport)), "open", "a console"))
        return report_summary();
    report(print("console\n"), "write", "a line");
    for (unsigned i = 0; i < LONG; i++)
        many[i] = i == LONG - 1 ? '\n' : (char)('a' + i % 26);
    report(print(many), "write_long", "a long one");
    unsigned lines = 0, at = 0;
    u64 deadline = deadline_ms(QUIET_MS);
    bool quit = false;
    while (!quit && !deadline_passed(deadline)) {
        int c = console_getc(&console);
        if (c < 0) {
            cpu_pause();
            continue;
        }
        if (at < sizeof line - 1)
            line[at++] = (char)c;
        if (c != '\n')
            continue;
        line[at] = '\0';
        at = 0;
        lines++;
        quit = strcmp(line, "quit\n") == 0;
        print(line);
        deadline = deadline_ms(QUIET_MS);
    }
    report(quit, "echo", "%u lines came", lines);
    return report_summary();
}
