//! Where in the source it happened: ELF and DWARF to function, file, line, inlined chain.
