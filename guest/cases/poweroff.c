// Ends through the ACPI power-off port.
#include "exit.h"
#include "printf.h"

int main(void)
{
    printf("powering off\n");
    power_off();
}
