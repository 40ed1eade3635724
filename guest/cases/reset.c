// Resets the machine: by 0xcf9, or with `how=8042` by the keyboard controller.
#include "cmdline.h"
#include "exit.h"
#include "printf.h"
#include "string.h"

int main(void)
{
    char how[8] = "cf9";

    cmdline_get("how", how, sizeof(how));
    printf("resetting by %s\n", how);
    if (!strcmp(how, "8042"))
        reset_8042();
    reset_cf9();
}
