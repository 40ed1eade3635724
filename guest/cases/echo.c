// Echoes the serial input by polling until EOT or a line "quit". A test that feeds it can check
// that no byte is lost or changed.
#include "exit.h"
#include "printf.h"
#include "string.h"
#include "uart.h"

#define EOT 0x04

int main(void)
{
    char line[8];
    size_t n = 0;

    printf("echo\n");
    for (;;) {
        int c = uart_getc();
        if (c < 0)
            continue;
        if (c == EOT)
            break;
        uart_putc(c);
        if (c == '\n' || c == '\r') {
            line[n < sizeof(line) ? n : 0] = '\0';
            if (!strcmp(line, "quit"))
                break;
            n = 0;
        } else if (n < sizeof(line)) {
            line[n++] = c;
        }
    }
    printf("bye\n");
    return EXIT_PASS;
}
