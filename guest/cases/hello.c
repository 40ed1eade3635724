// The smallest guest: says hello and ends.
#include "exit.h"
#include "printf.h"

int main(void)
{
    printf("hello from ring 0\n");
    return EXIT_PASS;
}
