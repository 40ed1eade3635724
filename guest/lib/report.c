#include "report.h"

#include "exit.h"
#include "printf.h"

static unsigned checks, failures;

bool report(bool ok, const char *name, const char *format, ...)
{
    va_list args;

    checks++;
    failures += !ok;
    printf("%s: %s: ", ok ? "PASS" : "FAIL", name);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    return ok;
}

int report_summary(void)
{
    printf("SUMMARY: %u checks, %u failures\n", checks, failures);
    return failures ? EXIT_FAIL : EXIT_PASS;
}
