// MSI-X (PCI 3.0, 6.8.2): messages to the local APIC instead of a wire.
#pragma once
#include "pci.h"

struct msix {
    struct pci_device pci;
    u8 capability;
    u16 vectors; // entries of the table
    u64 table, pending;
};

// False if the function has no MSI-X. All entries are masked, the capability enabled.
bool msix_open(struct msix *m, struct pci_device d);

// Entry n becomes an edge at this vector of this processor, unmasked.
void msix_set(const struct msix *m, u16 n, u8 vector);
void msix_mask(const struct msix *m, u16 n, bool masked);
bool msix_pending(const struct msix *m, u16 n);
