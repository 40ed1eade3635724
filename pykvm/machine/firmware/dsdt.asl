// The machine in ACPI's language (ACPI 6.4, chapters 6 and 19). tools/dsdt.py compiles it; every name
// in capitals is a number that comes from there, so that there is one place that says where things are.
DefinitionBlock ("", "DSDT", 2, "PYKVM ", "PYKVM PC", 1)
{
    // Soft-off: sleep type 0, as devices/power.py takes any.
    Name (\_S5, Package () { 0, 0, 0, 0 })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_BBN, 0)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
                IO (Decode16, PCI_CONFIG, PCI_CONFIG, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, PCI_IO_FIRST, PCI_IO_LAST, 0, PCI_IO_SIZE)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, PCI_MEMORY_FIRST, PCI_MEMORY_LAST, 0, PCI_MEMORY_SIZE)
            })

            // INTA# of each slot; no function has another pin. Inputs of the I/O APIC, not links.
            Name (_PRT, Package ()
            {
                Package () { 0x0000FFFF, 0, 0, GSI_0 },
                Package () { 0x0001FFFF, 0, 0, GSI_1 },
                Package () { 0x0002FFFF, 0, 0, GSI_2 },
                Package () { 0x0003FFFF, 0, 0, GSI_3 },
                Package () { 0x0004FFFF, 0, 0, GSI_4 },
                Package () { 0x0005FFFF, 0, 0, GSI_5 },
                Package () { 0x0006FFFF, 0, 0, GSI_6 },
                Package () { 0x0007FFFF, 0, 0, GSI_7 },
                Package () { 0x0008FFFF, 0, 0, GSI_8 },
                Package () { 0x0009FFFF, 0, 0, GSI_9 },
                Package () { 0x000AFFFF, 0, 0, GSI_10 },
                Package () { 0x000BFFFF, 0, 0, GSI_11 },
                Package () { 0x000CFFFF, 0, 0, GSI_12 },
                Package () { 0x000DFFFF, 0, 0, GSI_13 },
                Package () { 0x000EFFFF, 0, 0, GSI_14 },
                Package () { 0x000FFFFF, 0, 0, GSI_15 },
                Package () { 0x0010FFFF, 0, 0, GSI_16 },
                Package () { 0x0011FFFF, 0, 0, GSI_17 },
                Package () { 0x0012FFFF, 0, 0, GSI_18 },
                Package () { 0x0013FFFF, 0, 0, GSI_19 },
                Package () { 0x0014FFFF, 0, 0, GSI_20 },
                Package () { 0x0015FFFF, 0, 0, GSI_21 },
                Package () { 0x0016FFFF, 0, 0, GSI_22 },
                Package () { 0x0017FFFF, 0, 0, GSI_23 },
                Package () { 0x0018FFFF, 0, 0, GSI_24 },
                Package () { 0x0019FFFF, 0, 0, GSI_25 },
                Package () { 0x001AFFFF, 0, 0, GSI_26 },
                Package () { 0x001BFFFF, 0, 0, GSI_27 },
                Package () { 0x001CFFFF, 0, 0, GSI_28 },
                Package () { 0x001DFFFF, 0, 0, GSI_29 },
                Package () { 0x001EFFFF, 0, 0, GSI_30 },
                Package () { 0x001FFFFF, 0, 0, GSI_31 }
            })
        }

        // Ports that are taken, but by no device that a driver would want.
        Device (MBRD)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, ACPI_PORT, ACPI_PORT, 1, ACPI_PORTS)
            })
        }

        // QEMU's names, which guests' drivers look for; _STA: present, and nothing to show a user.
        Device (PEVT)
        {
            Name (_HID, "QEMU0001")
            Name (_STA, 0xB)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, PVPANIC_PORT, PVPANIC_PORT, 1, 1)
            })
        }

        Device (FWCF)
        {
            Name (_HID, "QEMU0002")
            Name (_STA, 0xB)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, FW_CFG_PORT, FW_CFG_PORT, 1, FW_CFG_PORTS)
            })
        }

        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, COM1_PORT, COM1_PORT, 1, 8)
                IRQNoFlags () { COM1_IRQ }
            })
        }

        Device (RTC)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, RTC_PORT, RTC_PORT, 1, 2)
                IRQNoFlags () { RTC_IRQ }
            })
        }
    }
}
