// The pair of 8259A interrupt controllers (Intel 8259A datasheet; a PC has the second on IRQ 2).
#pragma once
#include "types.h"

// Where pic_init puts IRQ 0: the first vector that is not reserved for exceptions.
#define PIC_VECTOR 0x20

void pic_init(void); // remaps to PIC_VECTOR.., all lines masked
void pic_mask(unsigned irq);
void pic_unmask(unsigned irq);
void pic_mask_all(void);
void pic_eoi(unsigned irq);
