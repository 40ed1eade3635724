// UD2 with an empty IDT: a triple fault.
#include "exit.h"
#include "printf.h"

int main(void)
{
    printf("about to triple fault\n");
    triple_fault();
}
