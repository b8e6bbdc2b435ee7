//! Instruction and allocation counts of sinew.
