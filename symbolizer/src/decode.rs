//! A whole log, annotated for people to read in a terminal.
